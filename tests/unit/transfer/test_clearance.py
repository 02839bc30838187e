"""Which blobs peers get is a matter of packages and patterns; what they may not have is not there."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import BlobHash
from peat_sidecar.net import StreamReset
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import StoredPackage
from peat_sidecar.transfer import Clearance, Progress
from peat_sidecar.transfer.holdings import holdings
from peat_sidecar.wire import (
    ALPN,
    ErrorCode,
    Get,
    GetMany,
    Observe,
    RangesSeq,
    encode_hash_sequence,
    encode_request,
    parse_hash_sequence,
)
from tests.support.mesh_nodes import put_image
from tests.support.nodes import Node, bounded, two_nodes, until
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces

MAPS = {"localhost/app:v1": "registry.example/app:v1"}
COMMON, SECRET, PUBLIC = real_bytes(100_000), real_bytes(200_000), real_bytes(300_000)
HIDING = ("!registry.example/secret/*",)
ONLY = ("!*", "registry.example/public/*")


def listed(node: Node, reference: str, *layers: bytes) -> StoredPackage:
    made = put_image(node.store, layers)
    node.store.remove_package(made.root.digest)
    package = replace(made, reference=reference)
    node.store.add_package(package)
    return package


def hash_of(data: bytes) -> BlobHash:
    return tree_of(data)[0]


async def gets(peer: Node, holder: Node, blob: BlobHash) -> bool:
    """Whether that blob is given; by Get, by GetMany and by Observe it is the same."""
    connection = await peer.pool.connection(holder.address, ALPN)
    observed = bool((await bounded(holdings(connection, blob))).ranges)
    whole = RangesSeq.whole_blob()
    for request in (Get(blob, whole), GetMany((blob,), whole)):
        stream = await connection.open_stream()
        await stream.write(encode_request(request))
        await stream.finish()
        if observed:
            assert len(await bounded(stream.read_to_end(1 << 22))) > 8
            continue
        with pytest.raises(StreamReset) as reset:
            await bounded(stream.read_to_end(1 << 22))
        assert reset.value.code == ErrorCode.INTERNAL
    return observed


@pytest.mark.parametrize(
    ("patterns", "reference", "shared"),
    [
        ((), "registry.example/team/app:v1", True),
        ((), "@sha256:1234", True),
        ((), "localhost/team/app:v1", False),
        ((), "localhost:5000/team/app:v1", True),
        (("localhost/team/*",), "localhost/team/app:v1", True),
        (("localhost/team/*",), "localhost/other:v1", False),
        (HIDING, "registry.example/secret/app:v1", False),
        (HIDING, "registry.example/team/app:v1", True),
        (ONLY, "registry.example/team/app:v1", False),
        (ONLY, "registry.example/public/app:v1", True),
        (("!a/*", "a/b:*"), "a/b:v1", True),
        (("a/b:*", "!a/*"), "a/b:v1", False),
    ],
)
async def test_the_last_pattern_that_fits_decides(
    tmp_path: Path, patterns: Sequence[str], reference: str, shared: bool
) -> None:
    async with two_nodes(tmp_path, share=()) as (one, _, _):
        assert Clearance(one.store, patterns).shares(reference) is shared


@pytest.mark.parametrize("patterns", [HIDING, ONLY])
async def test_a_package_that_is_not_shared_is_not_there(tmp_path: Path, patterns: Sequence[str]) -> None:
    async with two_nodes(tmp_path, share=patterns) as (one, other, _):
        public = listed(one, "registry.example/public/app:v1", COMMON, PUBLIC)
        secret = listed(one, "registry.example/secret/app:v1", COMMON, SECRET)
        for hash in (secret.collection, hash_of(SECRET)):
            assert not await gets(other, one, hash)
        for hash in (public.collection, hash_of(PUBLIC), hash_of(COMMON)):
            assert await gets(other, one, hash)
        with pytest.raises(NotFound, match="does not hold"):
            await bounded(other.getter.fetch_package(secret.collection, one.address, Progress()))
        got = await bounded(other.getter.fetch_package(public.collection, one.address, Progress()))
        assert got.root == public.root


async def test_all_of_a_shared_package_is_there_whichever_is_asked_for_first(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (one, _, _):
        package = listed(one, "registry.example/public/app:v1", PUBLIC)
        with one.store.reader(package.collection) as reader:
            hashes = parse_hash_sequence(reader.read(0, reader.size))
        for hash in (package.collection, *hashes):
            assert Clearance(one.store).clears(hash)


async def test_it_follows_what_is_listed(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, share=HIDING) as (one, other, _):
        secret = listed(one, "registry.example/secret/app:v1", SECRET)
        assert not await gets(other, one, hash_of(SECRET))
        one.store.add_package(replace(secret, reference="registry.example/public/app:v1"))
        assert await gets(other, one, hash_of(SECRET))
        assert await gets(other, one, secret.collection)
        one.store.remove_package("registry.example/public/app:v1")
        assert not await gets(other, one, hash_of(SECRET))
        assert not await gets(other, one, secret.collection)


async def test_a_sequence_of_hashes_opens_nothing(tmp_path: Path) -> None:
    """A layer that a stranger made, which names blobs of other packages."""
    async with two_nodes(tmp_path, share=HIDING) as (one, other, _):
        listed(one, "registry.example/secret/app:v1", SECRET)
        trap = encode_hash_sequence([hash_of(SECRET)])
        listed(one, "registry.example/public/app:v1", trap)
        assert await gets(other, one, hash_of(trap))
        connection = await other.pool.connection(one.address, ALPN)
        stream = await connection.open_stream()
        await stream.write(encode_request(Get(hash_of(trap), RangesSeq.whole_sequence())))
        await stream.finish()
        with pytest.raises(StreamReset):
            await bounded(stream.read_to_end(1 << 22))


async def test_files_alone_are_shared_unless_all_is_kept(tmp_path: Path) -> None:
    for patterns, shared in (((), True), (HIDING, True), (ONLY, False), (("!*", "blob:*"), True)):
        async with two_nodes(tmp_path / str(len(patterns)) / str(shared), share=patterns) as (one, other, _):
            info = one.store.put(PUBLIC)
            assert not await gets(other, one, info.hash)
            one.store.kept.add(info.proven_digest)
            assert await gets(other, one, info.hash) is shared


async def test_what_belongs_to_no_package_yet_or_any_more_stays(tmp_path: Path) -> None:
    """A layer of an import that goes on, of a package that was removed, and a part of an ended fetch."""
    large = real_bytes(3_000_000)
    blob, pairs = tree_of(large)
    async with two_nodes(tmp_path, share=HIDING) as (one, other, _):
        coming = one.store.put(COMMON)
        listed(one, "registry.example/secret/app:v1", SECRET)
        one.store.remove_package("registry.example/secret/app:v1")
        with one.store.partial(blob, len(large)) as partial:
            for piece in verified_pieces(large, pairs, ChunkRanges.of(0, 64)):
                partial.write(piece)
        for hash in (coming.hash, hash_of(SECRET), blob):
            assert not await gets(other, one, hash)


async def test_a_blob_that_was_fetched_by_itself_goes_on(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, share=()) as (one, other, _):
        info = one.store.put(PUBLIC)
        one.store.kept.add(info.proven_digest)
        await bounded(other.getter.fetch_blob(info.hash, one.address, Progress()))
        assert await gets(one, other, info.hash)


async def test_what_a_client_is_pushing_is_nobodys_yet(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, share=()) as (one, other, _):
        info = one.store.put(PUBLIC)
        one.store.uploads.claim("registry.example/team/app", info.proven_digest)
        assert not await gets(other, one, info.hash)
        listed(one, "registry.example/team/app:v1", PUBLIC)
        assert await gets(other, one, info.hash)


@pytest.mark.parametrize(("reference", "shared"), [("secret", False), ("public", True)])
async def test_what_is_here_of_a_want_goes_by_its_reference(
    tmp_path: Path, reference: str, shared: bool
) -> None:
    large = real_bytes(3_000_000)
    blob, pairs = tree_of(large)
    async with two_nodes(tmp_path, share=ONLY) as (one, other, _):
        package = listed(other, "registry.example/public/app:v1", large)
        with one.store.partial(blob, len(large)) as partial:  # the fetch finds it at work, and is broken off
            for piece in verified_pieces(large, pairs, ChunkRanges.of(0, 64)):
                partial.write(piece)
            fetching = asyncio.create_task(
                one.getter.fetch_package(
                    package.collection,
                    other.address,
                    Progress(),
                    list_as=f"registry.example/{reference}/app:v1",
                )
            )
            await until(lambda: one.getter.progress_of(blob) is not None or fetching.done())
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        connection = await other.pool.connection(one.address, ALPN)
        assert bool((await bounded(holdings(connection, blob))).ranges) is shared


async def test_an_observer_hears_of_it_once_it_is_shared(tmp_path: Path) -> None:
    large = real_bytes(3_000_000)
    blob, pairs = tree_of(large)
    async with two_nodes(tmp_path, share=ONLY) as (one, other, _):
        connection = await other.pool.connection(one.address, ALPN)
        stream = await connection.open_stream()
        await stream.write(encode_request(Observe(blob, ChunkRanges.all())))
        await stream.finish()
        first = await bounded(stream.read(1 << 16))
        with one.store.partial(blob, len(large)) as partial:
            pieces = list(verified_pieces(large, pairs, ChunkRanges.all()))
            partial.write(pieces[0])
            listed(one, "registry.example/public/app:v1", large)
            for piece in pieces[1:]:
                partial.write(piece)
        more = await bounded(stream.read(1 << 16))
        assert len(first) < len(more)
        await stream.stop(0)


async def test_what_peers_know_by_another_name_goes_by_that(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, share=()) as (one, _, _):
        clearance = Clearance(one.store, named=lambda name: MAPS.get(name, name))
        assert clearance.shares("localhost/app:v1")
        assert not clearance.shares("localhost/other:v1")
