"""One peer's work on a board: parts of large blobs, over as many streams and connections as its path can use.

Each stream takes a part, asks for it, and writes each run as soon as it is verified. Two streams on the first
connection keep a good path busy. On a long or lossy one a connection's congestion control holds it back, so
there connections are added as long as each has some packets on its way (measured at 2 Mbit/s, 600 ms and 1 %
loss: one connection 38 % of the link, four 58 %, twelve 91 %, fifteen 92 %).
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable

from peat_sidecar.errors import PeatError, PeerUnavailable
from peat_sidecar.net import Connection, StreamEnded, StreamReset
from peat_sidecar.ranges import ChunkRanges, chunk_count
from peat_sidecar.transfer.answers import Asking, Pace
from peat_sidecar.transfer.board import Board, Held
from peat_sidecar.transfer.coming import Taken
from peat_sidecar.transfer.division import count
from peat_sidecar.transfer.intake import Intake
from peat_sidecar.transfer.lanes import Passage
from peat_sidecar.transfer.live_maps import LiveMaps
from peat_sidecar.transfer.sharing import end, share, until
from peat_sidecar.transfer.wants import Want
from peat_sidecar.wire import ErrorCode, Get, RangesSeq

STREAMS = 2
"""On the first connection (loopback, 500 MB: one 347 MB/s, two 372, four 355). Each further one has one: its
window is what holds it back.
"""
CONNECTIONS = 15
LONG_SECONDS = 0.08
"""A round trip from which on more connections are tried."""
_VERY_LONG_SECONDS = 0.3
"""A round trip from which on they are tried at once: waiting for the first bytes would cost more."""
_LARGE_WINDOW_BYTES = 160 << 10
"""Less on its way after the first second may be all that the path takes, which shows a look later."""
_QUEUED = 1.25
"""Round trips so much longer than the shortest show a queue."""
_QUEUED_VERY_LONG = 1.5
"""The same where round trips are very long: it is empty again before connections that wait for packets to be
repeated go on.
"""
FEW_PEERS = 2
"""At work at once, so many or fewer, for lost packets to say something about the path."""
_FIRST_ADDED = 3
"""At once, where the path is long: what it can carry shows only after several round trips."""
_LEAST_WINDOW_BYTES = 10 << 10
"""On its way on each connection, for more to be added. With less, a lost packet is noticed by a time-out only
(measured at 256 kbit/s, 600 ms and 2 % loss: two connections 83 % of the link, four 81 %, eight 77 %).
"""
_LOOK_SECONDS = 2.0
_LAST_SECONDS = 1.0
"""Of a look, in which it is told whether more than a trickle comes: a limit may have been set meanwhile."""
_PATIENCE_SECONDS = 1.0
"""How long who is idle leaves the others in peace."""
_GAIN = 1.1
_LEAST_RATE = 4 << 10
"""Bytes per second, below which more connections only cost: it is a limit that holds."""
_FIRST_BYTES = 8 << 10
"""Before they have come none is added: on a link that carries next to nothing a handshake is much."""
_FIRST_LOOK_SECONDS = 0.1
_FIRST_BURST_SECONDS = 1.0
"""It loses packets on a good path too."""
_MEETING_SECONDS = 5.0
"""Until then it is not known who else gets the same, and crowds the same link."""
_TRICKLE_LOOK_SECONDS = 0.7
_TRICKLE_LOOKS = 3
"""In a row: an outage is no trickle, and heals."""
_LEFT_SECONDS = 5.0
"""How long a seed is left to others, that has nothing to do meanwhile."""
_CHUNK_WIRE_BYTES = 1028.0
"""A chunk, and its part of a pair."""
_EVERYTHING = ChunkRanges.all()

More = Callable[[int], Awaitable[Connection]]
"""Opens another connection to the same peer, by its number."""


class LargeBlobs:
    """Over one peer's connections. Tries nothing twice: what came before an error is kept, the rest is free
    for whoever asks next.
    """

    def __init__(self, board: Board, connection: Connection, more: More, intake: Intake) -> None:
        self._board = board
        self._connection = connection
        self._more = more
        self._intake = intake
        self._source = intake.progress.source(connection.remote_id)
        self._maps = LiveMaps(connection.remote_id, board.tell, self._source)
        """Of blobs of which the peer lacks a part."""
        self._shortest = math.inf
        """Of all round trips."""
        self._rate: float | None = None
        """Of one stream."""
        self._idle_since = 0.0
        """When there was last something to ask of it that is not left to others (loop time)."""
        self.came_bytes = 0
        """Verified."""
        self._fault: PeatError | None = None
        """Of a connection that was added."""

    async def fetch(self) -> None:
        """Takes part after part, until there is none that this peer holds."""
        growing = asyncio.create_task(self._grow(), name="add connections")
        self._board.crowd.maps.append(self._maps)
        try:
            await self._serve(self._connection, STREAMS)
        finally:
            self._board.crowd.maps.remove(self._maps)
            try:
                await end([growing])
            finally:
                await self._maps.close()

    async def _serve(self, connection: Connection, streams: int) -> None:
        pace = Pace()
        self._board.takers += streams
        try:
            await share(
                lambda: self._following(connection),
                lambda found: self._fetch_part(connection, *found, pace),
                streams,
            )
        finally:
            self._board.takers -= streams

    async def _following(self, connection: Connection) -> tuple[Taken, Passage] | None:
        """A part, and leave to ask for it."""
        board, clock = self._board, asyncio.get_running_loop().time
        look_at = clock()  # what is slow is taken over when it shows, which is no change
        while True:
            if self._fault is not None:
                raise self._fault
            held, is_due = self._held(), clock() >= look_at
            look_at = clock() + _PATIENCE_SECONDS if is_due else look_at
            may_have = board.may_have(held, over=is_due)
            if may_have and (passage := await self._entered(connection)) is not None:
                try:
                    taken = await board.take(
                        held, self._rate, passage.most_bytes, peer=connection.remote_id, over=is_due
                    )
                except BaseException:
                    passage.end()
                    raise
                if taken is not None:
                    passage.resize(count(taken.ranges) * _CHUNK_WIRE_BYTES)
                    return taken, passage
                passage.end()
            is_left = board.may_have(self._holds, over=False)
            if board.is_done or not (board.is_busy or self._maps.is_growing or is_left):
                return None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(look_at):
                    await board.changed()

    def _held(self) -> Held:
        """What may be asked of the peer now: what is left to others when there was nothing else for long."""
        now = asyncio.get_running_loop().time()
        if self._board.may_have(self._asked_for, over=False):
            self._idle_since = now
        return self._asked_for if now - self._idle_since < _LEFT_SECONDS else self._holds

    async def _entered(self, connection: Connection) -> Passage | None:
        """Waits for leave, as long as there may be something to take; None when there is not any more."""
        board = self._board
        entering = asyncio.ensure_future(self._intake.enter(connection))
        passage: Passage | None = None
        try:
            await asyncio.sleep(0)
            while not entering.done():
                self._intake.progress.held_back()
                changing = asyncio.ensure_future(board.changed())
                try:
                    await asyncio.wait(
                        (entering, changing),
                        timeout=_PATIENCE_SECONDS,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    await end([changing])
                if not entering.done() and not board.may_have(self._holds):
                    return None
            passage = entering.result()
            return passage
        finally:
            if passage is None:
                await _given_up(entering)

    def _holds(self, want: Want) -> ChunkRanges:
        held = self._maps.get(want.hash)
        return _EVERYTHING if held is None else held

    def _asked_for(self, want: Want) -> ChunkRanges:
        """A peer that has everything is left alone with what others have or will have."""
        held = self._holds(want)
        if not self._board.spread or want.hash in self._maps or want.hash in self._board.readings:
            return held
        return held - self._board.crowd.left_to_others(want, self._maps)

    async def _fetch_part(self, connection: Connection, taken: Taken, passage: Passage, pace: Pace) -> None:
        clock = asyncio.get_running_loop().time
        before, began = taken.part.came, clock()
        want = taken.blob.want
        was_told = want.hash in self._maps
        try:
            if passage.over.is_set():
                taken.over.set()
            passage.over = taken.over
            await until(taken.over, self._fetch_ranges(connection, taken, passage, pace))
        except StreamReset as reset:
            # a part was asked for only where it said that it holds it
            if reset.code != ErrorCode.INTERNAL or was_told:
                raise
            if want.hash not in self._maps:
                await self._maps.ask(connection, want)
        finally:
            passage.end()
            came = taken.part.came - before
            if came:
                rate = came / max(clock() - began, 1e-3)
                self._rate = rate if self._rate is None else (self._rate + rate) / 2
            await self._board.settle(taken)

    async def _fetch_ranges(self, connection: Connection, taken: Taken, passage: Passage, pace: Pace) -> None:
        """One request. A run is written while the next one comes."""
        want, ranges = taken.blob.want, taken.ranges
        writing: asyncio.Future[None] | None = None
        try:
            request = Get(want.hash, RangesSeq.blob(ranges))
            async with Asking(connection, request, passage, pace) as answer:
                await answer.size(want.hash, expected=want.size)
                async with contextlib.aclosing(answer.runs(want.hash, want.size, ranges)) as runs:
                    async for run in runs:
                        if writing is not None:
                            await writing
                        self.came_bytes += len(run.data)
                        self._source.done(len(run.data))
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
            extra: dict[int, asyncio.Task[None]] = {}
            group.create_task(self._shrink(extra), name="end connections")
            best, is_filled, is_trickle = 0.0, True, False
            if self._round_trip() < _VERY_LONG_SECONDS:
                if self._board.spread and not self._is_long():
                    await asyncio.sleep(_MEETING_SECONDS)
                wire = self._intake.progress.wire_bytes
                while self._intake.progress.wire_bytes - wire < _FIRST_BYTES:  # noqa: ASYNC110
                    await asyncio.sleep(_FIRST_LOOK_SECONDS)
                await asyncio.sleep(_FIRST_BURST_SECONDS / 2)
                came = self.came_bytes
                await asyncio.sleep(_FIRST_BURST_SECONDS / 2)
                rate = (self.came_bytes - came) / (_FIRST_BURST_SECONDS / 2)
                is_filled = rate * self._round_trip() >= _LARGE_WINDOW_BYTES
            while True:
                before, some = self.came_bytes, len(extra)
                if is_filled and not is_trickle and self._is_long() and not self._is_full():
                    more = some + 1 if some or self._round_trip() < LONG_SECONDS else _FIRST_ADDED
                    free = [number for number in range(1, CONNECTIONS) if number not in extra]
                    for number in free[:more]:
                        extra[number] = group.create_task(self._help(number, extra))
                seconds = max(_LOOK_SECONDS, 4 * self._round_trip())
                await asyncio.sleep(seconds - _LAST_SECONDS)
                wire = self._intake.progress.wire_bytes
                await asyncio.sleep(_LAST_SECONDS)
                rate = (self.came_bytes - before) / seconds
                shortest = self._round_trip()
                if len(extra) > max(some, 2) and shortest < LONG_SECONDS and rate < best * _GAIN:
                    break
                best = max(best, rate)
                is_filled = rate * shortest >= _LEAST_WINDOW_BYTES * (len(extra) + 1)
                is_trickle = self._intake.progress.wire_bytes - wire < _LEAST_RATE * _LAST_SECONDS

    async def _shrink(self, extra: dict[int, asyncio.Task[None]]) -> None:
        """Ends those that were added when next to nothing comes: a limit holds, and they would all fall
        silent.
        """
        slow_looks = 0
        while True:
            wire = self._intake.progress.wire_bytes
            await asyncio.sleep(_TRICKLE_LOOK_SECONDS)
            came = self._intake.progress.wire_bytes - wire
            slow_looks = slow_looks + 1 if 0 < came < _LEAST_RATE * _TRICKLE_LOOK_SECONDS else 0
            if slow_looks >= _TRICKLE_LOOKS:
                for task in extra.values():
                    task.cancel()

    def _is_long(self) -> bool:
        """Or lossy. A queue that we fill ourselves makes no path long, nor do packets that it drops, which
        they do where many send at once.
        """
        is_lossy = self._connection.stats().lost_packets > 0 and len(self._board.crowd) <= FEW_PEERS
        return self._round_trip() >= LONG_SECONDS or is_lossy

    def _is_full(self) -> bool:
        """A queue is filled on the way: each further connection would fall silent, or lose what it had of a
        group at each outage.
        """
        shortest = self._round_trip()
        queued = _QUEUED if shortest < _VERY_LONG_SECONDS else _QUEUED_VERY_LONG
        return (self._connection.stats().rtt_seconds or 0.0) >= queued * shortest

    def _round_trip(self) -> float:
        """The shortest so far."""
        self._shortest = min(self._shortest, self._connection.stats().rtt_seconds or math.inf)
        return self._shortest if self._shortest < math.inf else 0.0

    async def _help(self, number: int, extra: dict[int, asyncio.Task[None]]) -> None:
        """One that falls silent makes room for another; the rest go on."""
        connection: Connection | None = None
        try:
            connection = await self._more(number)
            with self._source.connected():
                await self._serve(connection, 1)
        except PeerUnavailable as failure:
            if connection is not None and not isinstance(failure, StreamEnded | StreamReset):
                connection.close()  # else the next one of this number would be it again
        except PeatError as error:
            self._fault = error
            self._board.tell()
        finally:
            extra.pop(number, None)


async def _given_up(entering: "asyncio.Future[Passage]") -> None:
    """Nobody waits for leave any more; one that was given meanwhile is given back."""
    try:
        await end([entering])
    finally:
        if not entering.cancelled() and entering.exception() is None:
            entering.result().end()
