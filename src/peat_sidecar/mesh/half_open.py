"""Inbound mesh connections that have proven nothing yet: bounded in number, time and bytes, and counted.

Where there is no room the oldest one goes, so that a flood has to come faster than honest handshakes end to
keep a newcomer out; peers that are known by id have room of their own, which strangers cannot take.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import structlog

from peat_sidecar.errors import PeatError, PeerUnavailable, Refused, RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.net import Connection
from peat_sidecar.wire import ErrorCode

MAX_STRANGERS = 64
MAX_OF_ONE = 2
BYTES_LIMIT = 1 << 16
"""QUIC's handshake and ours need a tenth of it. The transport would take far more than is read: 1.25 MB for
each of a connection's streams."""
LOOK_SECONDS = 0.25
_LOG_EVERY_SECONDS = 60.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Handshakes:
    """How inbound ones ended."""

    admitted: int = 0
    refused: int = 0
    """No key of the formation, or a peer that is not wanted."""
    malformed: int = 0
    """Something else was said."""
    unfinished: int = 0
    """The peer left, or let the time pass."""
    crowded: int = 0
    """Closed here for want of room, or because too much came."""


class HalfOpen:
    """Those that are under way."""

    def __init__(self, *, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self.counts = Handshakes()
        self._clock = clock
        self._sleep = sleep
        self._strangers: dict[Connection, None] = {}
        self._by_peer: dict[EndpointId, list[Connection]] = {}
        self._crowded_out: set[Connection] = set()
        self._logged_at: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_peer.values()))

    async def prove(self, connection: Connection, work: Awaitable[None], *, known: bool) -> PeatError | None:
        """Does the work, a handshake with an end of its own, while there is room for it. Why it failed, where
        it did; the connection is closed then.
        """
        with self._room(connection, known=known):
            working = asyncio.ensure_future(work)
            watching = asyncio.ensure_future(self._watch(connection))
            try:
                await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
                failure = self._failure(connection, working)
            finally:
                for task in (working, watching):
                    task.cancel()
                await asyncio.gather(working, watching, return_exceptions=True)
                is_crowded_out = connection in self._crowded_out
                self._crowded_out.discard(connection)
        if failure is None:
            self.counts.admitted += 1
            return None
        self._count(connection, failure, is_crowded_out)
        return failure

    @contextlib.contextmanager
    def _room(self, connection: Connection, *, known: bool) -> Iterator[None]:
        own = self._by_peer.setdefault(connection.remote_id, [])
        if len(own) >= MAX_OF_ONE:
            self._crowd_out(own[0])
        if not known and len(self._strangers) >= MAX_STRANGERS:
            self._crowd_out(next(iter(self._strangers)))
        own = self._by_peer.setdefault(connection.remote_id, [])
        own.append(connection)
        if not known:
            self._strangers[connection] = None
        try:
            yield
        finally:
            self._leave(connection)

    def _leave(self, connection: Connection) -> None:
        self._strangers.pop(connection, None)
        own = self._by_peer.get(connection.remote_id, [])
        if connection in own:
            own.remove(connection)
        if not own:
            self._by_peer.pop(connection.remote_id, None)

    def _crowd_out(self, connection: Connection) -> None:
        self._leave(connection)
        self._crowded_out.add(connection)
        connection.close(ErrorCode.LIMIT, b"limit")

    async def _watch(self, connection: Connection) -> None:
        """Returns when more has come than a handshake has; what does not come costs nothing."""
        while connection.stats().received_bytes <= BYTES_LIMIT:
            await self._sleep(LOOK_SECONDS)

    def _failure(self, connection: Connection, working: "asyncio.Future[None]") -> PeatError | None:
        if not working.done():
            self._crowded_out.add(connection)
            connection.close(ErrorCode.LIMIT, b"limit")
            return PeerUnavailable(f"peer {connection.remote_id.short} sent more than a handshake has")
        error = working.exception()
        if error is None or isinstance(error, PeatError):
            return error
        raise error

    def _count(self, connection: Connection, failure: PeatError, is_crowded_out: bool) -> None:
        counts = self.counts
        if is_crowded_out:
            counts.crowded += 1
            self._report("there were too many handshakes at once", connection, failure)
        elif isinstance(failure, Refused):
            counts.refused += 1
            self._report("a peer is refused", connection, failure)
            connection.close(ErrorCode.PERMISSION, b"permission")
        elif isinstance(failure, RemoteProtocolError):
            counts.malformed += 1
            self._report("a peer does not speak the handshake", connection, failure)
            connection.close(ErrorCode.PERMISSION, b"permission")
        else:
            counts.unfinished += 1
            _log.debug("a handshake did not finish", why=str(failure))
            connection.close(ErrorCode.LIMIT, b"too slow")

    def _report(self, event: str, connection: Connection, failure: PeatError) -> None:
        """Now and then: a flood must not fill the disk with lines. The counts say how many there were."""
        now = self._clock()
        if now - self._logged_at.get(event, -_LOG_EVERY_SECONDS) < _LOG_EVERY_SECONDS:
            return
        self._logged_at[event] = now
        _log.warning(event, peer=str(connection.remote_id), why=str(failure))
