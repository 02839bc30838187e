"""The provider: answers what admitted peers ask for. One task for each connection, one for each of its
streams.

What a peer can make it do is bounded: the length and time of a request, the ranges in it, how many are
answered at once (to one peer and in all), what is read beyond what is sent, and the silence in which a peer
may leave an answer untaken. Push is refused. A stream that cannot be answered is reset before the first byte,
or ended early after a valid beginning, which getters keep (a reset makes them lose what they have not read
yet).
"""

import asyncio
import contextlib
import weakref
from collections.abc import Iterator
from itertools import islice

import structlog

from peat_sidecar.errors import BudgetSpent, PeatError, PeerUnavailable, RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.net import Connection, Stream
from peat_sidecar.store import Store
from peat_sidecar.transfer.answering import Clears, answer
from peat_sidecar.transfer.observing import observe
from peat_sidecar.transfer.outlet import PIECE_BYTES, Outlet
from peat_sidecar.transfer.shaping import Shaper
from peat_sidecar.wire import (
    REQUEST_LIMIT,
    ErrorCode,
    Get,
    GetMany,
    Observe,
    Push,
    Request,
    TooManyRanges,
    parse_request,
)

REQUEST_SECONDS = 60.0
"""How long a request may take to come; ours have under 40 KB."""
ANSWERS_PER_PEER = 20
"""Some more than a getter asks for at once (`REQUESTS_PER_PEER`): what it gave up ends here later."""
ANSWERS = 80
"""In all, so that a few peers on slow links keep nobody else waiting. Each holds up to two pieces here and
1.25 MB in the transport."""
OBSERVERS_PER_CONNECTION = 32
"""Fewer than the 100 streams of a connection, so that some are left for answers."""
RANGES_LIMIT = 8192
"""Entries and boundaries of one request, before anything is made of them."""
_PIECES_AHEAD = 4
"""Read in a thread while as many are sent."""
_BUSY = 4
"""With more answers than this at once one piece is read ahead, for the sake of memory."""

_log = structlog.get_logger(__name__)


class Provider:
    """Serves connections, which were admitted before they came here."""

    def __init__(self, store: Store, shaper: Shaper | None = None, clears: Clears = lambda _: True) -> None:
        """`clears` says which blobs peers may have."""
        self._store = store
        self._clears = clears
        self._shaper = shaper or Shaper()
        self._answers = asyncio.Semaphore(ANSWERS)
        self._by_peer: weakref.WeakValueDictionary[EndpointId, asyncio.Semaphore] = (
            weakref.WeakValueDictionary()
        )
        self._running = 0
        self.sent_bytes = 0
        """Bytes of answers that were handed to the transport."""
        self.answered = 0
        """Requests that were answered to their end."""
        self.refused = 0
        """Requests that were no requests, or asked for what is not here or not allowed."""

    async def serve(self, connection: Connection) -> None:
        """Answers the connection's streams until it is closed."""
        slots = self._by_peer.setdefault(connection.remote_id, asyncio.Semaphore(ANSWERS_PER_PEER))
        session = _Session(self, connection, slots)
        tasks: set[asyncio.Task[None]] = set()
        try:
            while (stream := await connection.accept_stream()) is not None:
                task = asyncio.create_task(session.serve(stream), name="answer a peer")
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, stream: Stream, request: Get | GetMany, outlet: Outlet) -> None:
        """Writes an answer, reading the next piece while one is sent."""
        self._running += 1
        ahead = 1 if self._running > _BUSY else _PIECES_AHEAD
        pieces = _Pieces(answer(self._store, request, piece_bytes=PIECE_BYTES, clears=self._clears))
        sent = False
        reading = pieces.read(ahead)
        try:
            while batch := await reading:
                reading = pieces.read(ahead)
                for piece in batch:
                    await self._write(stream, piece, outlet)
                    sent = True
            await stream.finish()
            self.answered += 1
        except PeerUnavailable:
            raise
        except PeatError as error:
            self.refused += 1
            _log.info("cannot answer a peer", peer=stream.remote_id.short, why=str(error))
            if sent:
                await stream.finish()
            else:
                limit = isinstance(error, TooManyRanges | BudgetSpent)
                await stream.reset(ErrorCode.LIMIT if limit else ErrorCode.INTERNAL)
                return
        finally:
            self._running -= 1
            pieces.close()
        await stream.drained()

    async def _write(self, stream: Stream, piece: bytes, outlet: Outlet) -> None:
        """As much at once as may go; a stream that is not wanted any more is not waited for."""
        left = piece
        while left:
            admitted = await outlet.admit(len(left))
            try:
                await stream.write(left[:admitted])
            except BaseException:
                outlet.refund(admitted)
                raise
            self.sent_bytes += admitted
            left = left[admitted:]


