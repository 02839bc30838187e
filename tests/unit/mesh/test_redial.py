"""When a peer is dialled again: time is moved by hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from peat_sidecar.errors import PeatError, PeerUnavailable, Refused
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.redial import (
    LONGEST_WAIT_SECONDS,
    REFUSED_WAIT_SECONDS,
    STEADY_SECONDS,
    Backoff,
    Dialler,
)
from peat_sidecar.net import NotSpoken
from tests.support.manual_time import ManualTime
from tests.support.nodes import bounded, until

PEER = EndpointId(b"p" * 32)


class Far:
    """A peer as a dialler meets it."""

    def __init__(self, time: ManualTime) -> None:
        self.time = time
        self.dialled_at: list[float] = []
        self.failure: PeatError | None = PeerUnavailable("it is not there")
        self.connected = False
        self.dialler = Dialler(
            self.dial, lambda _: self.connected, sleep=time.sleep, clock=time.clock, jitter=lambda: 1.0
        )

    async def dial(self, _: EndpointId) -> PeatError | None:
        self.dialled_at.append(self.time.now)
        self.connected = self.failure is None
        return self.failure

    def drop(self) -> None:
        self.connected = False
        self.dialler.changed(PEER)

    async def dialled(self, times: int) -> None:
        await until(lambda: len(self.dialled_at) >= times, 5)

    async def waits(self) -> None:
        await until(lambda: self.dialler.next_dial_seconds(PEER) is not None and self.time.sleeping > 0, 5)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def far() -> AsyncIterator[Far]:
    made = Far(ManualTime())
    made.dialler.start()
    try:
        yield made
    finally:
        await made.dialler.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def intervals(made: Far, count: int) -> list[float]:
    """Seconds between dials, by moving the clock a quarter second at a time."""
    while len(made.dialled_at) <= count:
        await made.settle()
        made.time.advance(0.25)
    return [later - sooner for sooner, later in zip(made.dialled_at, made.dialled_at[1:], strict=False)]


def test_waits_double_up_to_their_limit_and_are_never_quite_alike() -> None:
    longest = Backoff(lambda: 1.0)
    assert [longest.next() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    shortest = Backoff(lambda: 0.0)
    assert [shortest.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    longest.reset()
    assert longest.next() == 1
    usual = [Backoff().next() for _ in range(20)]
    assert len(set(usual)) > 1
    assert all(0.5 <= each <= 1 for each in usual)
    endless = Backoff(lambda: 1.0)
    assert [endless.next() for _ in range(2000)][-1] == LONGEST_WAIT_SECONDS


async def test_a_peer_that_is_not_there_is_dialled_once_a_minute_in_the_end() -> None:
    async with far() as made:
        made.dialler.keep(PEER)
        assert await bounded(intervals(made, 8)) == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("failure", [Refused("no"), NotSpoken("what?")])
async def test_a_peer_that_says_no_is_asked_less_and_less(failure: PeatError) -> None:
    async with far() as made:
        made.failure = failure
        made.dialler.keep(PEER)
        assert (await bounded(intervals(made, 12)))[-3:] == [512, REFUSED_WAIT_SECONDS, REFUSED_WAIT_SECONDS]


async def test_a_peer_is_dialled_at_once_and_again_after_a_drop() -> None:
    async with far() as made:
        made.failure = None
        made.dialler.keep(PEER)
        await made.dialled(1)
        await made.settle()
        assert made.time.sleeping == 0
        assert made.dialler.next_dial_seconds(PEER) is None
        made.time.advance(STEADY_SECONDS)
        made.drop()
        await made.waits()
        assert made.dialler.next_dial_seconds(PEER) == 1
        assert len(made.dialled_at) == 1
        made.time.advance(0.5)
        await made.settle()
        made.time.advance(0.5)
        await made.dialled(2)


async def test_sessions_that_end_soon_do_not_count_as_success() -> None:
    async with far() as made:
        made.failure = None
        made.dialler.keep(PEER)
        for turn in range(1, 5):
            await made.dialled(turn)
            await made.settle()
            made.drop()
            await made.waits()
            assert made.dialler.next_dial_seconds(PEER) == 2 ** (turn - 1)
            made.time.advance(0.5)
            await made.settle()
            made.time.advance(100)


async def test_a_session_from_the_other_side_ends_the_wait_without_a_dial() -> None:
    async with far() as made:
        made.dialler.keep(PEER)
        await made.dialled(1)
        await made.waits()
        made.connected = True
        made.dialler.changed(PEER)
        await made.settle()
        assert made.dialler.next_dial_seconds(PEER) is None
        made.time.advance(1000)
        await made.settle()
        assert len(made.dialled_at) == 1


async def test_one_that_is_heard_of_is_dialled_at_once_but_not_all_the_time() -> None:
    async with far() as made:
        made.dialler.keep(PEER)
        await bounded(intervals(made, 6))
        await made.waits()
        count = len(made.dialled_at)
        for _ in range(100):
            made.dialler.wake(PEER)
            await made.settle()
        assert len(made.dialled_at) == count
        made.time.advance(0.5)
        await made.dialled(count + 1)
        for _ in range(100):
            made.dialler.wake(PEER)
            await made.settle()
        assert len(made.dialled_at) == count + 1


async def test_a_word_that_comes_while_it_is_dialled_is_not_lost() -> None:
    async with far() as made:
        made.dialler.keep(PEER)
        await bounded(intervals(made, 6))
        go = asyncio.Event()
        dial = made.dial

        async def slowly(peer: EndpointId) -> PeatError | None:
            failure = await dial(peer)
            await go.wait()
            return failure

        made.dialler._attempt = slowly
        count = len(made.dialled_at)
        made.time.advance(0.5)
        await made.settle()
        made.time.advance(100)
        await made.dialled(count + 1)
        made.dialler.wake(PEER)
        go.set()
        await made.waits()
        made.time.advance(0.5)
        await made.dialled(count + 2)


async def test_a_dial_is_shared_and_outlives_one_who_gives_up() -> None:
    async with far() as made:
        go = asyncio.Event()
        dial = made.dial

        async def slowly(peer: EndpointId) -> PeatError | None:
            await go.wait()
            return await dial(peer)

        made.failure = None
        made.dialler._attempt = slowly
        callers = [asyncio.create_task(made.dialler.dial(PEER)) for _ in range(3)]
        await made.settle()
        assert made.dialler.is_dialling(PEER)
        callers[0].cancel()
        go.set()
        assert await asyncio.gather(*callers[1:]) == [None, None]
        assert len(made.dialled_at) == 1
        with pytest.raises(asyncio.CancelledError):
            await callers[0]
        assert not made.dialler.is_dialling(PEER)


async def test_one_that_is_released_is_not_dialled_and_whoever_waits_is_told() -> None:
    async with far() as made:
        never = asyncio.Event()

        async def endless(_: EndpointId) -> PeatError | None:
            await never.wait()
            return None

        made.dialler._attempt = endless
        made.dialler.keep(PEER)
        waiting = asyncio.create_task(made.dialler.dial(PEER))
        await made.settle()
        made.dialler.release(PEER)
        failure = await bounded(waiting)
        assert isinstance(failure, PeerUnavailable)
        assert "given up" in str(failure)
        made.time.advance(1000)
        await made.settle()
        assert made.dialler.next_dial_seconds(PEER) is None
        assert not made.dialler.is_dialling(PEER)


async def test_the_end_comes_while_a_dial_is_under_way() -> None:
    async with far() as made:
        never = asyncio.Event()

        async def endless(_: EndpointId) -> PeatError | None:
            await never.wait()
            return None

        made.dialler._attempt = endless
        made.dialler.keep(PEER)
        await until(lambda: made.dialler.is_dialling(PEER))
        await made.settle()
        await bounded(made.dialler.stop(), 5)


async def test_nothing_is_dialled_before_the_start_or_after_the_end() -> None:
    made = Far(ManualTime())
    made.dialler.keep(PEER)
    assert isinstance(await made.dialler.dial(PEER), PeerUnavailable)
    made.dialler.start()
    made.dialler.keep(PEER)
    await made.dialled(1)
    await made.dialler.stop()
    assert isinstance(await made.dialler.dial(PEER), PeerUnavailable)
    assert len(made.dialled_at) == 1
