"""Blobs and packages between our nodes and a stock Rust node, both ways, over its memory and file stores."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from blake3 import blake3

from peat_sidecar.errors import NotFound, PeerUnavailable
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import Store
from peat_sidecar.transfer import Progress
from peat_sidecar.transfer.holdings import holdings
from peat_sidecar.wire import ALPN
from tests.support.aster_peer import AsterError, AsterPeer
from tests.support.manifests import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from tests.support.mesh_nodes import put_image
from tests.support.networks import network
from tests.support.nodes import Node, bounded, content, put_package, sha256_of, start_node, until
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces

LARGE = real_bytes(20_000_000)
LARGE_HASH, LARGE_PAIRS = tree_of(LARGE)
SIZES = (0, 1, 1024, 1025, 16_384, 16_385, 65_537, 1_000_000)


@dataclass
class Both:
    """A node of ours and a Rust one."""

    ours: Node
    rust: AsterPeer
    store: Path | None
    """Of the Rust node, where it has files."""

    async def add_large(self) -> BlobHash:
        """Gives the Rust node the large blob."""
        file = self.ours.store.directory.parent / "large"
        file.write_bytes(LARGE)
        return await self.rust.add_file(file)

    async def restart(self) -> None:
        """The Rust node is killed and started again, at the same address and with the same id."""
        port = int(self.rust.address.addresses[0].rpartition(":")[2])
        self.rust.kill()
        await self.rust.close()
        self.rust = await AsterPeer.start(self.store, secret_key=KEY, port=port)


KEY = bytes(range(32))


@contextlib.asynccontextmanager
async def both_of(kind: str, tmp_path: Path, share: Sequence[str] | None = None) -> AsyncIterator[Both]:
    """`share` as `start_node` has it."""
    files = tmp_path / "rust" if kind == "file" else None
    async with network("iroh") as made:
        with Store.open(tmp_path / "ours") as store:
            ours = await start_node(store, made, stall_seconds=2, share=share)
            pair = Both(ours, await AsterPeer.start(files, secret_key=KEY), files)
            try:
                async with asyncio.timeout(100):
                    yield pair
            finally:
                await pair.rust.close()
                await ours.vanish()


@pytest.fixture(params=["memory", "file"])
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Both]:
    async with both_of(request.param, tmp_path) as pair:
        yield pair


async def test_we_fetch_blobs_of_every_interesting_size(both: Both) -> None:
    for size in SIZES:
        data = real_bytes(size)
        blob = await both.rust.add_bytes(data)
        await both.ours.getter.fetch_blob(blob, both.rust.address, Progress(), expected=sha256_of(data))
        assert content(both.ours.store, blob) == data


async def test_we_serve_blobs_of_every_interesting_size(both: Both) -> None:
    for size in SIZES:
        data = real_bytes(size)
        blob = both.ours.store.put(data).hash
        fetched = await both.rust.get(both.ours.address, blob)
        assert (fetched.size, fetched.blake3) == (size, blob)


async def test_a_large_blob_both_ways(both: Both) -> None:
    blob = both.ours.store.put(LARGE).hash
    fetched = await both.rust.get(both.ours.address, blob)
    assert (fetched.size, fetched.blake3) == (len(LARGE), LARGE_HASH)
    both.ours.store.delete(blob)
    progress = Progress()
    await both.ours.getter.fetch_blob(blob, both.rust.address, progress)
    assert content(both.ours.store, blob) == LARGE
    assert progress.wire_bytes < len(LARGE) * 1.005


async def test_what_the_peer_lacks(both: Both) -> None:
    absent = BlobHash(blake3(b"absent").digest())
    with pytest.raises(NotFound, match="does not hold"):
        await both.ours.getter.fetch_blob(absent, both.rust.address, Progress())
    with pytest.raises(AsterError):
        await both.rust.get(both.ours.address, absent)


async def test_the_rust_getter_resumes_from_us(both: Both) -> None:
    """We hold a part: the Rust getter takes what there is, keeps it, and asks for the rest alone later."""
    before = both.ours.provider.sent_bytes
    with both.ours.store.partial(LARGE_HASH, len(LARGE)) as partial:
        for piece in verified_pieces(LARGE, LARGE_PAIRS, ChunkRanges.of(0, 8192)):
            partial.write(piece)
        with pytest.raises(AsterError):
            await both.rust.get(both.ours.address, LARGE_HASH)
        for piece in verified_pieces(LARGE, LARGE_PAIRS, ChunkRanges.of(8192, None)):
            partial.write(piece)
        partial.finish()
    fetched = await both.rust.get(both.ours.address, LARGE_HASH)
    assert fetched.blake3 == LARGE_HASH
    assert both.ours.provider.sent_bytes - before < len(LARGE) * 1.5


async def test_we_resume_from_a_rust_node_that_was_killed(both: Both) -> None:
    """Its memory is gone with it, and so may be what its file store had not committed; ours is not."""
    await both.add_large()
    progress = Progress()
    fetching = asyncio.create_task(
        both.ours.getter.fetch_blob(LARGE_HASH, both.rust.address, progress, expected=sha256_of(LARGE))
    )
    await until(lambda: progress.done_bytes > 2_000_000 or fetching.done())
    await both.restart()
    with contextlib.suppress(NotFound, PeerUnavailable):
        await bounded(fetching, 60)
    if not fetching.done() or fetching.exception() is not None:
        await both.add_large()
        await both.ours.getter.fetch_blob(LARGE_HASH, both.rust.address, progress)
    assert content(both.ours.store, LARGE_HASH) == LARGE
    assert progress.wire_bytes < len(LARGE) * 1.4


async def test_the_rust_getter_takes_a_package(both: Both) -> None:
    """As a stock Iroh program would: the collection's names are the paths of an image layout."""
    layer, config = real_bytes(300_000), b'{"os":"linux","architecture":"amd64"}'
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": str(sha256_of(config)), "size": len(config)},
            "layers": [{"mediaType": OCI_LAYER, "digest": str(sha256_of(layer)), "size": len(layer)}],
        }
    ).encode()
    package = put_package(both.ours.store, manifest, [config, layer])
    entries = await both.rust.get_collection(both.ours.address, package.collection)
    assert list(entries) == ["oci-layout", "index.json", *(digest.path for digest in package.blobs)]
    assert [entries[digest.path] for digest in package.blobs] == [manifest, config, layer]
    # and back: we fetch the collection from the Rust node, into an empty store's worth of blobs
    for listed in both.ours.store.remove_package(package.collection):
        for digest in listed.blobs:
            found = both.ours.store.find(digest)
            assert found is not None
            both.ours.store.delete(found.hash)
    both.ours.store.delete(package.collection)
    got = await both.ours.getter.fetch_package(package.collection, both.rust.address, Progress())
    assert (got.root, got.blobs, got.bytes) == (package.root, package.blobs, package.bytes)


