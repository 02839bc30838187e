"""Which groups of a partial blob are right: what a crash left is found again by hashing."""

from collections.abc import Iterator

from peat_sidecar.bao import kernel
from peat_sidecar.bao.encoding import Read
from peat_sidecar.bao.tree import (
    PAIR_SIZE,
    RUN_CHUNKS,
    has_all,
    has_any,
    left_chunks,
    right_offset,
)
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import CHUNK_SIZE, GROUP_CHUNKS, ChunkRanges, chunk_count


def check_groups(
    blob_hash: BlobHash, size: int, candidates: ChunkRanges, read_data: Read, read_outboard: Read
) -> ChunkRanges:
    """The groups among `candidates` whose data and whole path of pairs hash up to the root.

    Whole groups only. Subtrees of 1 MiB are hashed at once, and taken apart only where they are wrong; a pair
    that is wrong ends the search below it.
    """
    checker = _Checker(size, candidates.whole_groups(size), read_data, read_outboard)
    boundaries: list[int] = []
    for start, end in checker.right_groups(0, chunk_count(size), 0, blob_hash.value):
        if boundaries and boundaries[-1] == start:
            boundaries[-1] = end
        else:
            boundaries += (start, end)
    return ChunkRanges.from_boundaries(boundaries)


class _Checker:
    """Walks down the tree wherever something is to be checked."""

    def __init__(self, size: int, wanted: ChunkRanges, read_data: Read, read_outboard: Read) -> None:
        self._size = size
        self._total = chunk_count(size)
        self._wanted = wanted.boundaries
        self._read_data = read_data
        self._read_outboard = read_outboard

    def right_groups(
        self, start: int, chunks: int, offset: int, expected: bytes
    ) -> Iterator[tuple[int, int]]:
        """Intervals of right groups in a subtree, in order; its pairs begin at `offset` in the outboard."""
        end = start + chunks
        if not has_any(self._wanted, start, end):
            return
        if (
            chunks <= RUN_CHUNKS
            and has_all(self._wanted, start, end)
            and self._is_right(start, chunks, offset, expected)
        ):
            yield start, end
            return
        if chunks <= GROUP_CHUNKS:
            return
        pair = self._read_outboard(offset, PAIR_SIZE)
        if len(pair) != PAIR_SIZE or kernel.parent(pair, chunks == self._total) != expected:
            return
        left = left_chunks(chunks)
        yield from self.right_groups(start, left, offset + PAIR_SIZE, pair[:32])
        yield from self.right_groups(start + left, chunks - left, right_offset(offset, left), pair[32:])

    def _is_right(self, start: int, chunks: int, offset: int, expected: bytes) -> bool:
        first = start * CHUNK_SIZE
        data = self._read_data(first, min(self._size - first, chunks * CHUNK_SIZE))
        value, pairs = kernel.tree(data, start, chunks == self._total, GROUP_CHUNKS)
        return value == expected and (not pairs or self._read_outboard(offset, len(pairs)) == pairs)
