"""Mesh sessions: one to each peer at most, whoever has dialled.

Two at once come about when both dial. Of those the one that the smaller id has dialled stays, which both
sides decide alike. A new one that comes later than such a race can last means that the peer has lost the old
one, and takes its place; so does a new one that the same side has dialled.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from peat_sidecar.errors import PeerUnavailable, RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.net import Connection, Stream
from peat_sidecar.wire import ErrorCode

RACE_SECONDS = 10.0
"""The longest dial; see above."""
REPLACED = b"replaced"

_log = structlog.get_logger(__name__)

Run = Callable[[Connection, Stream], Awaitable[None]]
Listener = Callable[[EndpointId, bool], None]


@dataclass(slots=True, eq=False)
class Session:
    """One that has been begun."""

    connection: Connection
    stream: Stream
    dialer: EndpointId
    began_at: float
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when nothing of it runs any more."""

    @property
    def peer(self) -> EndpointId:
        return self.connection.remote_id

    def outlives(self, new: "Session") -> bool:
        """Whether a newer one to the same peer is closed rather than this one."""
        if self.connection.is_closed:
            return False
        return new.began_at - self.began_at < RACE_SECONDS and self.dialer < new.dialer


class Sessions:
    """Those that are open. `run` is what is done with each, once it is; None: it is only held open."""

    def __init__(self, run: Run | None, *, clock: Callable[[], float]) -> None:
        self._run = run
        self._clock = clock
        self._open: dict[EndpointId, Session] = {}
        self._listeners: dict[object, Listener] = {}

    def __contains__(self, peer: EndpointId) -> bool:
        session = self._open.get(peer)
        return session is not None and not session.connection.is_closed

    def peers(self) -> frozenset[EndpointId]:
        return frozenset(peer for peer in self._open if peer in self)

    def connection(self, peer: EndpointId) -> Connection | None:
        """The connection of an open one."""
        return self._open[peer].connection if peer in self else None

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Told of each peer whose session begins (True) or ends (False). What it gives ends it."""
        key = object()
        self._listeners[key] = listener

        def end() -> None:
            self._listeners.pop(key, None)

        return end

    async def begin(self, connection: Connection, stream: Stream, dialer: EndpointId) -> Session | None:
        """Makes it the peer's session, after the end of one that gives way; None where the other one stays,
        or this one is closed meanwhile. Whoever gets it calls `hold` at once.
        """
        new = Session(connection, stream, dialer, self._clock())
        while (old := self._open.get(new.peer)) is not None:
            if connection.is_closed or old.outlives(new):
                connection.close(0, REPLACED)
                return None
            old.connection.close(0, REPLACED)
            await old.over.wait()
        if connection.is_closed:
            return None
        self._open[new.peer] = new
        self._tell(new.peer, began=True)
        return new

    async def hold(self, session: Session) -> None:
        """Runs it until either side closes the connection, or the work ends."""
        working = asyncio.ensure_future(self._work(session))
        # A peer has one stream on such a connection; another one would fill with what nobody reads.
        watching = asyncio.ensure_future(session.connection.accept_stream())
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done() and watching.done() and watching.result() is not None:
                _log.warning("a member opens a second stream", peer=str(session.peer))
                session.connection.close(ErrorCode.LIMIT, b"limit")
        finally:
            for task in (working, watching):
                task.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)
            session.connection.close()
            if self._open.get(session.peer) is session:
                del self._open[session.peer]
            session.over.set()
            self._tell(session.peer, began=False)

    async def _work(self, session: Session) -> None:
        try:
            if self._run is None:
                await session.connection.closed()
            else:
                await self._run(session.connection, session.stream)
        except PeerUnavailable as error:
            _log.debug("a session ends", peer=str(session.peer), why=str(error))
        except RemoteProtocolError as error:
            _log.warning("a member breaks the protocol", peer=str(session.peer), why=str(error))
        except Exception:  # noqa: BLE001 - the edge of the session's task
            _log.exception("a session fails", peer=str(session.peer))
            session.connection.close(ErrorCode.INTERNAL, b"internal")

    def _tell(self, peer: EndpointId, *, began: bool) -> None:
        _log.info("a member is here" if began else "a member has left", peer=str(peer))
        for listener in tuple(self._listeners.values()):
            try:
                listener(peer, began)
            except Exception:  # noqa: BLE001 - the edge of the listener
                _log.exception("a listener to sessions fails", peer=str(peer))