async def test_observe_both_ways(both: Both) -> None:
    blob = await both.add_large()
    connection = await both.ours.pool.connection(both.rust.address, ALPN)
    item = await bounded(holdings(connection, blob))
    assert (item.size, item.ranges.is_all) == (len(LARGE), True)
    absent = await bounded(holdings(connection, BlobHash(blake3(b"absent").digest())))
    assert (absent.size, bool(absent.ranges)) == (0, False)


async def test_a_corrupt_blob_of_ours_is_refused_by_the_rust_getter(both: Both) -> None:
    """The file of a blob rots on disk: whoever asks for it is told nothing wrong."""
    info = both.ours.store.put(LARGE)
    assert info.digest is not None
    path = both.ours.store.directory / info.digest.path
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(10_000_000)
        file.write(b"rotten")
    with pytest.raises(AsterError):
        await both.rust.get(both.ours.address, info.hash)
    held = await both.rust.held(info.hash)
    assert held.status != "complete"


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_what_is_not_for_peers_is_not_given_to_a_rust_node(tmp_path: Path, kind: str) -> None:
    """Nor told: what our registry's clients pushed without naming a registry stays here."""
    async with both_of(kind, tmp_path, share=()) as both:
        package = put_image(both.ours.store, [LARGE])
        both.ours.store.remove_package(package.root.digest)
        both.ours.store.add_package(replace(package, reference="localhost/team/app:v1"))
        with pytest.raises(AsterError):
            await both.rust.get(both.ours.address, LARGE_HASH)
        with pytest.raises(AsterError):
            await both.rust.get_collection(both.ours.address, package.collection)
        both.ours.store.add_package(replace(package, reference="registry.example/team/app:v1"))
        assert (await both.rust.get(both.ours.address, LARGE_HASH)).size == len(LARGE)
