"""Hash sequences, and collections: hash sequences whose first blob names the others."""

from collections.abc import Iterable
from dataclasses import dataclass

from blake3 import blake3

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ids import BlobHash
from peat_sidecar.wire.postcard import Reader, encode_text, encode_varint

HASH_BYTES = 32
_HEADER = b"CollectionV0."


@dataclass(frozen=True, slots=True)
class Collection:
    """Blobs with names."""

    names: tuple[str, ...]
    hashes: tuple[BlobHash, ...]
    """As many as names, in the same order."""

    def __post_init__(self) -> None:
        if len(self.names) != len(self.hashes):
            raise ValueError("a collection has a name for each hash")


def encode_hash_sequence(hashes: Iterable[BlobHash]) -> bytes:
    """Hashes one after another."""
    return b"".join(each.value for each in hashes)


def parse_hash_sequence(data: bytes) -> tuple[BlobHash, ...]:
    """The hashes of a sequence, or of a piece of one."""
    if len(data) % HASH_BYTES:
        raise RemoteProtocolError(
            f"a blob of {len(data)} bytes is no hash sequence, whose items have {HASH_BYTES}"
        )
    return tuple(BlobHash(data[start : start + HASH_BYTES]) for start in range(0, len(data), HASH_BYTES))


def encode_collection(collection: Collection) -> tuple[bytes, bytes]:
    """The two blobs of a collection: its names, and the hash sequence, whose hash is the collection's."""
    names = b"".join(map(encode_text, collection.names))
    metadata = _HEADER + encode_varint(len(collection.names)) + names
    first = BlobHash(blake3(metadata).digest())
    return metadata, encode_hash_sequence((first, *collection.hashes))


def parse_collection(metadata: bytes, hash_sequence: bytes) -> Collection:
    """The collection that two blobs make; they have to belong together."""
    hashes = parse_hash_sequence(hash_sequence)
    if not hashes or hashes[0].value != blake3(metadata).digest():
        raise RemoteProtocolError(
            "the first blob of the hash sequence is not the list of names that came with it"
        )
    reader = Reader(metadata)
    if reader.take(min(len(_HEADER), reader.remaining)) != _HEADER:
        raise RemoteProtocolError("the hash sequence is no collection: its first blob is no list of names")
    names = tuple(reader.text() for _ in range(reader.count(1)))
    if len(names) != len(hashes) - 1:
        raise RemoteProtocolError(f"a collection has {len(names)} names for {len(hashes) - 1} blobs")
    return Collection(names, hashes[1:])
