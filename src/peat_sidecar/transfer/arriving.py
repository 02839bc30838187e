"""One reader of a blob that is coming: what is verified of it may be read, in order, before the rest is here.

The last group waits for the proof of the digest: who checks no digest had better not take a blob for whole
that is another one.
"""

import asyncio
from contextlib import suppress

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import CHUNK_SIZE, GROUP_SIZE, ChunkRanges
from peat_sidecar.store import BlobReader, Store
from peat_sidecar.transfer.readings import Readings
from peat_sidecar.transfer.threads import in_thread


class ArrivingBlob:
    """Lives on one event loop; fetches nothing by itself."""

    def __init__(self, store: Store, blob: BlobHash, size: int, readings: Readings) -> None:
        self._store = store
        self._blob = blob
        self._size = size
        self._readings = readings
        self._reader: BlobReader | None = None
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
        info = self._store.find(self._blob)
        if info is None:
            return b""
        try:
            if self._reader is None:
                self._reader = self._store.reader(self._blob)
            have = ChunkRanges.all() if info.complete else self._reader.have
            end = readable_end(have, offset, self._size, is_proven=info.complete)
            data = self._reader.read(offset, min(most_bytes, end - offset)) if end > offset else b""
        except NotFound:  # it was given up in this moment
            data = b""
        if not data:  # when there is more it may be in another file
            self._drop()
        return data

    def _drop(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def readable_end(have: ChunkRanges, offset: int, size: int, *, is_proven: bool) -> int:
    """Up to which byte a blob may be read from an offset on; the offset itself when it may not."""
    end = have.end_of_run(offset // CHUNK_SIZE)
    reached = size if end is None else min(size, end * CHUNK_SIZE)
    if not is_proven:
        reached = min(reached, max(0, size - 1) // GROUP_SIZE * GROUP_SIZE)
    return max(offset, reached)
