"""Hash and outboard of bytes that come in pieces."""

import pytest
from blake3 import blake3

from peat_sidecar.bao import TreeBuilder, outboard_size
from tests.support import slow_bao
from tests.support.blobs import CONTENT
from tests.support.verified_pieces import tree_of

SIZES = slow_bao.interesting_sizes()
MIB = 1 << 20


@pytest.mark.parametrize("size", SIZES)
def test_against_the_slow_twin(kernel_name: str, size: int) -> None:
    data = CONTENT[:size]
    blob_hash, outboard = tree_of(data)
    assert blob_hash.value == slow_bao.root_of(data)
    assert outboard == slow_bao.outboard_of(data)


@pytest.mark.parametrize("piece_bytes", [1000, 16384, 100_000, MIB - 1, MIB, MIB + 1, 3 * MIB])
@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 16385, 3 * MIB])
def test_pieces_of_any_size(size: int, piece_bytes: int) -> None:
    """Every pair comes once, and none of them depends on how the bytes came."""
    data = memoryview(CONTENT)[:size]
    pieces: list[tuple[int, bytes]] = []
    builder = TreeBuilder(size, lambda offset, pairs: pieces.append((offset, pairs)))
    for start in range(0, size, piece_bytes):
        builder.update(data[start : start + piece_bytes])
    assert builder.finish().value == blake3(data).digest()
    position = 0
    for offset, pairs in sorted(pieces):
        assert offset == position
        position += len(pairs)
    assert position == outboard_size(size)
    assert b"".join(pairs for _, pairs in sorted(pieces)) == tree_of(bytes(data))[1]


def test_any_buffer() -> None:
    builder = TreeBuilder(12, lambda offset, pairs: None)
    builder.update(bytearray(b"abcd"))
    builder.update(b"")
    builder.update(memoryview(b"efghijkl").cast("I"))
    assert builder.finish().value == blake3(b"abcdefghijkl").digest()
    assert builder.finish().value == blake3(b"abcdefghijkl").digest()


def test_bytes_may_change_after_an_update() -> None:
    """The rest of a piece is kept as a copy."""
    buffer = bytearray(b"right")
    builder = TreeBuilder(10, lambda offset, pairs: None)
    builder.update(buffer)
    buffer[:] = b"wrong"
    builder.update(b"right")
    assert builder.finish().value == blake3(b"rightright").digest()


@pytest.mark.parametrize("size", [0, 5, MIB, MIB + 5])
def test_too_many_bytes(size: int) -> None:
    builder = TreeBuilder(size, lambda offset, pairs: None)
    with pytest.raises(ValueError, match=f"more bytes came than the {size} that were announced"):
        builder.update(CONTENT[: size + 1])
    builder.update(CONTENT[:size])  # a refused update has taken nothing
    with pytest.raises(ValueError, match="more bytes"):
        builder.update(b"x")
    assert builder.finish().value == blake3(CONTENT[:size]).digest()


@pytest.mark.parametrize("came", [0, 5, MIB, MIB + 5])
def test_too_few_bytes(came: int) -> None:
    builder = TreeBuilder(2 * MIB, lambda offset, pairs: None)
    builder.update(CONTENT[:came])
    with pytest.raises(ValueError, match=f"{came} bytes came of the {2 * MIB}"):
        builder.finish()


def test_no_size() -> None:
    with pytest.raises(ValueError, match="not negative"):
        TreeBuilder(-1, lambda offset, pairs: None)
