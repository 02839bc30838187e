"""Hash and outboard of bytes that come in order."""

from collections.abc import Callable

from peat_sidecar.bao import kernel
from peat_sidecar.bao.tree import RUN_CHUNKS, outboard_offset
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import CHUNK_SIZE, GROUP_CHUNKS, chunk_count

_PIECE_BYTES = RUN_CHUNKS * CHUNK_SIZE


class TreeBuilder:
    """Builds the tree of a blob of known size piece by piece, each a complete subtree of 1 MiB.

    `write(offset, pairs)` gets every pair of the outboard once, in stretches, in any order. Driven by
    one thread. Whole pieces are hashed where they lie; others are copied together first.
    """

    def __init__(self, size: int, write: Callable[[int, bytes], object]) -> None:
        if size < 0:
            raise ValueError("a size is not negative")
        self._size = size
        self._write = write
        self._total = chunk_count(size)
        self._position = 0
        self._waiting = bytearray()
        self._done: list[tuple[int, int, bytes]] = []
        """First chunk, chunks and chaining value of subtrees that wait for their right neighbour."""
        if size == 0:
            self._hash_piece(b"")

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes. ValueError when they are more than the size allows."""
        with memoryview(data) as view, view.cast("B") as rest:
            if len(rest) > self._size - self._position - len(self._waiting):
                raise ValueError(f"more bytes came than the {self._size} that were announced")
            taken = 0
            while taken < len(rest):
                wanted = min(_PIECE_BYTES, self._size - self._position) - len(self._waiting)
                with rest[taken : taken + wanted] as piece:
                    self._take(piece, is_whole=len(piece) == wanted)
                    taken += len(piece)

    def finish(self) -> BlobHash:
        """The blob's hash. ValueError when fewer bytes came than the size says."""
        if self._position != self._size:
            came = self._position + len(self._waiting)
            raise ValueError(f"{came} bytes came of the {self._size} that were announced")
        return BlobHash(self._done[0][2])

    def _take(self, piece: memoryview, *, is_whole: bool) -> None:
        if is_whole and not self._waiting:
            self._hash_piece(piece)
            return
        self._waiting += piece
        if is_whole:
            self._hash_piece(self._waiting)
            self._waiting = bytearray()

    def _hash_piece(self, piece: bytes | bytearray | memoryview) -> None:
        start, chunks = self._position // CHUNK_SIZE, chunk_count(len(piece))
        value, pairs = kernel.tree(piece, start, chunks == self._total, GROUP_CHUNKS)
        self._position += len(piece)
        if pairs:
            self._write(outboard_offset(self._total, start, chunks), pairs)
        self._done.append((start, chunks, value))
        is_last = self._position == self._size
        while len(self._done) > 1 and (is_last or self._done[-1][1] == self._done[-2][1]):
            self._merge()

    def _merge(self) -> None:
        """Makes one subtree of the last two; at the ragged right end the right one is the smaller."""
        _, right_chunks, right = self._done.pop()
        start, left_chunks, left = self._done.pop()
        chunks, pair = left_chunks + right_chunks, left + right
        self._write(outboard_offset(self._total, start, chunks), pair)
        self._done.append((start, chunks, kernel.parent(pair, chunks == self._total)))
