"""One table of peers for all purposes, inbound and outbound alike.

Admitted are the peers that were named, with an address or without, and those that are allowed by id; everyone
else is refused at the connection, before a stream can be opened. A peer that is disconnected is not admitted
any more.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from peat_sidecar.errors import NotFound, PeatError, PeerUnavailable
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.net import Connection, Endpoint, Pool
from peat_sidecar.transfer import Provider
from peat_sidecar.wire import ALPN, ErrorCode

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A peer as it is now."""

    endpoint_id: EndpointId
    addresses: tuple[str, ...]
    """Where it is dialled; none for one that is only allowed to connect."""
    connected: bool
    rtt_seconds: float | None = None
    """Round trip of a connection to it."""
    sent_bytes: int = 0
    received_bytes: int = 0
    """UDP payload of the connections that are open now."""
    last_error: str = ""
    """Why the last dial failed; empty when it did not."""


class Peers:
    """The table, and the loop that takes connections in. `admits` works before `run` does."""

    def __init__(self, named: Iterable[PeerAddress] = (), allowed: Iterable[EndpointId] = ()) -> None:
        self._addresses: dict[EndpointId, tuple[str, ...]] = dict.fromkeys(allowed, ())
        for peer in named:
            self._name(peer)
        self._errors: dict[EndpointId, str] = {}
        self._inbound: dict[EndpointId, set[Connection]] = {}
        self._pool: Pool | None = None

    def admits(self, peer: EndpointId, alpn: bytes = ALPN) -> bool:
        """Whether that peer may connect."""
        return peer in self._addresses

    async def run(self, endpoint: Endpoint, pool: Pool, provider: Provider) -> None:
        """Takes in connections and has them served, until the endpoint is closed."""
        self._pool = pool
        async with asyncio.TaskGroup() as group:
            while (connection := await endpoint.accept()) is not None:
                group.create_task(self._serve(connection, provider), name="serve a peer")

    async def connect(self, peer: PeerAddress) -> PeerInfo:
        """Names a peer and, where addresses are given, dials it. One that cannot be reached is admitted all
        the same, and the answer says why it could not.
        """
        before = self._addresses.get(peer.endpoint_id)
        self._name(peer)
        self._errors.pop(peer.endpoint_id, None)
        if peer.addresses and self._pool is not None:
            try:
                await self._pool.connection(peer, ALPN)
            except PeerUnavailable as error:
                self._errors[peer.endpoint_id] = str(error)
            except PeatError:
                if before is None:
                    self._addresses.pop(peer.endpoint_id, None)
                else:
                    self._addresses[peer.endpoint_id] = before
                raise
        return self._info(peer.endpoint_id)

    def disconnect(self, peer: EndpointId) -> None:
        """Forgets a peer and closes its connections. `NotFound` for one that is not known."""
        if peer not in self._addresses:
            raise NotFound(f"peer {peer} is not known here")
        del self._addresses[peer]
        self._errors.pop(peer, None)
        for connection in tuple(self._inbound.get(peer, ())):
            connection.close(ErrorCode.PERMISSION, b"permission")
        if self._pool is not None:
            self._pool.close_peer(peer)

    def resolve(self, text: str) -> PeerAddress:
        """From `ID@host:port`, or the id of a named peer; `NotFound` for an id without a known address."""
        peer = PeerAddress.parse(text)
        if peer.addresses:
            return peer
        addresses = self._addresses.get(peer.endpoint_id, ())
        if not addresses:
            raise NotFound(f"no address is known for peer {peer.endpoint_id}; name it as ID@host:port")
        return PeerAddress(peer.endpoint_id, addresses)

    def list(self) -> list[PeerInfo]:
        """All that are admitted."""
        return [self._info(peer) for peer in self._addresses]

    @property
    def connected(self) -> int:
        """How many of them a connection is open to."""
        return sum(info.connected for info in self.list())

    def _name(self, peer: PeerAddress) -> None:
        self._addresses[peer.endpoint_id] = peer.addresses or self._addresses.get(peer.endpoint_id, ())

    def _info(self, peer: EndpointId) -> PeerInfo:
        outbound = self._pool.find(peer, ALPN) if self._pool is not None else None
        connections = [*self._inbound.get(peer, ()), *([outbound] if outbound else [])]
        stats = [each.stats() for each in connections if not each.is_closed]
        return PeerInfo(
            peer,
            self._addresses.get(peer, ()),
            connected=bool(stats),
            rtt_seconds=min(
                (each.rtt_seconds for each in stats if each.rtt_seconds is not None), default=None
            ),
            sent_bytes=sum(each.sent_bytes for each in stats),
            received_bytes=sum(each.received_bytes for each in stats),
            last_error=self._errors.get(peer, ""),
        )

    async def _serve(self, connection: Connection, provider: Provider) -> None:
        peer = connection.remote_id
        if not self.admits(peer):  # it was disconnected after its handshake
            connection.close(ErrorCode.PERMISSION, b"permission")
            return
        inbound = self._inbound.setdefault(peer, set())
        inbound.add(connection)
        _log.info("a peer has connected", peer=str(peer), addresses=connection.remote_addresses)
        try:
            await provider.serve(connection)
        except Exception:  # noqa: BLE001 - the edge of the connection's task
            _log.exception("a connection could not be served", peer=str(peer))
            connection.close(ErrorCode.INTERNAL, b"internal")
        finally:
            inbound.discard(connection)
            if not inbound:
                self._inbound.pop(peer, None)
            _log.info("a peer has left", peer=str(peer))
