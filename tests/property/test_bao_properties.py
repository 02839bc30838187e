"""Any size, any set of chunks: encoded as the slow twin does, and verified back to the same bytes."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import slow_bao
from tests.support.blobs import CONTENT, Blob, blob_of, reader_of
from tests.support.verified_pieces import tree_of

from peat_sidecar.bao import Decoder, Run, TreeBuilder, Verified, body_length, check_groups, chunk_count, plan
from peat_sidecar.errors import IntegrityError
from peat_sidecar.ranges import ChunkRanges

LARGEST = 70 * 1024
"""Small enough for the slow twin, which keeps its chunks; five groups."""

_near = st.sampled_from([0, 1024, 16384, 32768, 49152, 65536]).flatmap(
    lambda size: st.integers(max(0, size - 2), size + 2)
)
_sizes = st.one_of(_near, st.integers(0, LARGEST), st.sampled_from(list(slow_bao.interesting_sizes())))
_small = st.integers(0, 80)
_boundary = st.one_of(_small, _small, st.integers(0, (1 << 64) - 1))
_boundaries = st.lists(_boundary, unique=True, max_size=12).map(lambda numbers: tuple(sorted(numbers)))
_ranges = _boundaries.map(ChunkRanges)
_run_chunks = st.sampled_from([16, 32, 64, 1024])


def pieces_of(decoder: Decoder, body: bytes) -> Iterator[Verified]:
    position = 0
    while decoder.needed:
        step = body[position : position + decoder.needed]
        position += len(step)
        piece = decoder.feed(step)
        assert piece is not None
        yield piece
    assert position == len(body)


def is_part(blob: Blob, piece: Verified) -> bool:
    start = piece.start * 1024
    return piece.data == blob.data[start : start + len(piece.data)] and all(
        pairs == blob.outboard[offset : offset + len(pairs)] for offset, pairs in piece.outboard
    )


@given(_sizes, _boundaries, st.integers(1, 100_000))
@settings(max_examples=300, deadline=None)
def test_encoded_as_the_slow_twin_does(size: int, boundaries: tuple[int, ...], piece_bytes: int) -> None:
    ranges = ChunkRanges(boundaries)
    body = blob_of(size).encode(ranges, piece_bytes)
    assert body == slow_bao.encode(blob_of(size).data, boundaries)
    assert len(body) == body_length(size, ranges)


@given(_sizes, _ranges, _run_chunks)
@settings(max_examples=300, deadline=None)
def test_decoded_to_the_same(size: int, ranges: ChunkRanges, run_chunks: int) -> None:
    blob, wanted = blob_of(size), ranges.clamp(size)
    decoder = Decoder(blob.hash, size, ranges, run_chunks)
    pieces = list(pieces_of(decoder, blob.encode(ranges)))
    assert all(is_part(blob, piece) for piece in pieces)
    came = [
        chunk for piece in pieces for chunk in range(piece.start, piece.start + chunk_count(len(piece.data)))
    ]
    asked = slow_bao.selected_of(size, ranges.boundaries) if size else set()
    assert came == sorted(asked)
    assert decoder.size_proven == (chunk_count(size) - 1 in wanted)


@given(_sizes, _ranges)
@settings(max_examples=100, deadline=None)
def test_what_was_decoded_proves_itself(size: int, ranges: ChunkRanges) -> None:
    """Data and pairs that came are enough to prove every whole group that came."""
    blob = blob_of(size)
    data, outboard = bytearray(size), bytearray(len(blob.outboard))
    for piece in pieces_of(Decoder(blob.hash, size, ranges), blob.encode(ranges)):
        data[piece.start * 1024 : piece.start * 1024 + len(piece.data)] = piece.data
        for offset, pairs in piece.outboard:
            outboard[offset : offset + len(pairs)] = pairs
    read_data, read_outboard = reader_of(bytes(data)), reader_of(bytes(outboard))
    came = ranges.clamp(size).whole_groups(size)
    assert check_groups(blob.hash, size, came, read_data, read_outboard) == came
    proven = check_groups(blob.hash, size, ChunkRanges.all(), read_data, read_outboard)
    assert came - proven == ChunkRanges.none()


@given(_sizes.filter(bool), _ranges.filter(bool), st.data())
@settings(max_examples=200, deadline=None)
def test_one_wrong_byte_is_found(size: int, ranges: ChunkRanges, data: st.DataObject) -> None:
    blob = blob_of(size)
    body = bytearray(blob.encode(ranges))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    pieces: list[Verified] = []
    with pytest.raises(IntegrityError):
        pieces.extend(pieces_of(Decoder(blob.hash, size, ranges, 16), bytes(body)))
    assert all(is_part(blob, piece) for piece in pieces)


@given(_sizes, _ranges, st.binary(max_size=300), st.integers(0, (1 << 64) - 1))
@settings(max_examples=200, deadline=None)
def test_bytes_of_anyone(size: int, ranges: ChunkRanges, junk: bytes, claim: int) -> None:
    """Whatever is sent, under whatever size: an IntegrityError, or nothing that is not the blob's."""
    blob = blob_of(size)
    body = blob.encode(ranges) + junk
    try:
        decoder = Decoder(blob.hash, claim, ranges)
        while decoder.needed:
            assert decoder.needed <= (1 << 20) + (64 + 54) * 64
            step, body = body[: decoder.needed], body[decoder.needed :]
            piece = decoder.feed(step.ljust(decoder.needed, b"\0"))
            assert piece is not None
            assert is_part(blob, piece)
        assert not decoder.size_proven or claim == size
    except IntegrityError:
        assert claim != size or junk or not ranges


