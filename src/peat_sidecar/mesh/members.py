"""Mesh connections, from their first byte to the end of the session: either side of the handshake, the
admission in its middle, and the session after it. Whom to dial and whom to admit is for others to say.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from peat_sidecar.errors import PeatError, PeerUnavailable, Refused
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh.connections import Connections
from peat_sidecar.mesh.formation import Formation
from peat_sidecar.mesh.half_open import HalfOpen
from peat_sidecar.mesh.handshake import exchange_welcomes, prove_as_acceptor, prove_as_dialer, refused_by
from peat_sidecar.mesh.sessions import Run, Session, Sessions
from peat_sidecar.net import Connection, ConnectionClosed, Endpoint, Stream
from peat_sidecar.wire import MESH_ALPN, ErrorCode

DIALS = 64
"""Under way at once."""

_log = structlog.get_logger(__name__)


class Members:
    """Those that are connected. Nothing is dialled or accepted before `start`."""

    def __init__(
        self,
        formation: Formation | None,
        admit: Callable[[Connection, bool], None],
        run: Run | None,
        *,
        handshake_seconds: float,
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        """`admit` is called with a connection whose peer has proven the key, and whether it is inbound; it
        may raise `Refused` all the same.
        """
        self._formation = formation
        self._admit = admit
        self._seconds = handshake_seconds
        self.sessions = Sessions(run, clock=clock)
        self.half_open = HalfOpen(clock=clock, sleep=sleep)
        self._connections = Connections()
        self._dials = asyncio.Semaphore(DIALS)
        self._endpoint: Endpoint | None = None
        self._tasks: asyncio.TaskGroup | None = None

    def start(self, endpoint: Endpoint, tasks: asyncio.TaskGroup) -> None:
        """Sessions that are dialled run in `tasks`."""
        self._endpoint, self._tasks = endpoint, tasks

    @property
    def peers(self) -> tuple[EndpointId, ...]:
        """All with a connection, proven or not."""
        return self._connections.peers

    def close(self, peer: EndpointId) -> None:
        """All connections of a peer that is not admitted any more."""
        self._connections.close(peer, ErrorCode.PERMISSION, b"permission")

    async def accept(self, connection: Connection, *, known: bool) -> None:
        """Handshake and session of an inbound connection, to its end. `known`: its id is one of the table."""
        joined: list[Stream] = []
        with self._connections.holding(connection):
            failure = await self.half_open.prove(connection, self._accept(connection, joined), known=known)
            if failure is None:
                session = await self.sessions.begin(connection, joined[0], connection.remote_id)
                if session is not None:
                    await self.sessions.hold(session)

    async def dial(self, peer: PeerAddress) -> PeatError | None:
        """Returns when there is a session with the peer, or why there is none."""
        async with self._dials:
            try:
                connection = await self._endpoint_now.connect(peer, MESH_ALPN)
            except PeatError as failure:
                return failure
            self._connections.add(connection)
            session = None
            try:
                stream = await self._prove(connection)
                session = await self.sessions.begin(connection, stream, self._endpoint_now.id)
            except PeatError as failure:
                if isinstance(failure, Refused):
                    connection.close(ErrorCode.PERMISSION, b"permission")
                return failure
            finally:
                if session is None:
                    connection.close()
                    self._connections.remove(connection)
        if session is not None and self._tasks is not None:
            self._tasks.create_task(self._hold(session), name="mesh session")
        return None

    async def _hold(self, session: Session) -> None:
        try:
            with self._connections.holding(session.connection):
                await self.sessions.hold(session)
        except Exception:  # noqa: BLE001 - the edge of the session's task
            _log.exception("a session could not be held", peer=str(session.peer))

    async def _prove(self, connection: Connection) -> Stream:
        peer = connection.remote_id
        try:
            stream = await connection.open_stream()
        except ConnectionClosed as error:
            if error.code == ErrorCode.PERMISSION:
                raise refused_by(peer) from None
            raise
        own = self._endpoint_now.id
        await prove_as_dialer(self._formation_now, stream, own, peer, seconds=self._seconds)
        self._admit(connection, False)
        await exchange_welcomes(stream, peer, seconds=self._seconds)
        return stream

    async def _accept(self, connection: Connection, joined: list[Stream]) -> None:
        """The other side of it, in one time for all."""
        peer, own = connection.remote_id, self._endpoint_now.id
        try:
            async with asyncio.timeout(self._seconds):
                stream = await connection.accept_stream()
                if stream is None:
                    raise PeerUnavailable(f"peer {peer.short} left before the handshake")
                await prove_as_acceptor(self._formation_now, stream, own, peer, seconds=self._seconds)
                self._admit(connection, True)
                await exchange_welcomes(stream, peer, seconds=self._seconds)
                joined.append(stream)
        except TimeoutError:
            raise PeerUnavailable(
                f"peer {peer.short} did not finish the handshake within {self._seconds:g} s"
            ) from None

    @property
    def _endpoint_now(self) -> Endpoint:
        if self._endpoint is None:
            raise PeerUnavailable("this node is not on the network yet")
        return self._endpoint

    @property
    def _formation_now(self) -> Formation:
        if self._formation is None:
            raise Refused("this node is in no formation; set a formation key")
        return self._formation
