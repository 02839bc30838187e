"""What a getter believes: nothing that does not hash up to the blob's name."""

import pytest

from peat_sidecar.bao import Decoder, Verified, body_length
from peat_sidecar.errors import IntegrityError
from peat_sidecar.ids import EMPTY_HASH
from peat_sidecar.ranges import ChunkRanges
from tests.support import slow_bao
from tests.support.blobs import CONTENT, Blob, blob_of

SIZES = slow_bao.interesting_sizes()
RANGES = {
    "all": ChunkRanges.all(),
    "first chunk": ChunkRanges.of(0, 1),
    "last chunk": ChunkRanges.LAST,
    "within a group": ChunkRanges.of(5, 11),
    "across groups": ChunkRanges.from_boundaries((3, 4, 15, 17, 40)),
}


def decode(decoder: Decoder, body: bytes) -> list[Verified]:
    """Feeds all of a body, which has to be exactly what the decoder asks for."""
    pieces = []
    while decoder.needed:
        step, body = body[: decoder.needed], body[decoder.needed :]
        piece = decoder.feed(step)
        assert piece is not None
        pieces.append(piece)
    assert body == b""
    return pieces


def is_part(blob: Blob, piece: Verified) -> bool:
    start = piece.start * 1024
    return piece.data == blob.data[start : start + len(piece.data)] and all(
        pairs == blob.outboard[offset : offset + len(pairs)] for offset, pairs in piece.outboard
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("run_chunks", [16, 1024])
def test_whole_blobs(kernel_name: str, size: int, run_chunks: int) -> None:
    blob = blob_of(size)
    decoder = Decoder(blob.hash, size, ChunkRanges.all(), run_chunks)
    assert not decoder.size_proven or size == 0
    pieces = decode(decoder, slow_bao.encode(blob.data, (0,)))
    assert b"".join(piece.data for piece in pieces) == blob.data
    stored = sorted(part for piece in pieces for part in piece.outboard)
    assert b"".join(pairs for _, pairs in stored) == blob.outboard
    assert all(is_part(blob, piece) for piece in pieces)
    assert decoder.size_proven
    assert decoder.needed == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RANGES)
