"""Sequences of sets: what they select, without walking where nothing is."""

import itertools

import pytest

from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.wire import RangesSeq
from peat_sidecar.wire.postcard import U64_MAX, Reader
from peat_sidecar.wire.ranges_sequence import encode_ranges_seq, parse_ranges_seq

ALL, NONE = ChunkRanges.all(), ChunkRanges.none()
SOME = ChunkRanges.from_boundaries([3, 5, 9])


def test_whole_blob_and_whole_sequence() -> None:
    assert RangesSeq.whole_blob().entries == ((0, ALL), (1, NONE))
    assert RangesSeq.whole_sequence().entries == ((0, ALL),)
    assert not RangesSeq.whole_blob().is_open
    assert RangesSeq.whole_sequence().is_open
    assert not RangesSeq(()).is_open


@pytest.mark.parametrize(
    "selected",
    [
        dict(enumerate(sets))
        for length in range(5)
        for sets in itertools.product((NONE, ALL, SOME), repeat=length)
    ],
)
def test_of_selects_what_it_was_given_and_no_more(selected: dict[int, ChunkRanges]) -> None:
    sequence = RangesSeq.of(selected)
    assert [sequence.at(index) for index in range(7)] == [selected.get(index, NONE) for index in range(7)]
    assert dict(sequence.selected(U64_MAX)) == {index: ranges for index, ranges in selected.items() if ranges}
    assert not sequence.is_open
    assert parse_ranges_seq(Reader(encode_ranges_seq(sequence))) == sequence
    neighbours = itertools.pairwise((NONE, *(ranges for _, ranges in sequence.entries)))
    assert all(left != right for left, right in neighbours)


def test_gaps_cost_no_steps() -> None:
    sequence = RangesSeq.of({5: SOME, 1 << 60: ALL, U64_MAX - 1: SOME})
    assert dict(sequence.selected(1 << 63)) == {5: SOME, 1 << 60: ALL}
    assert dict(sequence.selected(U64_MAX)) == {5: SOME, 1 << 60: ALL, U64_MAX - 1: SOME}
    assert sequence.at((1 << 60) - 1) == NONE


def test_the_last_entry_holds_for_ever() -> None:
    sequence = RangesSeq(((2, SOME), (4, ALL)))
    assert list(sequence.selected(7)) == [(2, SOME), (3, SOME), (4, ALL), (5, ALL), (6, ALL)]
    assert list(sequence.selected(3)) == [(2, SOME)]
    assert list(sequence.selected(2)) == list(sequence.selected(0)) == []
    assert sequence.at(U64_MAX) == ALL


def test_range_count() -> None:
    assert RangesSeq(()).range_count == 0
    assert RangesSeq(((0, SOME), (1, NONE), (2, ALL))).range_count == 3


@pytest.mark.parametrize("indices", [(1, 1), (2, 1), (-1,), (U64_MAX + 1,), (0, U64_MAX + 1)])
def test_indices_rise(indices: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="indices"):
        RangesSeq(tuple((index, ALL) for index in indices))
