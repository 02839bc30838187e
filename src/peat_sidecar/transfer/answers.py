"""The getter's side of one stream: a request goes out, and its answer is read blob by blob, verified.

Every group is verified before it is given out. What the peer says is bounded before room is made for it:
sizes against what is expected or the most that is allowed, bodies by the size and the ranges that were asked
for.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

from peat_sidecar.bao import GROUP_CHUNKS, RUN_CHUNKS, Decoder, Verified
from peat_sidecar.errors import IntegrityError, NotFound, PeerUnavailable
from peat_sidecar.ids import BlobHash
from peat_sidecar.net import Connection, Stream, StreamEnded, StreamReset
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.transfer.intake import Intake
from peat_sidecar.transfer.lanes import Passage
from peat_sidecar.transfer.sharing import until
from peat_sidecar.wire import SIZE_BYTES, ErrorCode, Get, GetMany, encode_request, parse_size

T = TypeVar("T")
LONG_SECONDS = 0.1
_GIVEN_UP = 0


class Pace:
    """How much is read before it is verified and kept: 25 to 100 ms worth, one group at least, since a
    break costs that much, and up to 1 MiB on a fast link, where that is fastest (64 KiB: 243 MB/s, 1 MiB:
    347).
    """

    def __init__(self) -> None:
        self.run_chunks = GROUP_CHUNKS

    def took(self, seconds: float) -> None:
        """The last run came within that time."""
        if seconds > LONG_SECONDS:
            self.run_chunks = max(GROUP_CHUNKS, self.run_chunks // 2)
        elif seconds < LONG_SECONDS / 4:
            self.run_chunks = min(RUN_CHUNKS, self.run_chunks * 2)


class Answer:
    """One answer. Blobs are read in the order of the request, each to its end."""

    def __init__(self, stream: Stream, pace: Pace) -> None:
        self._stream = stream
        self._pace = pace
        self._peer = stream.remote_id.short

    async def size(
        self, blob_hash: BlobHash, *, expected: int | None = None, limit: int | None = None
    ) -> int:
        """The size of the next blob, a claim until its last chunk is verified.

        `IntegrityError` when it is another one than expected, or above the limit.
        """
        size = parse_size(await self._stream.read_exact(SIZE_BYTES))
        if size == 0 and expected and not await self._stream.read(1):
            # What a Rust node answers of a blob whose size it does not know yet.
            raise StreamEnded(f"peer {self._peer} has nothing of blob {blob_hash} yet")
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
        clock = asyncio.get_running_loop().time
        try:
            decoder = Decoder(blob_hash, size, ranges, self._pace.run_chunks)
            while needed := decoder.needed:
                begun = clock()
                data = await self._stream.read_exact(needed)
                self._pace.took(clock() - begun)
                decoder.run_chunks = self._pace.run_chunks
                if verified := decoder.feed(data):
                    yield verified
        except IntegrityError as error:
            raise IntegrityError(f"peer {self._peer} sent wrong bytes: {error}") from None

    async def blob(
        self, blob_hash: BlobHash, *, expected: int | None = None, limit: int | None = None
    ) -> bytes:
        """The whole of the next blob, which is small enough for memory."""
        size = await self.size(blob_hash, expected=expected, limit=limit)
        return b"".join([run.data async for run in self.runs(blob_hash, size, ChunkRanges.all())])


class Asking:
    """Opens a stream, writes a request and gives its `Answer`; the stream is let go at the end.

    async with Asking(connection, request, passage) as answer: ...
    """

    def __init__(
        self,
        connection: Connection,
        request: Get | GetMany,
        passage: Passage,
        pace: Pace | None = None,
    ) -> None:
        self._connection = connection
        self._request = encode_request(request)
        self._passage = passage
        self._pace = pace or Pace()
        self._stream: Stream | None = None

    async def __aenter__(self) -> Answer:
        self._stream = await self._connection.open_stream()
        self._stream.heard = self._passage.heard
        await self._stream.write(self._request)
        await self._stream.finish()
        return Answer(self._stream, self._pace)

    async def __aexit__(self, *_: object) -> None:
        if self._stream is not None:
            with contextlib.suppress(PeerUnavailable):
                await self._stream.stop(_GIVEN_UP)


async def ask(
    connection: Connection,
    request: Get | GetMany,
    intake: Intake,
    size: int,
    read: Callable[[Answer], Awaitable[T]],
) -> T:
    """What `read` makes of the answer, asked for once so many bytes may come; that is a guess. It is given up
    when others go first, and asked for anew.
    """
    found: list[T] = []

    async def work(passage: Passage) -> None:
        async with Asking(connection, request, passage) as answer:
            found.append(await read(answer))

    while not found:
        with await intake.enter(connection, size) as passage:
            await until(passage.over, work(passage))
    return found[0]


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
