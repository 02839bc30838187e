"""Copies of short changes in datagrams: when they are sent, and what is taken from them."""

import asyncio
from pathlib import Path

import pytest

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.mesh.sync_copies import COPIES_AFTER_SECONDS, FOLLOWED, Copies
from peat_sidecar.net import DATAGRAM_BYTES
from peat_sidecar.records import Records, Signer
from peat_sidecar.wire import Batches, Frame, FrameReader, Heads, Want, Wanted, encode_frame
from tests.support.networks import KINDS, network
from tests.support.nodes import bounded, until
from tests.support.real_files import real_bytes
from tests.support.syncing import ScriptedPeer, mesh, wire


def frames_of(data: bytes | None) -> list[Frame]:
    assert data is not None
    return FrameReader().feed(data)


async def all_copies(peer: ScriptedPeer) -> list[bytes | None]:
    return [await bounded(peer.connection.receive_datagram()) for _ in COPIES_AFTER_SECONDS]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_short_change_goes_again_while_blobs_are_sent(tmp_path: Path, kind: str) -> None:
    async with mesh(tmp_path, kind) as made:
        node = await made.node(is_crowded=lambda: True)
        peer = await made.hostile(node)
        await peer.meet()
        node.put("notes", "short", text="come")
        (on_stream,) = await peer.hear(Batches)
        assert [frames_of(copy) for copy in await all_copies(peer)] == [[on_stream]] * len(
            COPIES_AFTER_SECONDS
        )


@pytest.mark.parametrize(("is_crowded", "text"), [(False, "come"), (True, real_bytes(60_000).hex())])
async def test_nothing_else_goes_twice(tmp_path: Path, is_crowded: bool, text: str) -> None:
    """Neither on a link that is free, nor what is more than a packet."""
    async with mesh(tmp_path) as made:
        node = await made.node(is_crowded=lambda: is_crowded)
        peer = await made.hostile(node)
        await peer.meet()
        node.put("notes", "first", text=text)
        await peer.hear(Batches)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(COPIES_AFTER_SECONDS[0] * 2):
                await peer.connection.receive_datagram()


async def test_of_many_in_a_row_only_some_go_again() -> None:
    async with network("memory") as made:
        near, far = await made.pair()
        copies = Copies(near, lambda: True)
        for number in range(5 * FOLLOWED):
            copies.follow(bytes([number]) * 300)
        came = [await bounded(far.receive_datagram()) for _ in range(FOLLOWED * len(COPIES_AFTER_SECONDS))]
        assert {data[0] for data in came if data is not None} == set(range(FOLLOWED))
        await until(lambda: copies._followed == 0)
        copies.follow(b"later")
        assert await bounded(far.receive_datagram()) == b"later", "nothing else was under way"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_copy_is_enough(tmp_path: Path, kind: str) -> None:
    """The stream brings nothing: what was sent on it is still to be repeated."""
    async with mesh(tmp_path, kind) as made:
        node = await made.node()
        peer = await made.hostile(node)
        await peer.meet()
        writer = Signer(b"w" * 32)
        records = Records.open(tmp_path / "writer.db", writer)
        records.put("notes", "one", {"n": 1})
        first = encode_frame(Batches((wire(records.since(writer.id, 0)),)))
        head = records.heads()[writer.id].sequence
        records.put("notes", "two", {"n": 2})
        second = encode_frame(Batches((wire(records.since(writer.id, head)),)))
        assert len(first) <= DATAGRAM_BYTES
        peer.connection.send_datagram(second)  # does not join on: it waits for the stream's
        peer.connection.send_datagram(first)
        peer.connection.send_datagram(first)
        await until(lambda: ("notes", "one") in node.content())
        assert ("notes", "two") not in node.content()
        peer.connection.send_datagram(encode_frame(Want((Wanted(writer.id, 0),))))  # only records are taken
        peer.connection.send_datagram(second)
        await until(lambda: ("notes", "two") in node.content())
        assert not peer.wants()
        assert [frame for frame in peer.heard if isinstance(frame, Batches)] == []
        records.close()


async def test_a_datagram_that_is_no_frame_ends_the_session(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        peer = await made.hostile(await made.node())
        await peer.meet()
        assert await peer.hear(Heads)
        peer.connection.send_datagram(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(RemoteProtocolError):
            await peer.end()
