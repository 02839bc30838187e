"""How long a peer is borne, with a clock that the test winds."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.net import Connection, Pool, StreamReset, StreamStalled
from peat_sidecar.transfer import Patience, Progress
from peat_sidecar.transfer.answers import Pace
from peat_sidecar.transfer.patience import FRUITLESS_TRIES, GIVE_UP_SECONDS, LONGEST_WAIT_SECONDS
from peat_sidecar.transfer.tries import Tries
from peat_sidecar.wire import ErrorCode
from tests.support.manual_time import ManualTime
from tests.support.networks import address_of, network
from tests.support.nodes import bounded, until

GONE = PeerUnavailable("gone")


def waiting_for(event: asyncio.Event) -> Callable[[], Coroutine[Any, Any, None]]:
    async def wait() -> None:
        await event.wait()

    return wait


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


async def test_an_unreachable_peer_is_tried_for_minutes_with_growing_waits() -> None:
    clock = Clock()
    patience = Patience(sleep=clock.sleep, clock=clock)

    async def bear_for_ever() -> None:
        while True:
            await patience.bear(GONE, reached=False)

    with pytest.raises(PeerUnavailable, match="gone"):
        await bear_for_ever()
    assert GIVE_UP_SECONDS <= clock.now - 1000 <= GIVE_UP_SECONDS + LONGEST_WAIT_SECONDS
    assert clock.waits[0] <= 0.5
    assert max(clock.waits) <= LONGEST_WAIT_SECONDS
    assert len(set(clock.waits)) > len(clock.waits) / 2


async def test_a_peer_that_answers_nothing_useful_is_given_up_soon() -> None:
    clock = Clock()
    patience = Patience(sleep=clock.sleep, clock=clock)
    for _ in range(FRUITLESS_TRIES - 1):
        await patience.bear(GONE, reached=True)
    with pytest.raises(PeerUnavailable):
        await patience.bear(GONE, reached=True)


async def test_every_gain_renews_it() -> None:
    clock = Clock()
    patience = Patience(sleep=clock.sleep, clock=clock)
    for _ in range(100):
        await patience.bear(GONE, reached=True)
        patience.gained()
    assert max(clock.waits) <= 0.5


async def test_the_return_of_a_peer_ends_the_wait_for_it() -> None:
    time = ManualTime()
    patience = Patience(sleep=time.sleep, clock=time)
    back = asyncio.Event()
    bearing = asyncio.create_task(patience.bear(GONE, reached=False, returned=waiting_for(back)))
    await until(lambda: time.sleeping == 1)
    back.set()
    await bounded(bearing)


async def test_what_only_seems_to_be_back_is_not_called_all_the_time() -> None:
    clock = Clock()
    patience = Patience(sleep=clock.sleep, clock=clock)
    back = asyncio.Event()
    back.set()
    for tries in range(1, 8):
        clock.waits.clear()
        await patience.bear(GONE, reached=False, returned=waiting_for(back))
        assert clock.waits[0] >= (0 if tries == 1 else 0.25 * 2 ** (tries - 2))


async def test_a_fetch_goes_on_when_its_peer_is_back_however_long_it_would_have_waited() -> None:
    waits = 0

    async def sleep(_: float) -> None:
        nonlocal waits
        waits += 1
        if waits > 1:
            await asyncio.Event().wait()

    async with network("memory") as made:
        near, far = await made.endpoint(connect_timeout_seconds=0.02), await made.endpoint()
        pool = Pool(near)
        tries = Tries(pool, lambda: Patience(sleep=sleep))
        begun = 0

        async def work(_: Connection) -> str:
            nonlocal begun
            begun += 1
            if begun > 1:
                return "done"
            made.memory.stall(far.id, near.id)
            raise StreamStalled("silent")

        trying = asyncio.create_task(tries.one(address_of(far), Progress(), work))
        await until(lambda: pool.returns.awaited == {far.id})
        made.memory.resume(far.id, near.id)
        pool.returns.network_changed()
        assert await bounded(trying) == "done"
        await pool.close()


def test_runs_follow_the_rate() -> None:
    pace = Pace()
    assert pace.run_chunks == 16
    for _ in range(10):
        pace.took(0.001)
    assert pace.run_chunks == 1024
    pace.took(0.03)
    assert pace.run_chunks == 1024
    for _ in range(10):
        pace.took(2)
    assert pace.run_chunks == 16


async def test_what_others_bring_is_no_merit_of_a_peer_that_gives_nothing() -> None:
    """One of several that only breaks off is given up, however well the others do."""
    clock, progress = Clock(), Progress()
    async with network("memory") as made:
        near, far = await made.endpoint(), await made.endpoint()
        tries = Tries(Pool(near), lambda: Patience(sleep=clock.sleep, clock=clock))

        async def work(_: Connection) -> None:
            progress.done_bytes += 1 << 20
            progress.wire_bytes += 1 << 20
            raise StreamReset("reset", ErrorCode.INTERNAL)

        with pytest.raises(StreamReset):
            await tries.one(address_of(far), progress, work, came=lambda: 0)
    assert len(clock.waits) == FRUITLESS_TRIES - 1