@pytest.mark.parametrize("size", [0, 1, 1025, 16384, 2 * 16384 + 1025])
@pytest.mark.parametrize("boundaries", [(0,), (1, 2), (15, 17)])
def test_cut_at_every_length(size: int, boundaries: tuple[int, ...]) -> None:
    """A stream may end anywhere: the step that is not whole is refused, and nothing comes of it."""
    blob, ranges = blob_of(size), ChunkRanges(boundaries)
    body = blob.encode(ranges)
    decoder, position = Decoder(blob.hash, size, ranges, 16), 0
    while needed := decoder.needed:
        for length in range(needed):
            with pytest.raises(ValueError, match="the next step takes"):
                decoder.feed(memoryview(body)[position : position + length])
        decoder.feed(body[position : position + needed])
        position += needed
    assert position == len(body)


@given(st.integers(0, (1 << 64) - 1), _ranges, _run_chunks)
@settings(max_examples=200, deadline=None)
def test_plans_of_any_size(size: int, ranges: ChunkRanges, run_chunks: int) -> None:
    """Runs rise, are within the blob, and all that is said about them is small."""
    end = 0
    for _, step in zip(range(200), plan(size, ranges, run_chunks), strict=False):
        if isinstance(step, Run):
            assert end <= step.start < chunk_count(size)
            assert step.start in ranges.clamp(size)
            assert step.length <= run_chunks * 1024
            assert step.outboard_length <= run_chunks // 16 * 64
            end = step.start + chunk_count(step.length)


@given(st.integers(0, 3 << 20), st.lists(st.integers(1, 1 << 21), max_size=6))
@settings(max_examples=50, deadline=None)
def test_trees_do_not_depend_on_pieces(size: int, cuts: list[int]) -> None:
    data, pairs = memoryview(CONTENT)[:size], dict[int, bytes]()
    builder = TreeBuilder(size, lambda offset, piece: pairs.update({offset: piece}))
    position = 0
    for cut in cuts:
        builder.update(data[position : position + cut])
        position = min(size, position + cut)
    builder.update(data[position:])
    blob_hash = builder.finish()
    assert (blob_hash, b"".join(pairs[offset] for offset in sorted(pairs))) == tree_of(bytes(data))
