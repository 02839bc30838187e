"""Which chunks of which blobs a request asks for, and how that is written.

One set of chunks: the count of its boundaries, the first, then the distance from each to the next. A sequence
of sets: the count of entries, each the distance of its index from the entry before, and its set. An entry
holds from its index until the next entry's, the last one for ever, and before the first nothing is selected.

As in the Rust decoder, empty intervals and intervals that touch are legal and merged, and of two entries for
one index the second counts. Sums beyond 64 bits, where that decoder wraps around, are refused.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Self

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.wire.postcard import U64_MAX, Reader, encode_varint, encode_varints

RANGES_LIMIT = 1 << 16
"""Entries and boundaries of one request; as Python objects they take fifty times the room of their bytes."""
_NONE = ChunkRanges.none()


class TooManyRanges(RemoteProtocolError):
    """A request is well formed as far as it was read, and longer than it may be: `ErrorCode.LIMIT`."""


@dataclass(frozen=True, slots=True)
class RangesSeq:
    """Sets of chunks by the index of the blob."""

    entries: tuple[tuple[int, ChunkRanges], ...]
    """Indices, strictly rising, and from there on selected chunks."""

    def __post_init__(self) -> None:
        indices = [index for index, _ in self.entries]
        if indices and not 0 <= indices[0] <= indices[-1] <= U64_MAX:
            raise ValueError("the indices of a ranges sequence have 64 bits")
        if any(left >= right for left, right in pairwise(indices)):
            raise ValueError("the indices of a ranges sequence rise")

    @classmethod
    def whole_blob(cls) -> Self:
        """All of one blob, read as plain bytes."""
        return cls.blob(ChunkRanges.all())

    @classmethod
    def blob(cls, ranges: ChunkRanges) -> Self:
        """Some chunks of one blob, read as plain bytes."""
        return cls.of({0: ranges})

    @classmethod
    def whole_sequence(cls) -> Self:
        """All of a hash sequence, and of every blob in it."""
        return cls(((0, ChunkRanges.all()),))

    @classmethod
    def of(cls, selected: Mapping[int, ChunkRanges]) -> Self:
        """Some chunks of the blobs at some indices, and nothing of any other."""
        entries: list[tuple[int, ChunkRanges]] = []
        holding, due = ChunkRanges.none(), 0
        for index in sorted(index for index, ranges in selected.items() if ranges):
            if index > due and holding:
                entries.append((due, ChunkRanges.none()))
                holding = ChunkRanges.none()
            if selected[index] != holding:
                holding = selected[index]
                entries.append((index, holding))
            due = index + 1
        if holding:
            entries.append((due, ChunkRanges.none()))
        return cls(tuple(entries))

    @property
    def is_open(self) -> bool:
        """Whether it selects something of every blob from some index on."""
        return bool(self.entries) and bool(self.entries[-1][1])

    @property
    def range_count(self) -> int:
        """Intervals in all entries; an entry counts once, however many indices it holds for."""
        return sum((len(ranges.boundaries) + 1) // 2 for _, ranges in self.entries)

    def at(self, index: int) -> ChunkRanges:
        """What is selected of the blob at an index."""
        position = bisect_right(self.entries, index, key=lambda entry: entry[0])
        return self.entries[position - 1][1] if position else ChunkRanges.none()

    def selected(self, count: int) -> Iterator[tuple[int, ChunkRanges]]:
        """Of the first `count` blobs those of which something is selected; the steps are as many as those
        and the entries, however far apart they are.
        """
        ends = [index for index, _ in self.entries[1:]] + [count]
        for (index, ranges), end in zip(self.entries, ends, strict=False):
            if index >= count:
                return
            if ranges:
                for each in range(index, min(end, count)):
                    yield each, ranges


def encode_ranges(ranges: ChunkRanges) -> bytes:
    """One set of chunks."""
    boundaries = ranges.boundaries
    steps = [right - left for left, right in pairwise((0, *boundaries))]
    return encode_varint(len(boundaries)) + encode_varints(steps)


def parse_ranges(reader: Reader, limit: int = RANGES_LIMIT) -> ChunkRanges:
    """One set of chunks of at most so many boundaries."""
    count = reader.count(1)
    if not count:
        return _NONE
    if count > limit:
        raise TooManyRanges(
            f"the peer asks for a set of chunks with {count} boundaries; {limit} are the most"
        )
    boundaries = list(accumulate(reader.numbers(count)))
    if boundaries[-1] > U64_MAX:
        raise RemoteProtocolError("the peer asks for chunks beyond the 64-bit range")
    if any(left == right for left, right in pairwise(boundaries)):
        boundaries = _merged(boundaries)
    return ChunkRanges.from_boundaries(boundaries)


def encode_ranges_seq(sequence: RangesSeq) -> bytes:
    """A sequence of sets."""
    parts, before = [encode_varint(len(sequence.entries))], 0
    for index, ranges in sequence.entries:
        parts += [encode_varint(index - before), encode_ranges(ranges)]
        before = index
    return b"".join(parts)


def parse_ranges_seq(reader: Reader, limit: int = RANGES_LIMIT) -> RangesSeq:
    """A sequence of sets with so many entries and boundaries together."""
    count, left = reader.count(2), limit
    entries: list[tuple[int, ChunkRanges]] = []
    index = 0
    for _ in range(count):
        if left <= 0:
            raise TooManyRanges(
                f"the peer asks for too many ranges; {limit} entries and boundaries are the most"
            )
        index += reader.number()
        if index > U64_MAX:
            raise RemoteProtocolError("the peer asks for a blob at an index beyond 64 bits")
        ranges = parse_ranges(reader, left - 1)
        left -= 1 + len(ranges.boundaries)
        if entries and entries[-1][0] == index:
            entries.pop()
        entries.append((index, ranges))
    return RangesSeq(tuple(entries))


def _merged(boundaries: list[int]) -> list[int]:
    """A boundary given twice ends an interval and begins the next, or the other way round: it is none."""
    merged: list[int] = []
    for boundary in boundaries:
        if merged and merged[-1] == boundary:
            merged.pop()
        else:
            merged.append(boundary)
    return merged
