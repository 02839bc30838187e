"""Groups that a crash left are found by hashing."""

import pytest

from peat_sidecar.bao import check_groups, chunk_count
from peat_sidecar.ids import EMPTY_HASH
from peat_sidecar.ranges import ChunkRanges
from tests.support import slow_bao
from tests.support.blobs import Blob, blob_of, reader_of

SIZES = slow_bao.interesting_sizes()


def check(blob: Blob, data: bytes, outboard: bytes, candidates: ChunkRanges) -> ChunkRanges:
    return check_groups(blob.hash, len(blob.data), candidates, reader_of(data), reader_of(outboard))


@pytest.mark.parametrize("size", [*SIZES, (1 << 20) + 1, 3 << 20])
def test_a_whole_blob(size: int) -> None:
    blob = blob_of(size)
    every = ChunkRanges.of(0, chunk_count(size))
    assert check(blob, blob.data, blob.outboard, ChunkRanges.all()) == every
    assert check(blob, blob.data, blob.outboard, ChunkRanges.none()) == ChunkRanges.none()
    if size:
        assert not check(blob, bytes(size), bytes(len(blob.outboard)), ChunkRanges.all())


def test_a_wrong_group_alone_is_left_out() -> None:
    size = (1 << 20) + 100 * 1024 + 7
    blob = blob_of(size)
    chunks = chunk_count(size)
    for group in (0, 1, 15, 63, 64, 69, 70):
        data = bytearray(blob.data)
        data[min(size - 1, group * 16384 + 5000)] ^= 1
        wrong = ChunkRanges.of(group * 16, min(chunks, group * 16 + 16))
        assert check(blob, bytes(data), blob.outboard, ChunkRanges.all()) == ChunkRanges.of(0, chunks) - wrong


def test_a_wrong_pair_leaves_out_all_below_it() -> None:
    """Four groups: the root's pair, one for each half. Proof needs the whole path."""
    blob = blob_of(64 * 1024)
    for pair, right in enumerate((ChunkRanges.none(), ChunkRanges.of(32, 64), ChunkRanges.of(0, 32))):
        for place in (0, 63):
            outboard = bytearray(blob.outboard)
            outboard[pair * 64 + place] ^= 1
            assert check(blob, blob.data, bytes(outboard), ChunkRanges.all()) == right


def test_candidates_alone_are_read() -> None:
    blob = blob_of(3 << 20)
    read: list[tuple[int, int]] = []

    def read_data(offset: int, length: int) -> bytes:
        read.append((offset, length))
        return blob.data[offset : offset + length]

    candidates = ChunkRanges.from_boundaries((32, 64, 1024, 2048, 2070, 2087))
    found = check_groups(blob.hash, 3 << 20, candidates, read_data, reader_of(blob.outboard))
    assert found == ChunkRanges.from_boundaries((32, 64, 1024, 2048))  # whole groups only
    assert read == [(32 * 1024, 32 * 1024), (1 << 20, 1 << 20)]


def test_files_that_end_early() -> None:
    blob = blob_of(100_000)
    assert not check(blob, b"", b"", ChunkRanges.all())
    assert not check(blob, blob.data, blob.outboard[:63], ChunkRanges.all())
    found = check(blob, blob.data[:50_000], blob.outboard, ChunkRanges.all())
    assert found == ChunkRanges.of(0, 48)


def test_claims_cost_nothing() -> None:
    found = check_groups(
        EMPTY_HASH, 1 << 63, ChunkRanges.all(), reader_of(b""), lambda at, length: bytes(length)
    )
    assert not found
