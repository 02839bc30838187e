"""How long a peer is borne, with a clock that the test winds."""

import pytest

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.net import Connection, Pool, StreamReset
from peat_sidecar.transfer import Patience, Progress
from peat_sidecar.transfer.answers import Pace
from peat_sidecar.transfer.patience import FRUITLESS_TRIES, GIVE_UP_SECONDS, LONGEST_WAIT_SECONDS
from peat_sidecar.transfer.tries import Tries
from peat_sidecar.wire import ErrorCode
from tests.support.networks import address_of, network

GONE = PeerUnavailable("gone")


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


def test_runs_follow_the_rate() -> None:
    pace = Pace()
    assert pace.run_chunks == 16
    for _ in range(10):
        pace.took(0.001)
    assert pace.run_chunks == 1024
    pace.took(0.3)
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
