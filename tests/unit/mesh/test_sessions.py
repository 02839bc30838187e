"""One session to each peer: which of two stays, what ends one, who is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.sessions import RACE_SECONDS, Sessions
from peat_sidecar.net import Connection, Endpoint, Stream
from tests.support.manual_time import ManualTime
from tests.support.networks import ALPN, Network, address_of, network, stream_pair
from tests.support.nodes import bounded, until


@dataclass
class Side:
    """One node's sessions, by hand."""

    net: Network
    own: Endpoint
    peer: Endpoint
    time: ManualTime
    sessions: Sessions
    runs: list[Stream]
    told: list[tuple[EndpointId, bool]]
    holding: list[asyncio.Task[None]]
    far_streams: list[Stream]
    """Kept: a stream that is dropped ends."""

    async def new(self, dialer: Endpoint) -> tuple[Connection, bool, Connection]:
        """A connection between the two: this side's end, whether it is the session now, and the far end."""
        acceptor = self.own if dialer is self.peer else self.peer
        accepting = asyncio.create_task(acceptor.accept())
        near = await dialer.connect(address_of(acceptor), ALPN)
        far = await accepting
        assert far is not None
        here, there = (near, far) if dialer is self.own else (far, near)
        near_stream, far_stream = await stream_pair(near, far)
        stream, other = (near_stream, far_stream) if dialer is self.own else (far_stream, near_stream)
        self.far_streams.append(other)
        session = await bounded(self.sessions.begin(here, stream, dialer.id))
        if session is not None:
            self.holding.append(asyncio.create_task(self.sessions.hold(session)))
        return here, session is not None, there


@contextlib.asynccontextmanager
async def side(*, smaller: bool) -> AsyncIterator[Side]:
    """`smaller`: whether this node's id is the smaller one."""
    async with network("memory") as net:
        first, second = await net.endpoint(), await net.endpoint()
        own, peer = (first, second) if smaller else (second, first)
        time, runs, told = ManualTime(), [], []

        async def run(_: Connection, stream: Stream) -> None:
            runs.append(stream)
            stream.stall_seconds = None
            while await stream.read(100):
                pass

        sessions = Sessions(run, clock=time.clock)
        end = sessions.subscribe(lambda id, began: told.append((id, began)))
        made = Side(net, own, peer, time, sessions, runs, told, [], [])
        yield made
        end()
        for task in made.holding:
            task.cancel()
        await asyncio.gather(*made.holding, return_exceptions=True)


@pytest.mark.parametrize("smaller", [True, False])
@pytest.mark.parametrize("own_first", [True, False])
async def test_of_two_dialled_at_once_the_smaller_ids_stays(smaller: bool, own_first: bool) -> None:
    async with side(smaller=smaller) as made:
        dialers = [made.own, made.peer] if own_first else [made.peer, made.own]
        ends = {dialer.id: await made.new(dialer) for dialer in dialers}
        winner, loser = sorted(ends)
        assert not ends[winner][0].is_closed
        await bounded(ends[loser][2].closed())
        assert made.sessions.connection(made.peer.id) is ends[winner][0]
        assert made.sessions.peers() == {made.peer.id}


@pytest.mark.parametrize("smaller", [True, False])
@pytest.mark.parametrize("own", [True, False])
async def test_a_new_one_of_the_same_direction_takes_the_place(smaller: bool, own: bool) -> None:
    async with side(smaller=smaller) as made:
        dialer = made.own if own else made.peer
        old, _, _ = await made.new(dialer)
        new, is_session, _ = await made.new(dialer)
        assert is_session
        assert old.is_closed
        assert made.sessions.connection(made.peer.id) is new
        assert made.told == [(made.peer.id, True), (made.peer.id, False), (made.peer.id, True)]


async def test_a_peer_that_lost_its_session_comes_back_whatever_the_ids() -> None:
    """It restarted without a word: this side's connection looks alive for half a minute more."""
    async with side(smaller=True) as made:
        old, _, _ = await made.new(made.own)
        made.time.advance(RACE_SECONDS)
        new, is_session, _ = await made.new(made.peer)
        assert is_session
        assert old.is_closed
        assert made.sessions.connection(made.peer.id) is new


async def test_one_that_is_closed_before_its_turn_is_no_session() -> None:
    async with side(smaller=True) as made:
        connection, _, _ = await made.new(made.own)
        connection.close()
        await until(lambda: made.peer.id not in made.sessions)
        assert made.sessions.connection(made.peer.id) is None
        dead, _, _ = await made.new(made.own)
        dead.close()
        stream = made.runs[-1]
        assert await bounded(made.sessions.begin(dead, stream, made.own.id)) is None


async def test_listeners_hear_of_begin_and_end_and_a_failing_one_harms_nobody() -> None:
    async with side(smaller=True) as made:

        def fails(_: EndpointId, __: bool) -> None:
            raise LookupError

        made.sessions.subscribe(fails)
        _, _, far = await made.new(made.own)
        assert made.told == [(made.peer.id, True)]
        far.close()
        await until(lambda: len(made.told) == 2)
        assert made.told[1] == (made.peer.id, False)
        await bounded(made.holding[0])


async def test_a_second_stream_ends_the_session() -> None:
    """Its 1.25 MB would be held for nobody."""
    async with side(smaller=True) as made:
        here, _, far = await made.new(made.own)
        extra = await far.open_stream()
        await extra.write(b"more")
        assert "limit" in await bounded(far.closed())
        await bounded(made.holding[0])
        assert here.is_closed
        assert not made.sessions.peers()


@pytest.mark.parametrize("error", [RemoteProtocolError("nonsense"), LookupError("a fault of ours")])
async def test_whatever_the_work_raises_ends_the_session_only(error: Exception) -> None:
    async with side(smaller=True) as made:

        async def fails(_: Connection, __: Stream) -> None:
            raise error

        made.sessions._run = fails
        _, _, far = await made.new(made.own)
        await bounded(made.holding[0])
        assert far.is_closed
        assert not made.sessions.peers()


async def test_work_that_does_not_look_at_its_stream_ends_with_the_connection() -> None:
    async with side(smaller=True) as made:
        ended = asyncio.Event()

        async def waits(_: Connection, __: Stream) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        made.sessions._run = waits
        _, _, far = await made.new(made.own)
        far.close()
        await bounded(ended.wait())
        await bounded(made.holding[0])
