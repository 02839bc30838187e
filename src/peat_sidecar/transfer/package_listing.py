"""What a collection says of a package: its root, and which hash belongs to which digest. Nothing else is
believed.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from blake3 import blake3

from peat_sidecar.errors import IntegrityError, Misnamed
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.net import Connection
from peat_sidecar.packages import (
    DOCUMENT_LIMIT_BYTES,
    LAYOUT_FILE,
    LAYOUT_INDEX_LIMIT_BYTES,
    LAYOUT_NAMES,
    Descriptor,
    parse_collection_names,
    parse_layout_index,
)
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import Store
from peat_sidecar.transfer.answers import Answer, ask, or_lacking
from peat_sidecar.transfer.blame import misnaming
from peat_sidecar.transfer.intake import Intake
from peat_sidecar.wire import Get, RangesSeq, parse_collection, parse_hash_sequence

SEQUENCE_LIMIT_BYTES = 4 << 20
NAMES_LIMIT_BYTES = 16 << 20
"""Both above what 100,000 entries take, more than which no package has."""
_GUESS_BYTES = 4 << 10
_NAMES, _LAYOUT, _INDEX, _ROOT = range(4)
"""Positions in the hash sequence: the names are its first blob."""


@dataclass(frozen=True, slots=True)
class PackageListing:
    """A collection that was checked as far as it can be without the package's documents."""

    names: tuple[str, ...]
    root: Descriptor
    hashes: Mapping[Digest, BlobHash]
    """As claimed, in the order of the names; each digest is proven when its blob is here."""
    companions: tuple[BlobHash, ...]
    """Blobs that go with the collection: its names, and the files of its layout."""


async def fetch_listing(
    connection: Connection, collection: BlobHash, store: Store, intake: Intake
) -> PackageListing:
    """Asks for the collection, its names, its `index.json` and the root document, in one round trip; what
    came is in the store afterwards.
    """
    whole = ChunkRanges.all()
    wanted = RangesSeq.of({0: whole, 1 + _NAMES: whole, 1 + _INDEX: whole, 1 + _ROOT: whole})
    wrong = f"{collection} is no collection of a package"

    async def read(answer: Answer) -> tuple[bytes, bytes, bytes, bytes, PackageListing]:
        sequence = await answer.blob(collection, limit=SEQUENCE_LIMIT_BYTES)
        with misnaming(wrong):
            hashes = parse_hash_sequence(sequence)
        if len(hashes) <= _ROOT:
            raise Misnamed(f"{wrong}; fetch it as a blob")
        names = await answer.blob(hashes[_NAMES], limit=NAMES_LIMIT_BYTES)
        index = await answer.blob(hashes[_INDEX], limit=LAYOUT_INDEX_LIMIT_BYTES)
        with misnaming(wrong):
            listing = parse_listing(sequence, names, index)
        document = await answer.blob(hashes[_ROOT], expected=listing.root.size, limit=DOCUMENT_LIMIT_BYTES)
        return sequence, names, index, document, listing

    async with or_lacking(connection, f"collection {collection}"):
        sequence, names, index, document, listing = await ask(
            connection, Get(collection, wanted), intake, _GUESS_BYTES, read
        )
    root = (document, listing.root.digest, listing.root.media_type)
    others = [(data, None, None) for data in (LAYOUT_FILE, index, names, sequence)]
    with misnaming(f"the root of collection {collection} was named for another"):
        await asyncio.to_thread(store.put_many, [*others, root])
    return listing


def stored_listing(collection: BlobHash, store: Store) -> PackageListing | None:
    """The same from the store, where all of it is here; blocks."""
    sequence = read_small(store, collection, SEQUENCE_LIMIT_BYTES)
    if sequence is None or len(sequence) % 32 or len(sequence) <= 32 * _ROOT:
        return None
    hashes = parse_hash_sequence(sequence)
    names = read_small(store, hashes[_NAMES], NAMES_LIMIT_BYTES)
    index = read_small(store, hashes[_INDEX], LAYOUT_INDEX_LIMIT_BYTES)
    if names is None or index is None or read_small(store, hashes[_ROOT], DOCUMENT_LIMIT_BYTES) is None:
        return None
    return parse_listing(sequence, names, index)


def parse_listing(sequence: bytes, names: bytes, index: bytes) -> PackageListing:
    """`IntegrityError` or `RemoteProtocolError` when it is no collection of a package."""
    collection = parse_collection(names, sequence)
    digests = parse_collection_names(collection.names)
    root = parse_layout_index(index)
    if not digests or digests[0] != root.digest:
        raise IntegrityError("the collection's index.json names another root than its first blob")
    if collection.hashes[0].value != blake3(LAYOUT_FILE).digest():  # it would be removed with the package
        raise IntegrityError("the collection names another blob where its oci-layout belongs")
    hashes = dict(zip(digests, collection.hashes[len(LAYOUT_NAMES) :], strict=True))
    companions = parse_hash_sequence(sequence)[: 1 + len(LAYOUT_NAMES)]
    return PackageListing(collection.names, root, hashes, companions)


def read_small(store: Store, name: BlobHash | Digest, limit_bytes: int) -> bytes | None:
    """A complete blob of the store; None when it is not here, or larger than the limit. Blocks."""
    info = store.find(name)
    if info is None or not info.complete or info.size > limit_bytes:
        return None
    with store.reader(info.hash) as reader:
        return reader.read(0, info.size)
