"""Blobs of real content with their hash and outboard, and how these are read."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from peat_sidecar.bao import encode
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import ChunkRanges
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of

CONTENT = real_bytes(3 << 20)


def reader_of(data: bytes) -> Callable[[int, int], bytes]:
    """Reads (offset, length) of bytes in memory."""
    return lambda offset, length: data[offset : offset + length]


@dataclass(frozen=True)
class Blob:
    """A complete blob."""

    data: bytes
    hash: BlobHash
    outboard: bytes

    def encode(self, ranges: ChunkRanges, piece_bytes: int = 1 << 20) -> bytes:
        """The body that a provider answers."""
        size, read = len(self.data), reader_of(self.data)
        return b"".join(encode(size, ranges, read, reader_of(self.outboard), piece_bytes))


@lru_cache(64)
def blob_of(size: int) -> Blob:
    """The first `size` bytes of the content."""
    return Blob(CONTENT[:size], *tree_of(CONTENT[:size]))
