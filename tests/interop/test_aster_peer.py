"""The stock Rust node answers raw requests sent through our endpoint, and fetches what we answer by hand."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blake3 import blake3

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.ids import BlobHash
from peat_sidecar.net import IrohEndpoint, StreamReset
from tests.support.aster_peer import AsterError, AsterPeer
from tests.support.networks import ALPN, address_of, everyone

SMALL = b"a blob of one chunk group, which needs no tree\n" * 300
GET_WHOLE_BLOB = bytes.fromhex("020001000100")


@pytest.fixture
async def endpoint() -> AsyncIterator[IrohEndpoint]:
    made = await IrohEndpoint.bind(
        bytes([7]) * 32, bind_addresses=("127.0.0.1:0",), alpns=(ALPN,), admit=everyone
    )
    async with asyncio.timeout(60):
        yield made
    await made.close()


@pytest.fixture(params=["memory", "file"])
async def peer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsterPeer]:
    async with await AsterPeer.start(tmp_path / "store" if request.param == "file" else None) as made:
        yield made


async def asked(endpoint: IrohEndpoint, peer: AsterPeer, request: bytes) -> bytes:
    connection = await endpoint.connect(peer.address, ALPN)
    stream = await connection.open_stream()
    await stream.write(request)
    await stream.finish()
    return await stream.read_to_end(1 << 24)


async def test_serves_a_whole_blob(endpoint: IrohEndpoint, peer: AsterPeer) -> None:
    blob = await peer.add_bytes(SMALL)
    assert blob == BlobHash(blake3(SMALL).digest())
    answer = await asked(endpoint, peer, b"\0" + blob.value + GET_WHOLE_BLOB)
    assert answer == len(SMALL).to_bytes(8, "little") + SMALL


async def test_serves_a_hash_sequence(endpoint: IrohEndpoint, peer: AsterPeer) -> None:
    root = await peer.add_collection({"a": b"first", "dir/b": b"second"})
    children = b"".join(blake3(each).digest() for each in (b"first", b"second"))
    metadata = b"CollectionV0.\x02\x01a\x05dir/b"
    sequence = blake3(metadata).digest() + children
    assert root == BlobHash(blake3(sequence).digest())
    answer = await asked(endpoint, peer, b"\0" + root.value + bytes.fromhex("01000100"))
    wanted = [sequence, metadata, b"first", b"second"]
    assert answer == b"".join(len(each).to_bytes(8, "little") + each for each in wanted)


async def test_resets_what_it_lacks(endpoint: IrohEndpoint, peer: AsterPeer) -> None:
    with pytest.raises(StreamReset) as caught:
        await asked(endpoint, peer, b"\0" + bytes(32) + GET_WHOLE_BLOB)
    assert caught.value.code == 3


async def test_ends_cleanly_on_nonsense(endpoint: IrohEndpoint, peer: AsterPeer) -> None:
    assert await asked(endpoint, peer, b"\x05nonsense") == b""


async def test_observe_answers_and_stays_open(endpoint: IrohEndpoint, peer: AsterPeer) -> None:
    blob = await peer.add_bytes(SMALL)
    connection = await endpoint.connect(peer.address, ALPN)
    stream = await connection.open_stream()
    stream.stall_seconds = None
    await stream.write(b"\x01" + blob.value + b"\x01\x00")
    await stream.finish()
    length = (await stream.read_exact(1))[0]
    assert await stream.read_exact(length) == bytes([0x94, 0x6E, 1, 0])  # 14100 bytes, everything
    await stream.stop(0)


async def test_fetches_what_our_endpoint_serves(
    endpoint: IrohEndpoint, peer: AsterPeer, tmp_path: Path
) -> None:
    async def serve() -> None:
        connection = await endpoint.accept()
        assert connection is not None
        stream = await connection.accept_stream()
        assert stream is not None
        await stream.read_to_end(1 << 20)
        await stream.write(len(SMALL).to_bytes(8, "little") + SMALL)
        await stream.finish()
        await stream.drained()

    serving = asyncio.create_task(serve())
    blob = BlobHash(blake3(SMALL).digest())
    fetched = await peer.get(address_of(endpoint), blob)
    await serving
    assert (fetched.size, fetched.blake3) == (len(SMALL), blob)
    assert fetched.wire_seconds > 0
    assert await peer.read(blob) == SMALL
    assert (await peer.held(blob)).status == "complete"
    await peer.export(blob, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == SMALL
    await peer.tag("kept", blob)
    assert (await peer.tags())["kept"] == (blob, False)


async def test_fetches_from_its_like(peer: AsterPeer) -> None:
    async with await AsterPeer.start() as other:
        root = await other.add_collection({"a": b"first", "b": b"second"})
        assert await peer.get_collection(other.address, root) == {"a": b"first", "b": b"second"}
        with pytest.raises(AsterError, match="Unable to download"):
            await peer.get(other.address, BlobHash(bytes(32)))
        assert (await peer.held(BlobHash(bytes(32)))).local_bytes == 0


async def test_killed_peer_is_noticed_by_the_watchdog(endpoint: IrohEndpoint) -> None:
    async with await AsterPeer.start() as peer:
        connection = await endpoint.connect(peer.address, ALPN)
        stream = await connection.open_stream()
        stream.stall_seconds = 0.3
        await stream.write(b"\x01")
        peer.kill()
        with pytest.raises(PeerUnavailable, match="sent nothing"):
            await stream.read(1)
        with pytest.raises(AsterError, match="has ended"):
            await peer.add_bytes(b"x")


async def test_file_store_survives_a_restart(tmp_path: Path) -> None:
    key = bytes([9]) * 32
    async with await AsterPeer.start(tmp_path, secret_key=key) as peer:
        first = peer.id
        blob = await peer.add_bytes(SMALL)
    async with await AsterPeer.start(tmp_path, secret_key=key) as peer:
        assert peer.id == first
        assert await peer.read(blob) == SMALL
