"""One peer's work on a board: parts of large blobs, over as many streams and connections as its path can use.

Each stream takes a part, asks for it, and writes each run as soon as it is verified. Two streams on one
connection keep a good path busy. On a long or lossy one a connection's congestion control holds it back, so
there connections are added while the whole gets faster (measured at 2 Mbit/s, 600 ms and 1 % loss: one
connection 38 % of the link, four 58 %, eight 90 %).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from peat_sidecar.errors import PeatError, PeerUnavailable
from peat_sidecar.ids import BlobHash
from peat_sidecar.net import Connection, StreamReset
from peat_sidecar.ranges import ChunkRanges, chunk_count
from peat_sidecar.transfer.answers import Asking, Pace
from peat_sidecar.transfer.board import Board, Taken
from peat_sidecar.transfer.holdings import whole_groups
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.sharing import end, share
from peat_sidecar.transfer.wants import Want
from peat_sidecar.wire import ErrorCode, Get, RangesSeq

STREAMS = 2
"""For each connection. Measured on loopback, 500 MB: one 347 MB/s, two 372, four 355."""
CONNECTIONS = 8
LONG_SECONDS = 0.08
"""A round trip from which on more connections are tried."""
_LOOK_SECONDS = 2.0
_PATIENCE_SECONDS = 1.0
"""How long who is idle leaves the others in peace."""
_GAIN = 1.1
_EVERYTHING = ChunkRanges.all()

More = Callable[[int], Awaitable[Connection]]
"""Opens another connection to the same peer, by its number."""


class LargeBlobs:
    """Over one peer's connections. Tries nothing twice: what came before an error is kept, the rest is free
    for whoever asks next.
    """

    def __init__(self, board: Board, connection: Connection, more: More, progress: Progress) -> None:
        self._board = board
        self._connection = connection
        self._more = more
        self._progress = progress
        self._held: dict[BlobHash, ChunkRanges] = {}
        """What the peer says that it holds, of blobs of which it lacks a part."""
        self._rate: float | None = None
        """Of one stream."""
        self.came_bytes = 0
        """Verified."""
        self._fault: PeatError | None = None
        """Of a connection that was added."""

    async def fetch(self) -> None:
        """Takes part after part, until there is none that this peer holds."""
        growing = asyncio.create_task(self._grow(), name="add connections")
        try:
            await self._serve(self._connection)
        finally:
            await end([growing])

    async def _serve(self, connection: Connection) -> None:
        pace = Pace()
        self._board.takers += STREAMS
        try:
            await share(self._following, lambda taken: self._fetch_part(connection, taken, pace), STREAMS)
        finally:
            self._board.takers -= STREAMS

    async def _following(self) -> Taken | None:
        board = self._board
        while True:
            if self._fault is not None:
                raise self._fault
            taken = await board.take(self._holds, self._rate)
            if taken is not None or board.is_done or not board.is_busy:
                return taken
            # What is slow is taken over when it shows, which is no change.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await board.changed()

    def _holds(self, want: Want) -> ChunkRanges:
        return self._held.get(want.hash, _EVERYTHING)

    async def _fetch_part(self, connection: Connection, taken: Taken, pace: Pace) -> None:
        clock = asyncio.get_running_loop().time
        before, began = taken.part.came, clock()
        want = taken.blob.want
        was_told = want.hash in self._held
        try:
            await _until(taken.over, self._fetch_ranges(connection, taken, pace))
        except StreamReset as reset:
            # asked once: a peer could claim something else each time
            if reset.code != ErrorCode.INTERNAL or was_told:
                raise
            if want.hash not in self._held:
                self._held[want.hash] = await whole_groups(connection, want.hash, want.size)
        finally:
            came = taken.part.came - before
            if came:
                rate = came / max(clock() - began, 1e-3)
                self._rate = rate if self._rate is None else (self._rate + rate) / 2
            await self._board.settle(taken)

    async def _fetch_ranges(self, connection: Connection, taken: Taken, pace: Pace) -> None:
        """One request. A run is written while the next one comes."""
        want, ranges = taken.blob.want, taken.ranges
        writing: asyncio.Future[None] | None = None
        try:
            async with Asking(
                connection, Get(want.hash, RangesSeq.blob(ranges)), self._progress, pace
            ) as answer:
                await answer.size(want.hash, expected=want.size)
                async with contextlib.aclosing(answer.runs(want.hash, want.size, ranges)) as runs:
                    async for run in runs:
                        if writing is not None:
                            await writing
                        self.came_bytes += len(run.data)
                        writing = asyncio.ensure_future(self._board.write(taken, run))
                        end = run.start + chunk_count(len(run.data))
                        if not taken.part.left - ChunkRanges.of(0, end):
                            break  # somebody else has taken over the rest, or brought it
        finally:
            if writing is not None:
                await writing

    # ---- more connections

    async def _grow(self) -> None:
        """Adds connections while that helps; those that are added end with this task."""
        async with asyncio.TaskGroup() as group:
            extra: list[asyncio.Task[None]] = []
            best = 0.0
            while len(extra) + 1 < CONNECTIONS:
                if not self._is_long():
                    await asyncio.sleep(_LOOK_SECONDS)
                    continue
                before = self.came_bytes
                seconds = max(_LOOK_SECONDS, 4 * (self._connection.stats().rtt_seconds or 0.0))
                for _ in range(min(CONNECTIONS - 1 - len(extra), len(extra) + 1)):
                    number = len(extra) + 1
                    extra.append(group.create_task(self._help(number), name="another connection"))
                await asyncio.sleep(seconds)
                rate = (self.came_bytes - before) / seconds
                if rate < best * _GAIN and len(extra) >= 3:
                    break
                best = max(best, rate)

    def _is_long(self) -> bool:
        stats = self._connection.stats()
        return (stats.rtt_seconds or 0.0) >= LONG_SECONDS or stats.lost_packets > 0

    async def _help(self, number: int) -> None:
        try:
            await self._serve(await self._more(number))
        except PeerUnavailable:
            return  # the others go on
        except PeatError as error:
            self._fault = error
            self._board.tell()


async def _until(over: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Does work, or gives it up when it is over for another reason."""
    working = asyncio.ensure_future(work)
    ending = asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        await end([working, ending])
