"""Floods of those that never prove anything: bounded in number, time and bytes; honest ones get in."""

import asyncio
from pathlib import Path

import pytest

from peat_sidecar.mesh import half_open
from peat_sidecar.mesh.half_open import HalfOpen
from peat_sidecar.net import Connection
from peat_sidecar.wire import MESH_ALPN
from tests.support.members import crew, fleet
from tests.support.networks import KINDS
from tests.support.nodes import bounded, until
from tests.support.real_files import real_bytes


@pytest.mark.parametrize("kind", KINDS)
async def test_silence_is_not_waited_for_longer_than_a_handshake_may_last(tmp_path: Path, kind: str) -> None:
    async with crew(tmp_path, kind) as made:
        one = await made.join(formation=fleet(), handshake_seconds=0.3)
        mute = await made.net.endpoint(alpns=(MESH_ALPN,))
        without = await bounded(mute.connect(one.address, MESH_ALPN))
        halfway = await bounded(mute.connect(one.address, MESH_ALPN))
        stream = await halfway.open_stream()
        await stream.write(b"\x01" + bytes(32))
        assert len(await bounded(stream.read_exact(32))) == 32
        for connection in (without, halfway):
            await bounded(connection.closed())
        await until(lambda: one.peers.handshakes.unfinished == 2)
        assert one.peers.half_open == 0
        assert not one.sessions


async def test_a_flood_of_half_open_ones_is_bounded_and_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half_open, "MAX_STRANGERS", 8)
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet())
        most = 0
        flood: list[Connection] = []
        for number in range(40):
            mute = await made.net.endpoint(alpns=(MESH_ALPN,))
            flood.append(await bounded(mute.connect(one.address, MESH_ALPN)))
            await until(lambda number=number: _seen(one) == number + 1)  # type: ignore[misc]
            most = max(most, one.peers.half_open)
        assert most == 8
        await until(lambda: one.peers.handshakes.crowded == 32)
        assert sum(not connection.is_closed for connection in flood) == 8
        assert [connection.is_closed for connection in flood] == [True] * 32 + [False] * 8
        friend = await made.join(formation=fleet(), named=[one.address])
        await one.meets(friend)
        assert one.peers.handshakes.admitted == 1


async def test_one_that_ends_well_as_it_is_closed_for_room_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half_open, "MAX_STRANGERS", 1)
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet())
        mutes = [await made.net.endpoint(alpns=(MESH_ALPN,)) for _ in range(2)]
        first, second = [await bounded(mute.connect(one.address, MESH_ALPN)) for mute in mutes]
        table = HalfOpen(clock=lambda: 0.0, sleep=asyncio.sleep)
        leave = asyncio.Event()
        proving = asyncio.create_task(table.prove(first, _until(leave), known=False))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        leave.set()  # it has ended, and is not off the list yet
        await bounded(table.prove(second, asyncio.sleep(0), known=False))
        assert await bounded(proving) is None
        assert not table._crowded_out
        assert len(table) == 0


async def test_strangers_take_no_room_from_those_that_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half_open, "MAX_STRANGERS", 4)
    async with crew(tmp_path) as made:
        known = await made.net.endpoint(alpns=(MESH_ALPN,))
        one = await made.join(formation=fleet(), allowed=[known.id])
        slow = await bounded(known.connect(one.address, MESH_ALPN))
        await until(lambda: one.peers.half_open == 1)
        for number in range(12):
            mute = await made.net.endpoint(alpns=(MESH_ALPN,))
            await bounded(mute.connect(one.address, MESH_ALPN))
            await until(lambda number=number: _seen(one) == number + 2)  # type: ignore[misc]
        assert not slow.is_closed
        assert one.peers.half_open == 5


async def test_one_peer_has_two_at_most(tmp_path: Path) -> None:
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet())
        mute = await made.net.endpoint(alpns=(MESH_ALPN,))
        flood = []
        for number in range(6):
            flood.append(await bounded(mute.connect(one.address, MESH_ALPN)))
            await until(lambda number=number: _seen(one) == number + 1)  # type: ignore[misc]
            assert one.peers.half_open <= half_open.MAX_OF_ONE
        assert [connection.is_closed for connection in flood] == [True] * 4 + [False] * 2
        await until(lambda: one.peers.handshakes.crowded == 4)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_comes_unasked_is_not_held(tmp_path: Path, kind: str) -> None:
    """The transport would take 1.25 MB for each of a hundred streams from someone who has proven nothing."""
    async with crew(tmp_path, kind) as made:
        one = await made.join(formation=fleet())
        loud = await made.net.endpoint(alpns=(MESH_ALPN,))
        connection = await bounded(loud.connect(one.address, MESH_ALPN))
        data = real_bytes(1 << 20)
        streams = [await connection.open_stream() for _ in range(3)]
        writing = [asyncio.create_task(stream.write(data)) for stream in streams]
        await bounded(connection.closed())
        await until(lambda: one.peers.half_open == 0)
        counts = one.peers.handshakes
        assert counts.crowded + counts.malformed == 1
        await asyncio.gather(*writing, return_exceptions=True)


@pytest.mark.parametrize("kind", KINDS)
async def test_bytes_on_other_streams_of_a_silent_handshake_end_it(tmp_path: Path, kind: str) -> None:
    async with crew(tmp_path, kind) as made:
        one = await made.join(formation=fleet())
        loud = await made.net.endpoint(alpns=(MESH_ALPN,))
        connection = await bounded(loud.connect(one.address, MESH_ALPN))
        first = await connection.open_stream()
        await first.write(b"\x01")
        second = await connection.open_stream()
        writing = asyncio.create_task(second.write(real_bytes(1 << 20)))
        assert "limit" in await bounded(connection.closed())
        await until(lambda: one.peers.handshakes.crowded == 1)
        await asyncio.gather(writing, return_exceptions=True)


async def test_a_flood_is_told_of_once_a_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet())
        for number in range(20):
            rude = await made.net.endpoint(alpns=(MESH_ALPN,))
            connection = await bounded(rude.connect(one.address, MESH_ALPN))
            stream = await connection.open_stream()
            await stream.write(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda number=number: one.peers.handshakes.malformed == number + 1)  # type: ignore[misc]
        assert capsys.readouterr().out.count("does not speak the handshake") == 1
        assert one.peers.refused_handshakes == 20


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _seen(one) -> int:  # type: ignore[no-untyped-def]
    """Handshakes that have begun here."""
    counts = one.peers.handshakes
    ended = counts.admitted + counts.refused + counts.malformed + counts.unfinished + counts.crowded
    return int(ended + one.peers.half_open)
