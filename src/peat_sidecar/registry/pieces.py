"""The body of an answer, read one piece ahead of what is sent."""

import asyncio

from peat_sidecar.ids import BlobHash
from peat_sidecar.registry.elsewhere import Arriving
from peat_sidecar.store import BlobReader, Store
from peat_sidecar.transfer import opened

PIECE_BYTES = 512 << 10
"""Large enough that threads and answers are switched between seldom: 256 KiB served 32 clients slower."""


class StoredBlob:
    """A blob that is here."""

    def __init__(self, reader: BlobReader) -> None:
        self._reader = reader

    @classmethod
    async def open(cls, store: Store, hash: BlobHash) -> "StoredBlob":
        """`NotFound` and `IntegrityError` when it is not here any more."""
        return cls(await opened(lambda: store.reader(hash, hand_out=True), BlobReader.close))

    async def read(self, offset: int, most_bytes: int) -> bytes:
        """So many, unless it ends before."""
        return await asyncio.to_thread(self._reader.read, offset, most_bytes)

    async def aclose(self) -> None:
        """A read that goes on keeps the file open until it is done."""
        self._reader.close()


class ReadAhead:
    """Bytes of a blob, whether it is here or comes."""

    def __init__(self, source: Arriving, wanted: range) -> None:
        self._source = source
        self._offset = wanted.start
        self._stop = wanted.stop
        self._reading = asyncio.ensure_future(self._next())

    @classmethod
    async def begin(cls, source: Arriving, wanted: range) -> "ReadAhead":
        """With its first piece, so that what cannot be read is known before the answer begins."""
        pieces = cls(source, wanted)
        try:
            await asyncio.shield(pieces._reading)
        except BaseException:
            await pieces.aclose()
            raise
        return pieces

    def __aiter__(self) -> "ReadAhead":
        return self

    async def __anext__(self) -> bytes:
        piece = await asyncio.shield(self._reading)
        if not piece:
            raise StopAsyncIteration
        self._reading = asyncio.ensure_future(self._next())
        return piece

    async def aclose(self) -> None:
        """Reads no more."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._source.aclose()

    async def _next(self) -> bytes:
        left = self._stop - self._offset
        piece = await self._source.read(self._offset, min(PIECE_BYTES, left)) if left else b""
        self._offset += len(piece)
        return piece
