"""The answer to Observe: what is here of a blob now, and each time more comes, until the peer has enough.

It needs no polling: the store tells of new chunks from whatever thread brought them. Much news at once
becomes one item, at most two a second.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import EMPTY_HASH, BlobHash
from peat_sidecar.net import Stream
from peat_sidecar.ranges import ChunkRanges, chunk_count
from peat_sidecar.store import Store
from peat_sidecar.transfer.answering import Clears
from peat_sidecar.wire import ObserveItem, encode_observe_item

PAUSE_SECONDS = 0.5
_BOUNDARIES_PER_ITEM = 40_000
"""At most ten bytes each: well under the megabyte that getters take."""


async def observe(store: Store, blob_hash: BlobHash, stream: Stream, clears: Clears = lambda _: True) -> None:
    """Writes items until the peer stops the stream or is gone. What peers may not have is not here, until
    they may.
    """
    news = _News()
    stream.stall_seconds = None
    unsubscribe = store.subscribe(blob_hash, news.hear)
    gone = asyncio.ensure_future(stream.stopped())
    hearing: asyncio.Future[None] | None = None
    try:
        cleared, size, held = await asyncio.to_thread(_state, store, blob_hash, clears)
        await _write(stream, size, held)
        while not gone.done():
            hearing = asyncio.ensure_future(news.wait())
            await asyncio.wait({gone, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if not hearing.done():
                break
            size, held = news.take()
            if not cleared:
                cleared, size, held = await asyncio.to_thread(_state, store, blob_hash, clears)
            if cleared:
                await _write(stream, size, held)
            await asyncio.wait({gone}, timeout=PAUSE_SECONDS)
    finally:
        unsubscribe()
        gone.cancel()
        if hearing is not None:
            hearing.cancel()


class _News:
    """What came since it was taken last. `hear` is called from any thread, the rest on the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._size = 0
        self._fresh = ChunkRanges.none()

    def hear(self, size: int, fresh: ChunkRanges) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._note, size, fresh)

    def _note(self, size: int, fresh: ChunkRanges) -> None:
        self._size, self._fresh = size, self._fresh | fresh
        self._changed.set()

    async def wait(self) -> None:
        await self._changed.wait()

    def take(self) -> tuple[int, ChunkRanges]:
        taken = self._size, self._fresh
        self._fresh = ChunkRanges.none()
        self._changed.clear()
        return taken


def _state(store: Store, blob_hash: BlobHash, clears: Clears) -> tuple[bool, int, ChunkRanges]:
    """Whether it may be told, the size, and what is here."""
    if blob_hash == EMPTY_HASH:
        return True, 0, ChunkRanges.all()
    if not clears(blob_hash):
        return False, 0, ChunkRanges.none()
    try:
        with store.reader(blob_hash) as reader:
            return True, reader.size, reader.have
    except NotFound:
        return True, 0, ChunkRanges.none()


async def _write(stream: Stream, size: int, held: ChunkRanges) -> None:
    for part in _parts(held):
        await stream.write(encode_observe_item(ObserveItem(size, _opened(size, part))))


def _parts(held: ChunkRanges) -> Iterator[ChunkRanges]:
    """The set in parts that each fit an item; an empty one is a part too."""
    boundaries = held.boundaries
    for begin in range(0, max(1, len(boundaries)), _BOUNDARIES_PER_ITEM):
        yield ChunkRanges(boundaries[begin : begin + _BOUNDARIES_PER_ITEM])


def _opened(size: int, held: ChunkRanges) -> ChunkRanges:
    """Who holds the last chunk holds everything from there on."""
    last = chunk_count(size) - 1
    return held | ChunkRanges.of(last, None) if last in held else held
