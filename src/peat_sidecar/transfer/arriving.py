"""One reader of a blob that is coming: what is verified of it may be read, in order, before the rest is here.

The last group waits for the proof of the digest: who checks no digest had better not take a blob for whole
that is another one.
"""

import asyncio
import time
from contextlib import suppress

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import CHUNK_SIZE, GROUP_SIZE, ChunkRanges
from peat_sidecar.store import BlobReader, Store
from peat_sidecar.transfer.readings import Readings
from peat_sidecar.transfer.threads import in_thread

_REOPEN_SECONDS = 0.4
"""Where nothing came: it may have come whole another way, or begun anew, in another file."""


class ArrivingBlob:
    """Lives on one event loop; fetches nothing by itself."""

    def __init__(self, store: Store, blob: BlobHash, size: int, readings: Readings) -> None:
        self._store = store
        self._blob = blob
        self._size = size
        self._readings = readings
        self._reader: BlobReader | None = None
        self._opened_at = 0.0
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._end = store.subscribe(blob, self._told)

    async def read(self, offset: int, most_bytes: int) -> bytes:
        """What is here from that byte on; empty when it has not come yet, and comes first from now on."""
        self._readings.move(self, self._blob, offset)
        self._news.clear()
        return await in_thread(self._read, offset, most_bytes)

    async def changed(self) -> None:
        """Waits until more of it is here than at the last read."""
        await self._news.wait()

    def close(self) -> None:
        """Reads no more."""
        self._end()
        self._readings.end(self, self._blob)
        self._drop()

    def _told(self, _: int, __: ChunkRanges) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._news.set)

    def _read(self, offset: int, most_bytes: int) -> bytes:
        if self._reader is None:
            try:
                self._reader, self._opened_at = self._store.reader(self._blob), time.monotonic()
            except NotFound:
                return b""
        end = readable_end(self._reader.have, offset, self._size)
        if end > offset:
            return self._reader.read(offset, min(most_bytes, end - offset))
        if time.monotonic() - self._opened_at > _REOPEN_SECONDS:
            self._drop()
        return b""

    def _drop(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def readable_end(have: ChunkRanges, offset: int, size: int) -> int:
    """Up to which byte a blob may be read from an offset on; the offset itself when it may not. Only one that
    is proven has all chunks.
    """
    end = have.end_of_run(offset // CHUNK_SIZE)
    reached = size if end is None else min(size, end * CHUNK_SIZE)
    if not have.is_all:
        reached = min(reached, last_group(size))
    return max(offset, reached)


def last_group(size: int) -> int:
    """Where the last group of a blob begins, which waits for the proof of the whole."""
    return max(0, size - 1) // GROUP_SIZE * GROUP_SIZE
