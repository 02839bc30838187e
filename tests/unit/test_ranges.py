"""Sets of chunks against plain Python sets, and their cost when they are large."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peat_sidecar.ranges import CHUNK_SIZE, GROUP_CHUNKS, ChunkRanges, chunk_count

ALL, NONE = ChunkRanges.all(), ChunkRanges.none()
U64_MAX = (1 << 64) - 1
LIMIT = 80
"""Chunks that the model looks at; boundaries lie well below."""

sets = st.sets(st.integers(0, 60), max_size=12).map(lambda each: ChunkRanges.from_boundaries(sorted(each)))
sizes = st.integers(0, 70 * CHUNK_SIZE)


def model(ranges: ChunkRanges) -> set[int]:
    found: set[int] = set()
    for start, end in ranges.intervals():
        found |= set(range(start, LIMIT if end is None else end))
    return found


def ranges_of(*boundaries: int) -> ChunkRanges:
    return ChunkRanges.from_boundaries(boundaries)


@given(sets, sets)
def test_set_operations(left: ChunkRanges, right: ChunkRanges) -> None:
    a, b = model(left), model(right)
    assert model(left | right) == a | b
    assert model(left & right) == a & b
    assert model(left - right) == a - b
    assert model(left.invert()) == set(range(LIMIT)) - a
    assert [chunk in left for chunk in range(LIMIT)] == [chunk in a for chunk in range(LIMIT)]
    for result in (left | right, left & right, left - right, left.invert()):
        assert all(low < high for low, high in pairwise(result.boundaries))
        assert (len(result.boundaries) % 2 == 1) == (LIMIT - 1 in result)
    assert (left | right == right | left, left & right == right & left) == (True, True)
    assert left.invert().invert() == left
    assert hash(left | left) == hash(left)


@given(sets, sizes)
def test_what_a_provider_answers(asked: ChunkRanges, size: int) -> None:
    count = chunk_count(size)
    chunks = {chunk for chunk in model(asked) if chunk < count}
    if any(chunk >= count - 1 for chunk in model(asked)):
        chunks.add(count - 1)
    answered = asked.clamp(size)
    assert model(answered) == chunks
    assert len(answered.boundaries) % 2 == 0
    assert answered.clamp(size) == answered


@given(sets, sizes)
def test_groups(ranges: ChunkRanges, size: int) -> None:
    count, chunks = chunk_count(size), model(ranges)
    touched = {chunk // GROUP_CHUNKS for chunk in chunks}
    widened = ranges.widen_to_groups()
    assert model(widened) == {chunk for chunk in range(LIMIT) if chunk // GROUP_CHUNKS in touched}
    assert all(low < high for low, high in pairwise(widened.boundaries))
    whole = {
        chunk
        for chunk in range(count)
        if all(
            each in chunks
            for each in range(chunk - chunk % 16, min(count, chunk - chunk % 16 + GROUP_CHUNKS))
        )
    }
    assert model(ranges.whole_groups(size)) == whole


@given(sets, sizes)
def test_bytes(ranges: ChunkRanges, size: int) -> None:
    expected = sum(
        min(size, (chunk + 1) * CHUNK_SIZE) - chunk * CHUNK_SIZE
        for chunk in model(ranges)
        if chunk * CHUNK_SIZE < size
    )
    assert ranges.byte_length(size) == expected


def test_simple_sets() -> None:
    assert (bool(ALL), bool(NONE), ALL.is_all, NONE.is_all) == (True, False, True, False)
    assert ChunkRanges.of(3, None).boundaries == (3,)
    assert ChunkRanges.of(3, 7).boundaries == (3, 7)
    assert ChunkRanges.of(7, 7) == NONE
    assert list(ranges_of(1, 3, 9).intervals()) == [(1, 3), (9, None)]
    assert ALL - NONE == ALL == NONE.invert()
    assert ALL - ranges_of(4, 6) == ranges_of(0, 4, 6)
    assert [chunk_count(size) for size in (0, 1, 1024, 1025)] == [1, 1, 1, 2]


def test_the_last_chunk_proves_the_size() -> None:
    for size, last in ((0, 0), (1, 0), (1024, 0), (1025, 1), ((1 << 64) - 1, (1 << 54) - 1)):
        assert ChunkRanges.LAST.clamp(size) == ChunkRanges.of(last, last + 1)
    assert U64_MAX in ChunkRanges.LAST


@pytest.mark.parametrize("boundaries", [(1, 1), (2, 1), (0, 5, 5), (-1,), (-2, 5), (1 << 64,)])
def test_no_boundaries(boundaries: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="boundaries of chunk ranges"):
        ChunkRanges.from_boundaries(boundaries)


@pytest.mark.parametrize(("start", "end"), [(5, 3), (-1, 3), (-1, -1), (0, 1 << 64)])
def test_no_interval(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="boundaries of chunk ranges"):
        ChunkRanges.of(start, end)


def test_the_far_end() -> None:
    assert ranges_of(5, U64_MAX).widen_to_groups() == ALL
    assert ranges_of(U64_MAX).widen_to_groups() == ranges_of(U64_MAX - 15)
    assert ranges_of(U64_MAX).whole_groups(1 << 60) == NONE


def test_large_sets_are_cheap() -> None:
    """Linear: a quadratic merge of these would run into CI's own time limit; 0.3 s here."""
    even = ChunkRanges.from_boundaries(range(0, 400_000, 4))
    shifted = ChunkRanges.from_boundaries(range(1, 400_000, 4))
    both = even | shifted
    assert both.boundaries[:4] == (0, 5, 8, 13)
    assert len(both.boundaries) == 100_000
    assert (even & shifted) | (even - shifted) == even
    for start in range(0, 400_000, 4_000):
        even = even | ChunkRanges.of(start, start + 40)
        assert start + 39 in even
