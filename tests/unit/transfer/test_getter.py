"""Blobs and packages from one node to another, over the memory network and over Iroh."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from peat_sidecar.errors import IntegrityError, NotFound, PeerUnavailable, StoreFull
from peat_sidecar.ids import EMPTY_HASH, BlobHash, Digest, PeerAddress
from peat_sidecar.packages import LAYOUT_FILE, layout_index, parse_manifest
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import BlobInfo, Store
from peat_sidecar.transfer import Progress
from peat_sidecar.wire import Collection, encode_collection
from tests.support.manifests import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from tests.support.networks import KINDS
from tests.support.nodes import bounded, content, put_package, sha256_of, two_nodes, until
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces

LARGE = real_bytes(5_000_000)
SIZES = (0, 1, 1023, 1024, 1025, 16_384, 16_385, 65_536, 65_537, 1_000_000, 1 << 20, (1 << 20) + 1)


def layered(*layers: bytes) -> tuple[bytes, list[bytes]]:
    """A manifest over layers, and its blobs."""
    config = json.dumps({"os": "linux", "architecture": "amd64", "layers": len(layers)}).encode()

    def entry(data: bytes, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": str(sha256_of(data)), "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": entry(config, OCI_CONFIG),
        "layers": [entry(layer, OCI_LAYER) for layer in layers],
    }
    return json.dumps(manifest).encode(), [config, *layers]


@pytest.mark.parametrize("kind", KINDS)
async def test_blobs_of_every_interesting_size(tmp_path: Path, kind: str) -> None:
    async with two_nodes(tmp_path, kind) as (provider, getter, _):
        for size in SIZES:
            data = real_bytes(size)
            blob = provider.store.put(data).hash
            progress = Progress()
            info = await bounded(
                getter.getter.fetch_blob(blob, provider.address, progress, expected=sha256_of(data))
            )
            assert (info.size, info.digest, info.complete) == (size, sha256_of(data), True)
            assert content(getter.store, blob) == data
            assert (progress.total_bytes, progress.done_bytes, progress.done_blobs) == (size, size, 1)


async def test_the_index_is_read_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, threads = Store.find, set()

    def noting(store: Store, name: BlobHash | Digest) -> BlobInfo | None:
        if store is not provided:
            threads.add(threading.current_thread())
        return find(store, name)

    manifest, blobs = layered(real_bytes(70_000))
    async with two_nodes(tmp_path, "memory") as (provider, getter, _):
        provided = provider.store
        sent = put_package(provided, manifest, blobs)
        single = provider.store.put(b"a single file").hash
        monkeypatch.setattr(Store, "find", noting)
        await bounded(getter.getter.fetch_package(sent.collection, provider.address, Progress()))
        await bounded(getter.getter.fetch_blob(single, provider.address, Progress()))
        monkeypatch.undo()
    assert threads
    assert threading.current_thread() not in threads


@pytest.mark.parametrize("kind", KINDS)
async def test_a_package_arrives_whole(tmp_path: Path, kind: str) -> None:
    manifest, blobs = layered(LARGE, real_bytes(70_000), real_bytes(4096), b"")
    async with two_nodes(tmp_path, kind) as (provider, getter, _):
        sent = put_package(provider.store, manifest, blobs)
        progress = Progress()
        got = await bounded(
            getter.getter.fetch_package(
                sent.collection, provider.address, progress, list_as="ship.example/app:v1"
            )
        )
        assert got.reference == "ship.example/app:v1"
        assert (got.root, got.collection, got.blobs, got.bytes) == (
            sent.root,
            sent.collection,
            sent.blobs,
            sent.bytes,
        )
        assert getter.store.packages() == [got]
        assert progress.total_bytes == progress.done_bytes == sent.bytes
        assert progress.done_blobs == progress.total_blobs == len(sent.blobs)
        for data in [manifest, *blobs]:
            info = getter.store.find(sha256_of(data))
            assert info is not None
            assert content(getter.store, info.hash) == data
        # who has it can give it: the collection itself has come too
        assert getter.store.find(sent.collection) is not None
        again = Progress()
        await bounded(getter.getter.fetch_package(sent.collection, provider.address, again))
        assert (again.wire_bytes, again.skipped_bytes) == (0, sent.bytes)


async def test_what_is_here_is_not_asked_for(tmp_path: Path) -> None:
    blob, pairs = tree_of(LARGE)
    half = ChunkRanges.of(0, 2048)
    async with two_nodes(tmp_path) as (provider, getter, _):
        provider.store.put(LARGE)
        with getter.store.partial(blob, len(LARGE)) as partial:
            for piece in verified_pieces(LARGE, pairs, half):
                partial.write(piece)
        progress = Progress()
        await bounded(getter.getter.fetch_blob(blob, provider.address, progress))
        assert content(getter.store, blob) == LARGE
        assert progress.skipped_bytes == 2048 * 1024
        assert progress.wire_bytes < (len(LARGE) - progress.skipped_bytes) * 1.01


async def test_a_lost_connection_is_taken_up_where_it_was(tmp_path: Path) -> None:
    data = real_bytes(40_000_000)
    async with two_nodes(tmp_path) as (provider, getter, made):
        blob = provider.store.put(data).hash
        progress = Progress()
        fetching = asyncio.create_task(getter.getter.fetch_blob(blob, provider.address, progress))
        for part in range(1, 4):
            await until(lambda: progress.done_bytes >= part * 8_000_000)  # noqa: B023
            made.memory.cut(provider.endpoint.id, getter.endpoint.id)
        await bounded(fetching)
        assert content(getter.store, blob) == data
        # in flight at a cut: a run and a window for each stream
        assert progress.wire_bytes < len(data) * 1.005 + 3 * 8_000_000


async def test_a_silent_peer_is_noticed_and_taken_up_again(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, stall_seconds=0.3) as (provider, getter, made):
        blob = provider.store.put(LARGE).hash
        progress = Progress()
        fetching = asyncio.create_task(getter.getter.fetch_blob(blob, provider.address, progress))
        await until(lambda: progress.done_bytes >= 1_000_000)
        made.memory.stall(provider.endpoint.id, getter.endpoint.id)
        await until(lambda: "trying again" in progress.waiting_for)
        made.memory.resume(provider.endpoint.id, getter.endpoint.id)
        await bounded(fetching)
        assert content(getter.store, blob) == LARGE


async def test_a_peer_without_it(tmp_path: Path) -> None:
    absent = BlobHash(blake3(b"absent").digest())
    async with two_nodes(tmp_path) as (provider, getter, _):
        with pytest.raises(NotFound, match="does not hold"):
            await bounded(getter.getter.fetch_blob(absent, provider.address, Progress()))
        with pytest.raises(NotFound, match="does not hold collection"):
            await bounded(getter.getter.fetch_package(absent, provider.address, Progress()))
        assert getter.store.usage().partial_blobs == 0


async def test_a_peer_that_is_not_there_fails_at_once(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        getter.pool._endpoint._connect_seconds = 0.2  # type: ignore[attr-defined]
        nowhere = PeerAddress(provider.endpoint.id, ("127.0.0.1:9",))
        with pytest.raises(PeerUnavailable, match="did not answer"):
            await bounded(getter.getter.fetch_blob(EMPTY_HASH, nowhere, Progress()))


async def test_what_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    """A package that names more than the disk has room for, true or not."""
    config = b"{}"
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": str(sha256_of(config)), "size": len(config)},
        "layers": [{"mediaType": OCI_LAYER, "digest": str(sha256_of(b"?")), "size": 1 << 55}],
    }
    raw = json.dumps(manifest).encode()
    async with two_nodes(tmp_path) as (provider, getter, _):
        names = ("oci-layout", "index.json", *(sha256_of(each).path for each in (raw, config, b"?")))
        index = layout_index(parse_manifest(raw, None).descriptor)
        blobs = [provider.store.put(data).hash for data in (LAYOUT_FILE, index, raw, config, b"?")]
        metadata, sequence = encode_collection(Collection(names, tuple(blobs)))
        provider.store.put(metadata)
        collection = provider.store.put(sequence).hash
        with pytest.raises(StoreFull, match=f"no room for {(1 << 55) + len(config)} bytes"):
            await bounded(getter.getter.fetch_package(collection, provider.address, Progress()))
        assert getter.store.usage().partial_blobs == 0


async def test_a_partial_provider_gives_what_it_has(tmp_path: Path) -> None:
    blob, pairs = tree_of(LARGE)
    async with two_nodes(tmp_path) as (provider, getter, _):
        with provider.store.partial(blob, len(LARGE)) as partial:
            for piece in verified_pieces(LARGE, pairs, ChunkRanges.of(160, 3200)):
                partial.write(piece)
            with pytest.raises(NotFound, match="only in part"):
                await bounded(getter.getter.fetch_blob(blob, provider.address, Progress()))
            found = getter.store.find(blob)
            assert found is not None
            assert found.present == 3040 * 1024
            for piece in verified_pieces(LARGE, pairs, ChunkRanges.all()):
                partial.write(piece)
            progress = Progress()
            await bounded(getter.getter.fetch_blob(blob, provider.address, progress))
            assert content(getter.store, blob) == LARGE
            assert progress.skipped_bytes == 3040 * 1024


async def test_two_transfers_of_one_blob_fetch_it_once(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        blob = provider.store.put(LARGE).hash
        progresses = [Progress(), Progress(), Progress()]
        await bounded(
            asyncio.gather(*(getter.getter.fetch_blob(blob, provider.address, each) for each in progresses))
        )
        assert content(getter.store, blob) == LARGE
        assert sum(each.wire_bytes for each in progresses) < len(LARGE) * 1.01 + 3 * 20_000


async def test_a_cancelled_fetch_keeps_what_came(tmp_path: Path) -> None:
    data = real_bytes(30_000_000)
    async with two_nodes(tmp_path) as (provider, getter, _):
        blob = provider.store.put(data).hash
        progress = Progress()
        fetching = asyncio.create_task(getter.getter.fetch_blob(blob, provider.address, progress))
        await until(lambda: progress.done_bytes >= 4_000_000)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        found = getter.store.find(blob)
        assert found is not None
        assert found.present >= 4_000_000
        rest = Progress()
        await bounded(getter.getter.fetch_blob(blob, provider.address, rest))
        assert rest.skipped_bytes >= 4_000_000
        assert content(getter.store, blob) == data


async def test_a_wrong_digest_is_the_peers_fault_and_stores_nothing(tmp_path: Path) -> None:
    wrong = sha256_of(b"something else")
    async with two_nodes(tmp_path) as (provider, getter, _):
        for data in (LARGE, real_bytes(3000)):
            blob = provider.store.put(data).hash
            with pytest.raises(IntegrityError):
                await bounded(getter.getter.fetch_blob(blob, provider.address, Progress(), expected=wrong))
            assert getter.store.find(blob) is None


async def test_a_sha512_of_a_blob_that_is_here_is_worked_out(tmp_path: Path) -> None:
    import hashlib

    sha512 = Digest("sha512", hashlib.sha512(LARGE).hexdigest())
    async with two_nodes(tmp_path) as (provider, getter, _):
        blob = provider.store.put(LARGE).hash
        getter.store.put(LARGE)
        progress = Progress()
        info = await bounded(getter.getter.fetch_blob(blob, provider.address, progress, expected=sha512))
        assert (info.sha512, progress.wire_bytes) == (sha512, 0)


@pytest.mark.parametrize("fault", ["extra", "name", "order", "swapped", "no root", "another index"])
async def test_a_collection_that_lies_is_refused(tmp_path: Path, fault: str) -> None:
    manifest, blobs = layered(real_bytes(100_000), real_bytes(5000))
    async with two_nodes(tmp_path) as (provider, getter, _):
        sent = put_package(provider.store, manifest, blobs)
        sequence = content(provider.store, sent.collection)
        hashes = [BlobHash(sequence[at : at + 32]) for at in range(32, len(sequence), 32)]
        names = ["oci-layout", "index.json", *(digest.path for digest in sent.blobs)]
        stranger = provider.store.put(b"a stranger").hash
        match fault:
            case "extra":
                names.append(sha256_of(b"a stranger").path)
                hashes.append(stranger)
            case "name":
                names[-1] = "../../etc/passwd"
            case "order":
                names[-1], names[-2] = names[-2], names[-1]
                hashes[-1], hashes[-2] = hashes[-2], hashes[-1]
            case "swapped":
                hashes[-1], hashes[-2] = hashes[-2], hashes[-1]
            case "no root":
                del names[2], hashes[2]
            case "another index":
                hashes[1] = stranger
        metadata, lying = encode_collection(Collection(tuple(names), tuple(hashes)))
        provider.store.put(metadata)
        collection = provider.store.put(lying).hash
        with pytest.raises(IntegrityError):
            await bounded(getter.getter.fetch_package(collection, provider.address, Progress()))
        assert getter.store.packages() == []
        for digest in sent.blobs[2:]:  # the config, where it was named rightly, is what it says
            assert getter.store.find(digest) is None


async def test_the_expected_root(tmp_path: Path) -> None:
    manifest, blobs = layered(real_bytes(1000))
    async with two_nodes(tmp_path) as (provider, getter, _):
        sent = put_package(provider.store, manifest, blobs)
        with pytest.raises(IntegrityError, match="is expected"):
            await bounded(
                getter.getter.fetch_package(
                    sent.collection, provider.address, Progress(), expected=sha256_of(b"")
                )
            )
