"""What a provider sends, what it reads for that, and what it notices."""

from collections.abc import Callable

import pytest

from peat_sidecar.bao import body_length, encode
from peat_sidecar.errors import IntegrityError
from peat_sidecar.ranges import ChunkRanges
from tests.support import slow_bao
from tests.support.blobs import Blob, blob_of, reader_of

SIZES = slow_bao.interesting_sizes()
BOUNDARIES = {
    "all": (0,),
    "nothing": (),
    "first chunk": (0, 1),
    "last chunk": ((1 << 64) - 1,),
    "within a group": (5, 11),
    "every other chunk": tuple(range(1, 70)),
    "across groups": (3, 4, 15, 17, 40),
    "groups": (16, 48),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", BOUNDARIES)
def test_against_the_slow_twin(size: int, name: str) -> None:
    blob, ranges = blob_of(size), ChunkRanges.from_boundaries(BOUNDARIES[name])
    expected = slow_bao.encode(blob.data, BOUNDARIES[name])
    for piece_bytes in (1, 20_000, 1 << 20):
        assert blob.encode(ranges, piece_bytes) == expected
    assert body_length(size, ranges) == len(expected)


@pytest.mark.parametrize("size", SIZES)
def test_every_kernel(kernel_name: str, size: int) -> None:
    blob = blob_of(size)
    assert blob.encode(ChunkRanges.of(1, 6)) == slow_bao.encode(blob.data, (1, 6))


@pytest.mark.parametrize("piece_bytes", [1, 16384, 100_000, 1 << 20])
def test_pieces(piece_bytes: int) -> None:
    """About as large as asked for: never much more, and small stretches are put together."""
    blob = blob_of(3 << 20)
    read_data, read_outboard = reader_of(blob.data), reader_of(blob.outboard)
    pieces = list(encode(3 << 20, ChunkRanges.all(), read_data, read_outboard, piece_bytes))
    assert max(map(len, pieces)) <= max(piece_bytes, 16384) * 129 // 128 + 12 * 64
    sparse = ChunkRanges.from_boundaries(range(3000))
    pieces = list(encode(3 << 20, sparse, read_data, read_outboard, piece_bytes))
    assert max(map(len, pieces)) <= max(piece_bytes, 1024) + 12 * 64
    if piece_bytes >= 16384:
        assert min(map(len, pieces[:-1])) > piece_bytes // 2


class Ledger:
    """Notes what is read of a blob."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.data: list[tuple[int, int]] = []
        self.outboard: list[tuple[int, int]] = []

    def read_data(self, offset: int, length: int) -> bytes:
        self.data.append((offset, length))
        return self.blob.data[offset : offset + length]

    def read_outboard(self, offset: int, length: int) -> bytes:
        self.outboard.append((offset, length))
        return self.blob.outboard[offset : offset + length]

    def encode(self, ranges: ChunkRanges) -> bytes:
        return b"".join(encode(len(self.blob.data), ranges, self.read_data, self.read_outboard))


def test_a_whole_blob_is_read_in_large_runs() -> None:
    ledger = Ledger(blob_of(3 << 20))
    ledger.encode(ChunkRanges.all())
    assert ledger.data == [(0, 1 << 20), (1 << 20, 1 << 20), (2 << 20, 1 << 20)]
    # Two pairs above the first run, which follow one another, and those in it; the other runs' alone.
    assert ledger.outboard == [(0, 65 * 64), (65 * 64, 63 * 64), (128 * 64, 63 * 64)]


def test_nothing_is_read_that_is_not_sent() -> None:
    """But the rest of a group that is wanted in part, and each such group once."""
    ledger = Ledger(blob_of(3 << 20))
    ledger.encode(ChunkRanges.from_boundaries((32, 48, 69, 70, 73, 75)))
    assert ledger.data == [(32 * 1024, 16384), (64 * 1024, 16384)]
    read = [offset for start, length in ledger.outboard for offset in range(start, start + length, 64)]
    assert len(read) == len(set(read)) <= 2 * 12


def test_nothing_is_read_before_it_is_taken() -> None:
    ledger = Ledger(blob_of(3 << 20))
    body = encode(3 << 20, ChunkRanges.all(), ledger.read_data, ledger.read_outboard)
    assert ledger.data == []
    next(body)
    assert len(ledger.data) <= 2


def without_end(read: Callable[[int, int], bytes], end: int) -> Callable[[int, int], bytes]:
    return lambda offset, length: read(offset, max(0, min(length, end - offset)))


@pytest.mark.parametrize("ranges", [ChunkRanges.all(), ChunkRanges.LAST, ChunkRanges.of(60, 66)])
def test_short_reads(ranges: ChunkRanges) -> None:
    blob = blob_of(65 * 1024 + 513)
    size, data, outboard = len(blob.data), reader_of(blob.data), reader_of(blob.outboard)
    with pytest.raises(IntegrityError, match=f"the data of a stored blob ends at {size - 1}"):
        b"".join(encode(size, ranges, without_end(data, size - 1), outboard))
    with pytest.raises(IntegrityError, match="the outboard of a stored blob ends at 63"):
        b"".join(encode(size, ranges, data, without_end(outboard, 63)))


def test_wrong_pairs_are_noticed() -> None:
    """A pair on the way down that does not hash to what the one above says. The root has nothing above it."""
    blob = blob_of(65 * 1024 + 513)
    data = reader_of(blob.data)
    for place in range(64, 4 * 64):
        wrong = bytearray(blob.outboard)
        wrong[place] ^= 1
        with pytest.raises(IntegrityError, match="do not fit together"):
            b"".join(
                encode(len(blob.data), ChunkRanges.from_boundaries(range(66)), data, reader_of(bytes(wrong)))
            )


def test_wrong_data_in_partly_wanted_groups_is_noticed() -> None:
    blob = blob_of(65 * 1024 + 513)
    for chunk in range(16, 32):
        wrong = bytearray(blob.data)
        wrong[chunk * 1024 + 7] ^= 1
        with pytest.raises(IntegrityError, match="at byte 16384"):
            b"".join(
                encode(len(wrong), ChunkRanges.of(17, 18), reader_of(bytes(wrong)), reader_of(blob.outboard))
            )


def test_claims_do_not_cost() -> None:
    """A size that the tree cannot have: noticed with the second pair, before any data is read."""
    read: list[int] = []

    def read_data(offset: int, length: int) -> bytes:
        read.append(length)
        return bytes(length)

    with pytest.raises(IntegrityError, match="do not fit together"):
        next(encode(1 << 63, ChunkRanges.all(), read_data, lambda offset, length: bytes(length)))
    assert read == []
