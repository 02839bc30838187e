"""Our provider answers every captured request as the Rust nodes did, byte for byte, over both networks."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from tests.support.networks import KINDS
from tests.support.nodes import bounded, two_nodes

from peat_sidecar.net import Connection, StreamReset
from peat_sidecar.store import Store
from peat_sidecar.wire import ALPN, Collection, encode_collection, encode_hash_sequence

HERE = Path(__file__).parent
KNOWN: dict[str, Any] = json.loads((HERE / "vectors.json").read_text())
EMPTY_OBSERVED = b"\x03\x00\x01\x00"
"""The Rust node resets when the empty blob is observed; ours says that it has it."""


@functools.cache
def generated(size: int) -> bytes:
    """The input of the generator that vectors.json describes."""
    return bytes(((i * 2654435761 + size * 40503) & 0xFFFFFFFF) >> 24 for i in range(size))


def fill(store: Store) -> None:
    blobs = {size: store.put(generated(size)).hash for size in map(int, KNOWN["hashes"])}
    assert {str(size): str(blob) for size, blob in blobs.items()} == KNOWN["hashes"]
    sequence = store.put(encode_hash_sequence(blobs[size] for size in (1024, 0, 65537, 1024)))
    assert str(sequence.hash) == KNOWN["hashseq"]
    names = ("a.txt", "dir/b.bin", "empty", "a-again")
    metadata, collection = encode_collection(
        Collection(names, tuple(blobs[size] for size in (1, 16385, 0, 1)))
    )
    store.put(metadata)
    assert str(store.put(collection).hash) == KNOWN["collection"]


@pytest.fixture(params=KINDS)
async def connection(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Connection]:
    async with two_nodes(tmp_path, request.param) as (provider, getter, _):
        await asyncio.to_thread(fill, provider.store)
        yield await getter.endpoint.connect(provider.address, ALPN)


async def test_all_answers(connection: Connection) -> None:
    for vector in KNOWN["vectors"]:
        if vector["kind"] == "Observe":
            continue
        request = too_long() if vector["name"] == "bad_too_long" else bytes.fromhex(vector["request_hex"])
        got, end = await bounded(exchange(connection, request))
        assert (len(got), end) == (vector["response_len"], vector["end"]), vector["name"]
        assert blake3(got).hexdigest() == vector["response_blake3"], vector["name"]


async def test_all_items(connection: Connection) -> None:
    observed = [vector for vector in KNOWN["vectors"] if vector["kind"] == "Observe"]
    assert len(observed) == 5
    for vector in observed:
        expected = bytes.fromhex(vector.get("response_hex", "")) or EMPTY_OBSERVED
        stream = await connection.open_stream()
        await stream.write(bytes.fromhex(vector["request_hex"]))
        await stream.finish()
        assert await bounded(stream.read_exact(len(expected))) == expected, vector["name"]
        await stream.stop(0)


def too_long() -> bytes:
    """The captured one has a megabyte of zeros, which the file leaves out."""
    return b"\x00" + bytes(2 << 20)


async def exchange(connection: Connection, request: bytes) -> tuple[bytes, str]:
    stream = await connection.open_stream()
    try:
        await stream.write(request)
        await stream.finish()
    except StreamReset:
        raise
    except Exception as error:  # noqa: BLE001 - the provider may stop a request that is too long
        assert len(request) > 1 << 20, error  # noqa: PT017
    try:
        return await stream.read_to_end(1 << 24), "fin"
    except StreamReset as reset:
        return b"", f"reset:{reset.code}"
