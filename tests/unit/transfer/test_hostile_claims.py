"""Peers that claim without giving: nothing is looped over for ever, and nothing grows with a claim."""

import tracemalloc
from pathlib import Path

import pytest

from peat_sidecar.bao import encode
from peat_sidecar.errors import IntegrityError, NotFound, PeerUnavailable
from peat_sidecar.ids import BlobHash
from peat_sidecar.net import Stream
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.transfer import Progress
from peat_sidecar.transfer.board import OPEN_BLOBS
from peat_sidecar.wire import (
    Collection,
    ErrorCode,
    Observe,
    ObserveItem,
    encode_collection,
    encode_observe_item,
    encode_size,
    parse_request,
)
from tests.support.nodes import Node, bounded, content, put_package, sha256_of, two_nodes
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of
from tests.unit.transfer.test_getter import layered
from tests.unit.transfer.test_lying_peers import HASH, Liar, both

__all__ = ["both"]


@pytest.mark.parametrize(
    "held", [ChunkRanges.none(), ChunkRanges.of(16, None)], ids=["none", "but the first"]
)
async def test_a_size_that_is_only_claimed(both: tuple[Liar, Node], held: ChunkRanges) -> None:
    liar, node = both

    async def reply(_: Liar, stream: Stream, request: bytes) -> None:
        if isinstance(parse_request(request), Observe):
            claim = held if liar.requests > 2 else ChunkRanges.of(0, 16)
            await stream.write(encode_observe_item(ObserveItem(1 << 50, claim)))
            await stream.finish()
        else:
            await stream.reset(ErrorCode.INTERNAL)

    liar.reply = reply
    tracemalloc.start()
    try:
        with pytest.raises((NotFound, PeerUnavailable)):
            await bounded(node.getter.fetch_blob(HASH, liar.address, Progress()), 10)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert liar.requests < 100


async def test_a_collection_that_always_breaks_off_is_given_up(both: tuple[Liar, Node]) -> None:
    liar, node = both
    sequence = real_bytes(32 * 2000)
    root, pairs = tree_of(sequence)
    body = b"".join(
        encode(
            len(sequence),
            ChunkRanges.all(),
            lambda offset, length: sequence[offset : offset + length],
            lambda offset, length: pairs[offset : offset + length],
        )
    )

    async def reply(_: Liar, stream: Stream, request: bytes) -> None:
        await stream.write(encode_size(len(sequence)) + body)
        await stream.finish()

    liar.reply = reply
    with pytest.raises(PeerUnavailable, match="ended its stream"):
        await bounded(node.getter.fetch_package(root, liar.address, Progress()), 5)
    assert liar.requests < 12


@pytest.mark.parametrize("place", [0, -1], ids=["oci-layout", "a small layer"])
async def test_a_collection_that_names_another_blob_names_its_peer(tmp_path: Path, place: int) -> None:
    manifest, blobs = layered(real_bytes(5000))
    async with two_nodes(tmp_path) as (provider, getter, _):
        sent = put_package(provider.store, manifest, blobs)
        sequence = content(provider.store, sent.collection)
        hashes = [BlobHash(sequence[at : at + 32]) for at in range(32, len(sequence), 32)]
        # one of the getter's own blobs, which would be removed with the package
        hashes[place] = getter.store.put(b"a stranger").hash
        provider.store.put(b"a stranger")
        names = ("oci-layout", "index.json", *(digest.path for digest in sent.blobs))
        metadata, lying = encode_collection(Collection(names, tuple(hashes)))
        provider.store.put(metadata)
        collection = provider.store.put(lying).hash
        with pytest.raises(IntegrityError, match=f"peer {provider.endpoint.id.short}"):
            await bounded(getter.getter.fetch_package(collection, provider.address, Progress()))
        assert getter.store.packages() == []


async def test_a_wrong_digest_of_a_small_blob_names_the_peer(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        blob = provider.store.put(b"some bytes").hash
        with pytest.raises(IntegrityError, match=f"peer {provider.endpoint.id.short}"):
            await bounded(
                getter.getter.fetch_blob(blob, provider.address, Progress(), expected=sha256_of(b"others"))
            )


async def test_few_blobs_are_open_however_many_a_peer_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [real_bytes(70_000, 1000 * number) for number in range(1, 33)]
    manifest, blobs = layered(*layers)
    async with two_nodes(tmp_path) as (provider, getter, _):
        sent = put_package(provider.store, manifest, blobs)
        provider.store.remove_package(sent.collection)
        for layer in layers:
            info = provider.store.find(sha256_of(layer))
            assert info is not None
            provider.store.delete(info.hash)
        most = 0
        partial = getter.store.partial

        def counted(*arguments: object, **options: object) -> object:
            nonlocal most
            most = max(most, len(getter.store._open_partials))
            return partial(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(getter.store, "partial", counted)
        with pytest.raises(NotFound, match=r"holds blob .* only in part"):
            await bounded(getter.getter.fetch_package(sent.collection, provider.address, Progress()))
        assert most <= OPEN_BLOBS


async def test_a_digest_that_one_peer_claimed_is_not_held_against_another(tmp_path: Path) -> None:
    data = real_bytes(1_000_000)
    async with two_nodes(tmp_path) as (provider, getter, _):
        blob = provider.store.put(data).hash
        getter.store.partial(blob, len(data), expected=sha256_of(b"others")).close()
        info = await bounded(getter.getter.fetch_blob(blob, provider.address, Progress()))
        assert info.digest == sha256_of(data)


async def test_totals_are_those_of_what_is_fetched(tmp_path: Path) -> None:
    small, large = real_bytes(1000), real_bytes(100_000)
    async with two_nodes(tmp_path) as (provider, getter, _):
        progress = Progress()
        for data in (small, large):  # as the documents of a package come, from the root on
            blob = provider.store.put(data).hash
            await bounded(getter.getter.fetch_blob(blob, provider.address, progress))
            assert progress.done_bytes == progress.total_bytes == len(data)
