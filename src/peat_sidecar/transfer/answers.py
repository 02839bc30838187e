"""The getter's side of one stream: a request goes out, and its answer is read blob by blob, verified.

Every group is verified before it is given out. What the peer says is bounded before room is made for it:
sizes against what is expected or the most that is allowed, bodies by the size and the ranges that were asked
for.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from peat_sidecar.bao import Decoder, Verified
from peat_sidecar.errors import IntegrityError, NotFound, PeerUnavailable
from peat_sidecar.ids import BlobHash
from peat_sidecar.net import Connection, Stream, StreamReset
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.wire import SIZE_BYTES, ErrorCode, Get, GetMany, encode_request, parse_size

_GIVEN_UP = 0


class Answer:
    """One answer. Blobs are read in the order of the request, each to its end."""

    def __init__(self, stream: Stream, progress: Progress) -> None:
        self._stream = stream
        self._progress = progress
        self._peer = stream.remote_id.short

    async def size(
        self, blob_hash: BlobHash, *, expected: int | None = None, limit: int | None = None
    ) -> int:
        """The size of the next blob, a claim until its last chunk is verified.

        `IntegrityError` when it is another one than expected, or above the limit.
        """
        size = parse_size(await self._read(SIZE_BYTES))
        if expected is not None and size != expected:
            raise IntegrityError(
                f"peer {self._peer} says that blob {blob_hash} has {size} bytes, where it has {expected}"
            )
        if limit is not None and size > limit:
            raise IntegrityError(
                f"peer {self._peer} says that blob {blob_hash} has {size} bytes, more than the {limit} it may"
            )
        return size

    async def runs(
        self, blob_hash: BlobHash, size: int, ranges: ChunkRanges
    ) -> AsyncGenerator[Verified, None]:
        """The body that follows the size, run by run. `IntegrityError` for bytes that are not the blob's."""
        decoder = Decoder(blob_hash, size, ranges)
        while needed := decoder.needed:
            data = await self._read(needed)
            try:
                verified = decoder.feed(data)
            except IntegrityError as error:
                raise IntegrityError(f"peer {self._peer} sent wrong bytes: {error}") from None
            if verified is not None:
                yield verified

    async def blob(
        self, blob_hash: BlobHash, *, expected: int | None = None, limit: int | None = None
    ) -> bytes:
        """The whole of the next blob, which is small enough for memory."""
        size = await self.size(blob_hash, expected=expected, limit=limit)
        return b"".join([run.data async for run in self.runs(blob_hash, size, ChunkRanges.all())])

    async def _read(self, length: int) -> bytes:
        data = await self._stream.read_exact(length)
        self._progress.wire_bytes += length
        self._progress.waiting_for = ""
        return data


class Asking:
    """Opens a stream, writes a request and gives its `Answer`; the stream is let go at the end.

    async with Asking(connection, request, progress) as answer: ...
    """

    def __init__(self, connection: Connection, request: Get | GetMany, progress: Progress) -> None:
        self._connection = connection
        self._request = encode_request(request)
        self._progress = progress
        self._stream: Stream | None = None

    async def __aenter__(self) -> Answer:
        self._stream = await self._connection.open_stream()
        await self._stream.write(self._request)
        await self._stream.finish()
        return Answer(self._stream, self._progress)

    async def __aexit__(self, *_: object) -> None:
        if self._stream is not None:
            with contextlib.suppress(PeerUnavailable):
                await self._stream.stop(_GIVEN_UP)


@contextlib.asynccontextmanager
async def or_lacking(connection: Connection, what: str) -> AsyncIterator[None]:
    """A peer that resets its answer lacks what was asked for: `NotFound`. The protocol has no code of its
    own.
    """
    try:
        yield
    except StreamReset as reset:
        if reset.code != ErrorCode.INTERNAL:
            raise
        raise NotFound(
            f"peer {connection.remote_id.short} does not hold {what}, or not all of it; ask another peer"
        ) from None
