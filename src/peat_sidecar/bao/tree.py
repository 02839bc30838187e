"""The shape of a blob's tree, and the order in which it goes over the wire.

The left part of a subtree of k chunks has the largest power of two of chunks below k. The outboard is the
tree down to groups: its pairs of chaining values, 64 bytes each, in pre-order. The wire has the same order,
with the data between, for the wanted part of the tree alone, down to single chunks where a group is wanted in
part.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from peat_sidecar.ranges import CHUNK_SIZE, GROUP_CHUNKS, GROUP_SIZE, ChunkRanges, chunk_count

PAIR_SIZE = 64
RUN_CHUNKS = 1024
"""Chunks of the largest subtree that is read, verified and written at once: 1 MiB."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A parent on the wire: the chaining values of its two parts."""

    outboard_offset: int | None
    """Where it is in the outboard; None below group level, where nothing is kept."""
    group_offset: int | None
    """Below group level, where it is among the pairs of its group in pre-order."""
    start: int
    """The first chunk under it."""
    chunks: int
    left: bool
    """Its left part comes next: something in there is wanted."""
    right: bool
    """Its right part follows."""
    is_root: bool
    """It is the top of the tree."""


@dataclass(frozen=True, slots=True)
class Run:
    """A complete subtree, wanted as a whole: its groups with the pairs between them."""

    start: int
    """The first chunk."""
    length: int
    """Bytes of data."""
    outboard_offset: int
    """Where its pairs begin in the outboard."""
    outboard_length: int
    """Bytes of its pairs; 0 up to one group."""
    is_root: bool
    """It is the whole blob."""

    @property
    def wire_length(self) -> int:
        """Bytes on the wire."""
        return self.length + self.outboard_length


def group_count(size: int) -> int:
    """Groups of a blob of `size` bytes; the empty blob has one."""
    return max(1, -(-size // GROUP_SIZE))


def outboard_size(size: int) -> int:
    """Bytes of the outboard of a blob of `size` bytes."""
    return PAIR_SIZE * (group_count(size) - 1)


def left_chunks(chunks: int) -> int:
    """Chunks in the left part of a subtree of two or more."""
    return 1 << ((chunks - 1).bit_length() - 1)


def right_offset(offset: int, left: int) -> int:
    """Where the pairs of the right part begin in the outboard, when the parent is at `offset`."""
    return offset + PAIR_SIZE * (left // GROUP_CHUNKS)


def outboard_offset(total: int, start: int, chunks: int) -> int:
    """Where the pairs of the subtree of `chunks` chunks at `start` begin, in a tree of `total` chunks."""
    offset, first = 0, 0
    while (first, total) != (start, chunks):
        left = left_chunks(total)
        if start < first + left:
            offset, total = offset + PAIR_SIZE, left
        else:
            offset, first, total = right_offset(offset, left), first + left, total - left
    return offset


def plan(
    size: int, ranges: ChunkRanges, run_chunks: int | Callable[[], int] = RUN_CHUNKS
) -> Iterator[Pair | Run]:
    """What a provider sends of a blob of `size` bytes, in order, in runs of at most `run_chunks` chunks (a
    power of two, 16 or more; a function is asked before each step). Lazy: it costs what is taken from it,
    whatever size is claimed.
    """
    if size < 0:
        raise ValueError("a plan needs a size")
    if isinstance(run_chunks, int):
        fixed = require_run_chunks(run_chunks)
        return _walk(size, ranges.clamp(size).boundaries, lambda: fixed)
    return _walk(size, ranges.clamp(size).boundaries, run_chunks)


def require_run_chunks(run_chunks: int) -> int:
    """The same number; ValueError when runs cannot have that length."""
    if run_chunks < GROUP_CHUNKS or run_chunks & (run_chunks - 1):
        raise ValueError("a plan needs runs of a power of two of chunks, 16 or more")
    return run_chunks


def _walk(size: int, boundaries: tuple[int, ...], run_chunks: Callable[[], int]) -> Iterator[Pair | Run]:
    """In pre-order, as iroh-blobs does: a leaf is a chunk, or up to a group that is wanted as a whole."""
    if not boundaries:
        return
    total = chunk_count(size)
    # First chunk, chunks, offset in the outboard, offset in its group below group level.
    waiting: list[tuple[int, int, int, int | None]] = [(0, total, 0, None)]
    left_place: tuple[int, int | None]
    right_place: tuple[int, int | None]
    while waiting:
        start, chunks, offset, in_group = waiting.pop()
        if chunks == 1 or (chunks <= run_chunks() and has_all(boundaries, start, start + chunks)):
            length = min(size, (start + chunks) * CHUNK_SIZE) - start * CHUNK_SIZE
            yield Run(start, length, offset, outboard_size(length), chunks == total)
            continue
        left = left_chunks(chunks)
        wants_left = has_any(boundaries, start, start + left)
        wants_right = has_any(boundaries, start + left, start + chunks)
        if chunks <= GROUP_CHUNKS:
            place = in_group or 0
            yield Pair(None, place, start, chunks, wants_left, wants_right, chunks == total)
            left_place, right_place = (offset, place + PAIR_SIZE), (offset, place + PAIR_SIZE * left)
        else:
            yield Pair(offset, None, start, chunks, wants_left, wants_right, chunks == total)
            left_place, right_place = (offset + PAIR_SIZE, None), (right_offset(offset, left), None)
        if wants_right:
            waiting.append((start + left, chunks - left, *right_place))
        if wants_left:
            waiting.append((start, left, *left_place))


def has_any(boundaries: tuple[int, ...], start: int, end: int) -> bool:
    """Whether one of the chunks is in the set."""
    after = bisect_right(boundaries, start)
    return after % 2 == 1 or (after < len(boundaries) and boundaries[after] < end)


def has_all(boundaries: tuple[int, ...], start: int, end: int) -> bool:
    """Whether all of the chunks are in the set."""
    after = bisect_right(boundaries, start)
    return after % 2 == 1 and (after == len(boundaries) or boundaries[after] >= end)