class _Session:
    """What belongs to one connection."""

    def __init__(self, provider: Provider, connection: Connection, slots: asyncio.Semaphore) -> None:
        self._provider = provider
        self._connection = connection
        self._slots = slots
        self._observers = 0

    async def serve(self, stream: Stream) -> None:
        """Reads one request and answers it; never raises, but for a cancel."""
        try:
            async with self._slots, self._provider._answers:
                request = await self._read(stream)
                if isinstance(request, Get | GetMany):
                    with self._provider._shaper.outlet(self._connection) as outlet:
                        await self._provider._answer(stream, request, outlet)
            if isinstance(request, Observe):
                await self._observe(stream, request)
        except PeerUnavailable as error:
            _log.debug("a peer left before its answer ended", why=str(error))
        except Exception:  # noqa: BLE001 - the edge of the stream's task
            _log.exception("a request could not be answered", peer=stream.remote_id.short)
            await stream.reset(ErrorCode.INTERNAL)

    async def _read(self, stream: Stream) -> Request | None:
        """The request; None when it was refused."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = parse_request(await stream.read_to_end(REQUEST_LIMIT), ranges_limit=RANGES_LIMIT)
            if not isinstance(request, Push):
                return request
            _log.warning("a peer wanted to push, which is refused", peer=stream.remote_id.short)
            await stream.reset(ErrorCode.PERMISSION)
        except TooManyRanges as error:
            _log.warning("a peer asks for too much", peer=stream.remote_id.short, why=str(error))
            await stream.reset(ErrorCode.LIMIT)
        except RemoteProtocolError as error:
            # Nothing and a clean end is what the Rust provider answers.
            _log.warning("a peer sent no request", peer=stream.remote_id.short, why=str(error))
            await self._refuse_unread(stream)
        except TimeoutError:
            _log.warning("a peer did not finish its request", peer=stream.remote_id.short)
            await stream.reset(ErrorCode.LIMIT)
        self._provider.refused += 1
        return None

    async def _refuse_unread(self, stream: Stream) -> None:
        await stream.stop(ErrorCode.INTERNAL)
        with contextlib.suppress(PeerUnavailable):
            await stream.finish()

    async def _observe(self, stream: Stream, request: Observe) -> None:
        if self._observers >= OBSERVERS_PER_CONNECTION:
            self._provider.refused += 1
            await stream.reset(ErrorCode.LIMIT)
            return
        self._observers += 1
        try:
            await observe(self._provider._store, request.hash, stream, self._provider._clears)
        finally:
            self._observers -= 1


class _Pieces:
    """An answer, read in threads, one at a time."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._error: PeatError | None = None
        self._reading: asyncio.Future[list[bytes]] | None = None

    def read(self, count: int) -> asyncio.Future[list[bytes]]:
        """The next pieces; none at the end. An error is raised after the pieces that came before it."""
        self._reading = asyncio.ensure_future(asyncio.to_thread(self._take, count))
        return self._reading

    def close(self) -> None:
        """Closes the answer, and with it its file, when no thread is inside it any more."""
        if self._reading is not None:
            self._reading.add_done_callback(self._close)

    def _take(self, count: int) -> list[bytes]:
        if self._error is not None:
            raise self._error
        taken: list[bytes] = []
        try:
            taken.extend(islice(self._pieces, count))
        except PeatError as error:
            self._error = error
        if self._error is not None and not taken:
            raise self._error
        return taken

    def _close(self, done: asyncio.Future[list[bytes]]) -> None:
        if not done.cancelled():
            done.exception()
        with contextlib.suppress(ValueError):  # a thread is inside it: it is closed when that lets it go
            self._pieces.close()  # type: ignore[attr-defined]
