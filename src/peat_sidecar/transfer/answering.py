"""What goes on a stream in answer to Get and GetMany, as pieces of bytes; reads the store and blocks.

Every blob is checked before its size is given: what is not here is a `NotFound` at the place of that blob,
and nothing after it is answered. Cost is bounded by what is sent: a hash sequence is read piece by piece, and
what is read beyond the bytes that are sent (the rest of a group of which single chunks are asked for) has a
budget.
"""

from collections.abc import Callable, Iterator

from peat_sidecar.bao import encode
from peat_sidecar.errors import NotFound
from peat_sidecar.ids import EMPTY_HASH, BlobHash
from peat_sidecar.ranges import ChunkRanges, chunk_count
from peat_sidecar.store import BlobReader, Store
from peat_sidecar.wire import (
    Get,
    GetMany,
    RangesSeq,
    TooManyRanges,
    encode_size,
    parse_hash_sequence,
)

INTERVALS_LIMIT = 1024
"""Intervals of chunks in one request."""
EXCESS_LIMIT_BYTES = 64 << 20
"""Read and not sent, for one request: enough for the proven sizes of 4,096 blobs."""
_HASH_BYTES = 32
_SEQUENCE_PIECE = 1024


Clears = Callable[[BlobHash], bool]
"""Whether peers may have what is here of a blob; blocks."""


def answer(
    store: Store, request: Get | GetMany, *, piece_bytes: int = 1 << 20, clears: Clears = lambda _: True
) -> Iterator[bytes]:
    """The answer in pieces of up to about `piece_bytes`.

    `NotFound` where a blob is not here, or not all of what is asked of it, or not for peers;
    `TooManyRanges` where the request costs more than it may; `IntegrityError` and `StoreFailed` as the store
    has them.
    """
    if request.ranges.range_count > INTERVALS_LIMIT:
        raise TooManyRanges(f"the peer asks for more than {INTERVALS_LIMIT} ranges at once")
    budget = _Budget()
    buffered: list[bytes] = []
    length = 0
    for piece in _pieces(store, request, budget, piece_bytes, clears):
        buffered.append(piece)
        length += len(piece)
        budget.sent(len(piece))
        if length >= piece_bytes // 4:
            yield b"".join(buffered)
            buffered, length = [], 0
    if buffered:
        yield b"".join(buffered)


class _Budget:
    """How much more was read than sent."""

    def __init__(self) -> None:
        self._excess = 0

    def read(self, length: int) -> None:
        self._excess += length
        if self._excess > EXCESS_LIMIT_BYTES:
            raise TooManyRanges("the peer asks for pieces that cost far more to read than to send")

    def sent(self, length: int) -> None:
        self._excess = max(0, self._excess - length)


def _pieces(
    store: Store, request: Get | GetMany, budget: _Budget, piece_bytes: int, clears: Clears
) -> Iterator[bytes]:
    for blob_hash, ranges in _asked(store, request, clears):
        if blob_hash == EMPTY_HASH:
            yield encode_size(0)
            continue
        _require_cleared(blob_hash, clears)
        with store.reader(blob_hash, hand_out=True) as reader:
            yield encode_size(_require_here(reader, ranges))
            yield from _body(reader, ranges, budget, piece_bytes)


def _asked(store: Store, request: Get | GetMany, clears: Clears) -> Iterator[tuple[BlobHash, ChunkRanges]]:
    """The blobs of which something is asked for, in the order of the wire."""
    if isinstance(request, GetMany):
        for index, ranges in request.ranges.selected(len(request.hashes)):
            yield request.hashes[index], ranges
    elif _asks_children(request.ranges):
        _require_cleared(request.hash, clears)
        with store.reader(request.hash, hand_out=True) as reader:
            yield from _children(reader, request)
    elif root := request.ranges.at(0):
        yield request.hash, root


def _require_cleared(blob: BlobHash, clears: Clears) -> None:
    """What is not for peers is answered as what is not here."""
    if not clears(blob):
        raise NotFound(f"blob {blob} is not here, or peers may not have it")


def _asks_children(ranges: RangesSeq) -> bool:
    return ranges.is_open or any(index > 0 and chunks for index, chunks in ranges.entries)


def _children(sequence: BlobReader, request: Get) -> Iterator[tuple[BlobHash, ChunkRanges]]:
    if not sequence.have.is_all or sequence.size % _HASH_BYTES:
        raise NotFound(f"blob {sequence.hash} is not complete here, or no hash sequence")
    hashes: tuple[BlobHash, ...] = ()
    begin = end = 0
    for index, ranges in request.ranges.selected(1 + sequence.size // _HASH_BYTES):
        if index == 0:
            yield sequence.hash, ranges
            continue
        if not begin <= index - 1 < end:
            begin = index - 1
            hashes = parse_hash_sequence(sequence.read(begin * _HASH_BYTES, _SEQUENCE_PIECE * _HASH_BYTES))
            end = begin + len(hashes)
        if index - 1 >= end:
            raise NotFound(f"hash sequence {sequence.hash} became shorter")
        yield hashes[index - 1 - begin], ranges


def _require_here(reader: BlobReader, ranges: ChunkRanges) -> int:
    """The size of the blob, once all that is asked of it is known to be here, in whole groups."""
    size = reader.size
    asked = ranges.clamp(size).widen_to_groups() & ChunkRanges.of(0, chunk_count(size))
    if asked - reader.have:
        raise NotFound(f"blob {reader.hash} is not here, or not all that was asked of it")
    return size


def _body(reader: BlobReader, ranges: ChunkRanges, budget: _Budget, piece_bytes: int) -> Iterator[bytes]:
    def read_data(offset: int, length: int) -> bytes:
        budget.read(length)
        return reader.read(offset, length)

    def read_outboard(offset: int, length: int) -> bytes:
        budget.read(length)
        return reader.outboard(offset, length)

    yield from encode(reader.size, ranges, read_data, read_outboard, piece_bytes)
