"""Sets of chunks: what a request asks for, what a partial blob holds, what an Observe item tells.

A chunk is 1,024 bytes, the unit of BLAKE3; a group is 16 chunks, the unit in which content is kept. A set is
the sorted tuple of its boundaries: selected are [b0, b1), [b2, b3) and so on, and an odd count leaves the
last interval open. Sets are values: immutable, hashable, and as large as their boundaries are many, however
far apart these lie.

Set operations are linear, and copy the stretches where only one side has boundaries: adding one interval to a
set of 100,000 costs a millisecond, merging two such sets 60.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

CHUNK_SIZE = 1024
GROUP_CHUNKS = 16
GROUP_SIZE = CHUNK_SIZE * GROUP_CHUNKS
_CHUNK_MAX = (1 << 64) - 1

_Table = tuple[tuple[bool, bool], tuple[bool, bool]]
"""Whether a chunk is in the result: by whether it is in the left set, then in the right one."""
_OR: _Table = ((False, True), (True, True))
_AND: _Table = ((False, False), (False, True))
_WITHOUT: _Table = ((False, False), (True, False))


def chunk_count(size: int) -> int:
    """Chunks of a blob of `size` bytes; the empty blob has one, which is empty."""
    return max(1, -(-size // CHUNK_SIZE))


@dataclass(frozen=True, slots=True)
class ChunkRanges:
    """A set of chunk indices of 64 bits."""

    boundaries: tuple[int, ...] = ()
    """Strictly rising: where intervals start and end in turn; an odd count: the last one has no end."""

    LAST: ClassVar[Self]
    """What is asked for to learn a proven size: a chunk beyond every end, which stands for the last one."""

    @classmethod
    def all(cls) -> Self:
        """Every chunk."""
        return cls((0,))

    @classmethod
    def none(cls) -> Self:
        """No chunk."""
        return cls()

    @classmethod
    def of(cls, start: int, end: int | None) -> Self:
        """The chunks from `start` up to, not including, `end`; None: without end."""
        if end is None or start == end:
            opened = cls.from_boundaries((start,))
            return opened if end is None else cls()
        return cls.from_boundaries((start, end))

    @classmethod
    def from_boundaries(cls, boundaries: Iterable[int]) -> Self:
        """ValueError when the boundaries do not rise strictly, or are no 64-bit numbers."""
        checked = tuple(boundaries)
        if any(left >= right for left, right in pairwise(checked)):
            raise ValueError("the boundaries of chunk ranges rise strictly")
        if checked and not 0 <= checked[0] <= checked[-1] <= _CHUNK_MAX:
            raise ValueError("the boundaries of chunk ranges are numbers of 64 bits")
        return cls(checked)

    @property
    def is_all(self) -> bool:
        """Whether every chunk is in, also those beyond any end."""
        return self.boundaries == (0,)

    def __bool__(self) -> bool:
        return bool(self.boundaries)

    def __contains__(self, chunk: int) -> bool:
        return bisect_right(self.boundaries, chunk) % 2 == 1

    def end_of_run(self, chunk: int) -> int | None:
        """The first chunk from that one on that is not in; None: all further ones are."""
        at = bisect_right(self.boundaries, chunk)
        if at % 2 == 0:
            return chunk
        return self.boundaries[at] if at < len(self.boundaries) else None

    def __or__(self, other: Self) -> Self:
        return type(self)(_merge(self.boundaries, other.boundaries, _OR))

    def __and__(self, other: Self) -> Self:
        return type(self)(_merge(self.boundaries, other.boundaries, _AND))

    def __sub__(self, other: Self) -> Self:
        return type(self)(_merge(self.boundaries, other.boundaries, _WITHOUT))

    def invert(self) -> Self:
        """Every chunk that is not in."""
        rest = self.boundaries
        return type(self)(rest[1:] if rest[:1] == (0,) else (0, *rest))

    def intervals(self) -> Iterator[tuple[int, int | None]]:
        """Start and end of each interval in turn; only the last end may be None."""
        boundaries = self.boundaries
        for index in range(0, len(boundaries), 2):
            yield boundaries[index], boundaries[index + 1] if index + 1 < len(boundaries) else None

    def clamp(self, size: int) -> Self:
        """The finite set that a provider answers of a blob of `size` bytes: whoever asks for anything at or
        beyond the last chunk gets the last chunk. Both sides of the wire must do this alike.
        """
        count = chunk_count(size)
        inside = self._within(0, count)
        asks_last = self.boundaries and (len(self.boundaries) % 2 == 1 or self.boundaries[-1] >= count)
        return inside | type(self)((count - 1, count)) if asks_last else inside

    def widen_to_groups(self) -> Self:
        """The groups that have a chunk in the set, whole."""
        widened: list[int] = []
        for start, end in self.intervals():
            first = start // GROUP_CHUNKS * GROUP_CHUNKS
            if not widened or first > widened[-1]:
                widened.append(first)
            else:
                widened.pop()  # the group is shared with the interval before, or touches it
            if end is not None:
                last = -(-end // GROUP_CHUNKS) * GROUP_CHUNKS
                if last > _CHUNK_MAX:
                    break
                widened.append(last)
        return type(self)(tuple(widened))

    def whole_groups(self, size: int) -> Self:
        """The groups of a blob of `size` bytes that are in the set entirely; the last one may be short."""
        count = chunk_count(size)
        whole: list[int] = []
        for start, end in self._within(0, count).intervals():
            first = -(-start // GROUP_CHUNKS) * GROUP_CHUNKS
            last = count if end is None or end >= count else end // GROUP_CHUNKS * GROUP_CHUNKS
            if first < last:
                whole += (first, last)
        return type(self)(tuple(whole))

    def byte_length(self, size: int) -> int:
        """How many bytes of a blob of `size` bytes are in the set."""
        inside = self._within(0, chunk_count(size)).boundaries
        ends = sum(min(size, chunk * CHUNK_SIZE) for chunk in inside[1::2])
        return ends - sum(chunk * CHUNK_SIZE for chunk in inside[::2])

    def _within(self, start: int, end: int) -> Self:
        return type(self)(_merge(self.boundaries, (start, end), _AND))


ChunkRanges.LAST = ChunkRanges((_CHUNK_MAX,))


def _merge(left: tuple[int, ...], right: tuple[int, ...], table: _Table) -> tuple[int, ...]:
    """The boundaries of the combination of two sets."""
    merged: list[int] = []
    at_left = at_right = 0
    while at_left < len(left) and at_right < len(right):
        in_left, in_right = at_left % 2, at_right % 2
        if left[at_left] == right[at_right]:
            if table[in_left][in_right] != table[1 - in_left][1 - in_right]:
                merged.append(left[at_left])
            at_left, at_right = at_left + 1, at_right + 1
        elif left[at_left] < right[at_right]:
            end = _stretch(left, at_left, right[at_right])
            if table[0][in_right] != table[1][in_right]:
                merged += left[at_left:end]
            at_left = end
        else:
            end = _stretch(right, at_right, left[at_left])
            if table[in_left][0] != table[in_left][1]:
                merged += right[at_right:end]
            at_right = end
    in_left, in_right = at_left % 2, at_right % 2
    if table[0][in_right] != table[1][in_right]:
        merged += left[at_left:]
    if table[in_left][0] != table[in_left][1]:
        merged += right[at_right:]
    return tuple(merged)


def _stretch(boundaries: tuple[int, ...], begin: int, limit: int) -> int:
    """Where the boundaries below a limit end: in sets that mix evenly at the next one, so look there."""
    following = begin + 1
    if following == len(boundaries) or boundaries[following] >= limit:
        return following
    return bisect_left(boundaries, limit, following)