def test_ranges(size: int, name: str) -> None:
    blob, ranges = blob_of(size), RANGES[name]
    decoder = Decoder(blob.hash, size, ranges, 16)
    pieces = decode(decoder, slow_bao.encode(blob.data, ranges.boundaries))
    assert all(is_part(blob, piece) for piece in pieces)
    came = ChunkRanges.none() if size else ChunkRanges.of(0, 1)
    for piece in pieces:
        came |= ChunkRanges.of(piece.start, piece.start + max(1, -(-len(piece.data) // 1024)))
    assert came == ranges.clamp(size)
    assert decoder.size_proven == (max(1, -(-size // 1024)) - 1 in came)


def test_neighbouring_pairs_come_together() -> None:
    """They are written to disk; the first run of 2 MiB has its pairs, and the root's, in one stretch."""
    blob = blob_of(2 << 20)
    decoder = Decoder(blob.hash, 2 << 20, ChunkRanges.all())
    first, second = decode(decoder, blob.encode(ChunkRanges.all()))
    assert first.outboard == ((0, blob.outboard[: 64 * 64]),)
    assert second.outboard == ((64 * 64, blob.outboard[64 * 64 :]),)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("size", [0, 1, 1025, 16384, 5 * 16384 + 1025])
def test_every_part_of_a_lie_is_found(size: int, name: str) -> None:
    """One bit wrong: in each pair, in data, in the last byte. What came before it is right."""
    blob, ranges = blob_of(size), RANGES[name]
    body = blob.encode(ranges)
    for place in [*range(0, len(body), 61), *range(max(0, len(body) - 3), len(body))]:
        lie = bytearray(body)
        lie[place] ^= 1 << place % 8
        decoder = Decoder(blob.hash, size, ranges, 16)
        position = 0
        while position + decoder.needed <= place:
            step = lie[position : position + decoder.needed]
            position += len(step)
            piece = decoder.feed(step)
            assert piece is not None
            assert is_part(blob, piece)
        with pytest.raises(IntegrityError, match=f"blob {blob.hash} are not its own"):
            decoder.feed(lie[position : position + decoder.needed])
        assert not decoder.size_proven


def test_a_failed_step_changes_nothing() -> None:
    """Another provider may go on where one has lied."""
    blob = blob_of(100_000)
    decoder = Decoder(blob.hash, 100_000, ChunkRanges.all(), 16)
    body, right = blob.encode(ChunkRanges.all()), b""
    while decoder.needed:
        step, body = body[: decoder.needed], body[decoder.needed :]
        for place in (0, len(step) - 1):
            lie = bytearray(step)
            lie[place] ^= 128
            with pytest.raises(IntegrityError):
                decoder.feed(lie)
        piece = decoder.feed(step)
        assert piece is not None
        right += piece.data
    assert right == blob.data


def fetch(blob: Blob, claim: int, ranges: ChunkRanges) -> None:
    """Takes a provider's word for the size; it sends the real blob, and zeros where that is not enough."""
    body = blob.encode(ranges)
    decoder = Decoder(blob.hash, claim, ranges, 16)
    while decoder.needed:
        assert not decoder.size_proven
        step, body = body[: decoder.needed], body[decoder.needed :]
        decoder.feed(step.ljust(decoder.needed, b"\0"))


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 16384, 16385, 100_000])
def test_no_other_size_is_proven(size: int) -> None:
    """Whatever size a provider claims: the end is never reached."""
    near = {size + step for step in (-1024, -1, 1, 2, 1024, 16384, 65536)}
    for claim in sorted(near | {0, 1, 2 * size, 1 << 40, 1 << 63}):
        for ranges in (ChunkRanges.all(), ChunkRanges.LAST):
            if claim >= 0 and claim != size:
                with pytest.raises(IntegrityError, match=f"its size was said to be {claim}"):
                    fetch(blob_of(size), claim, ranges)
    fetch(blob_of(size), size, ChunkRanges.all())


def test_a_part_may_be_right_while_the_size_is_not() -> None:
    """The first group of 7 KiB more hashes to the same: verified, and no proof of the size."""
    blob = blob_of(100 * 1024)
    decoder = Decoder(blob.hash, 107 * 1024, ChunkRanges.of(0, 16))
    (piece,) = decode(decoder, blob.encode(ChunkRanges.of(0, 16)))
    assert is_part(blob, piece)
    assert not decoder.size_proven


def test_claims_are_bounded() -> None:
    """However large the claim, one step is a run and a pair for each level."""
    for claim in (1 << 40, 1 << 63, (1 << 64) - 1):
        decoder = Decoder(EMPTY_HASH, claim, ChunkRanges.all())
        assert decoder.needed <= (1 << 20) + 63 * 64 + 54 * 64
        with pytest.raises(IntegrityError):
            decoder.feed(bytes(decoder.needed))


def test_the_empty_blob() -> None:
    """There is nothing to feed; who says that another blob is empty is found out at once."""
    decoder = Decoder(EMPTY_HASH, 0, ChunkRanges.all())
    assert (decoder.needed, decoder.size_proven) == (0, True)
    with pytest.raises(ValueError, match="takes 0 bytes"):
        decoder.feed(b"")
    with pytest.raises(IntegrityError, match="its size was said to be 0"):
        Decoder(blob_of(1).hash, 0, ChunkRanges.of(5, 6))


def test_nothing_wanted() -> None:
    decoder = Decoder(blob_of(5000).hash, 5000, ChunkRanges.none())
    assert (decoder.needed, decoder.size_proven) == (0, False)
    with pytest.raises(ValueError, match="takes 0 bytes"):
        decoder.feed(b"")


@pytest.mark.parametrize("size", [1, 1025, 65 * 1024 + 513])
def test_a_step_of_another_length(size: int) -> None:
    blob = blob_of(size)
    decoder = Decoder(blob.hash, size, ChunkRanges.all(), 16)
    body = blob.encode(ChunkRanges.all())
    for length in {0, 1, decoder.needed - 1, decoder.needed + 1} - {decoder.needed}:
        with pytest.raises(ValueError, match=f"takes {decoder.needed} bytes, not {length}"):
            decoder.feed(CONTENT[:length])
    decode(decoder, body)
    with pytest.raises(ValueError, match="takes 0 bytes"):
        decoder.feed(b"x")


def test_runs_may_grow_on_the_way() -> None:
    """A getter starts with small runs; the step that is planned already keeps its length."""
    blob = blob_of(2 << 20)
    decoder, body = Decoder(blob.hash, 2 << 20, ChunkRanges.all(), 16), blob.encode(ChunkRanges.all())
    lengths, right = [], b""
    while decoder.needed:
        step, body = body[: decoder.needed], body[decoder.needed :]
        piece = decoder.feed(step)
        assert piece is not None
        right += piece.data
        lengths.append(len(piece.data) // 1024)
        decoder.run_chunks = 1024
    assert right == blob.data
    assert lengths == [16, 16, 32, 64, 128, 256, 512, 1024]
    for wrong in (0, 8, 17):
        with pytest.raises(ValueError, match="16 or more"):
            decoder.run_chunks = wrong
    assert decoder.run_chunks == 1024


def test_needed_is_the_body() -> None:
    for name, ranges in RANGES.items():
        decoder, body = Decoder(blob_of(70_000).hash, 70_000, ranges), blob_of(70_000).encode(ranges)
        assert len(body) == body_length(70_000, ranges), name
        decode(decoder, body)
