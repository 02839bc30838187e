"""What tests may do to the memory network: silence, break, kill, count."""

import asyncio

import pytest

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.ids import EndpointId
from peat_sidecar.net import ConnectionClosed, StreamReset, StreamStalled
from peat_sidecar.net.memory_pipe import TURN_BYTES, WINDOW_BYTES, Pipe
from tests.support.networks import ALPN, Network, address_of, network, stream_pair

A, B = EndpointId(b"a" * 32), EndpointId(b"b" * 32)


def pipe() -> Pipe:
    return Pipe(A, B, flows=lambda: True, on_arrival=lambda _: None, on_over=lambda: None)


async def test_writer_gets_as_far_ahead_as_the_window() -> None:
    made = pipe()
    assert await made.write(bytes(3_000_000)) == WINDOW_BYTES
    writing = asyncio.create_task(made.write(b"x"))
    await asyncio.sleep(0)
    assert not writing.done()
    assert len(await made.read(10)) == 10
    assert await writing == 1


async def test_reset_drops_what_was_not_read_and_is_told_once() -> None:
    made = pipe()
    await made.write(bytes(TURN_BYTES))
    assert len(await made.read(1)) == 1
    made.reset(3)
    await asyncio.sleep(0)
    with pytest.raises(StreamReset):
        await made.read(10)
    assert await made.read(10) == b""


async def test_stalled_way_delivers_when_it_resumes() -> None:
    async with network("memory") as net:
        near, far = await net.pair(stall_seconds=0.05)
        here, there = await stream_pair(near, far)
        net.memory.stall(near.remote_id, far.remote_id)
        await there.write(b"x")
        await here.write(b"y")
        assert await there.read_exact(1) == b"y"
        with pytest.raises(StreamStalled):
            await here.read(1)
        net.memory.resume(near.remote_id, far.remote_id)
        again, there = await stream_pair(near, far)
        net.memory.stall(near.remote_id, far.remote_id)
        await there.write(b"late")
        net.memory.resume(near.remote_id, far.remote_id)
        assert await again.read_exact(4) == b"late"


async def test_cut_connection_ends_both_sides() -> None:
    async with network("memory") as net:
        near, far = await net.pair()
        here, there = await stream_pair(near, far)
        reading = asyncio.create_task(here.read(1))
        await asyncio.sleep(0)
        net.memory.cut(near.remote_id, far.remote_id)
        with pytest.raises(ConnectionClosed, match="broke"):
            await reading
        with pytest.raises(ConnectionClosed, match="broke"):
            await there.write(b"x")
        assert near.is_closed
        assert far.is_closed


async def test_killed_peer_is_silent_and_cannot_be_dialled() -> None:
    async with network("memory") as net:
        dialler = await net.endpoint(stall_seconds=0.05, connect_timeout_seconds=0.05)
        victim = await net.endpoint()
        where = address_of(victim)
        near = await dialler.connect(where, ALPN)
        far = await victim.accept()
        assert far is not None
        here, _ = await stream_pair(near, far)
        net.memory.kill(victim.id)
        assert await victim.accept() is None
        assert far.is_closed
        assert not near.is_closed
        with pytest.raises(StreamStalled):
            await here.read(1)
        with pytest.raises(PeerUnavailable, match="did not answer"):
            await dialler.connect(where, ALPN)


async def test_counts_bytes_by_direction() -> None:
    async with network("memory") as net:
        near, far = await net.pair()
        here, there = await stream_pair(near, far)
        await there.write(bytes(1000))
        await here.read_exact(1000)
        ids = far.remote_id, near.remote_id
        assert net.memory.sent_bytes[ids[0], ids[1]] == 1
        assert net.memory.sent_bytes[ids[1], ids[0]] == 1000


async def test_leaves_no_task_behind() -> None:
    async with network("memory") as net:
        near, far = await net.pair()
        await stream_pair(near, far)
    assert isinstance(net, Network)
    assert len(asyncio.all_tasks()) == 1
