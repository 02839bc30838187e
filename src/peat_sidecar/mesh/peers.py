"""One table of peers for all purposes, inbound and outbound alike, and the sessions with members.

Who may connect is decided before a stream is looked at, who is a member by the handshake. A member that has
connected is known from then on with the address it came from, and whoever is known with an address is dialled
until there is a session. Peers that are listed by id get blobs and nothing else; with a roster only those
that are listed for just that.

Lives on one event loop, on which all its methods are called.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable

import structlog

from peat_sidecar.errors import ConfigError, NotFound, PeatError, PeerUnavailable, Refused
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh.admissions import Admissions
from peat_sidecar.mesh.connections import Connections
from peat_sidecar.mesh.formation import Formation
from peat_sidecar.mesh.half_open import Handshakes
from peat_sidecar.mesh.handshake import HANDSHAKE_SECONDS
from peat_sidecar.mesh.known import KnownPeer, KnownPeers, Source
from peat_sidecar.mesh.members import Members
from peat_sidecar.mesh.peer_info import PeerInfo
from peat_sidecar.mesh.redial import Dialler, Sleep
from peat_sidecar.mesh.seeking import Seeking
from peat_sidecar.mesh.sessions import Run
from peat_sidecar.net import Connection, Endpoint, NotSpoken, Pool
from peat_sidecar.state import Ban, State
from peat_sidecar.transfer import Provider
from peat_sidecar.wire import ALPN, MESH_ALPN, ErrorCode, parse_peer

FORGET_SECONDS = 3 * 86_400.0
"""One that nobody named and that was not heard of for so long is not dialled any more."""

_log = structlog.get_logger(__name__)


class Peers:
    """The table, and the loop that takes connections in. `admits` works before `run` does."""

    def __init__(
        self,
        *,
        named: Iterable[PeerAddress] = (),
        allowed: Iterable[EndpointId] = (),
        formation: Formation | None = None,
        state: State | None = None,
        session: Run | None = None,
        may_join: Callable[[EndpointId], bool] = lambda _: True,
        has_roster: bool = False,
        handshake_seconds: float = HANDSHAKE_SECONDS,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`session` is what is done with a member's stream once it is admitted; None: nothing. `may_join` is
        asked each time; after a change of what it says, call `recheck`. `has_roster`: it is a roster's word.
        """
        self._has_formation = formation is not None
        self._clock = clock
        self._sleep = sleep
        self._admissions = Admissions(
            has_formation=self._has_formation, may_join=may_join, has_roster=has_roster, state=state, now=now
        )
        self._known = KnownPeers()
        self._members = Members(
            formation, self._admit, session, handshake_seconds=handshake_seconds, sleep=sleep, clock=clock
        )
        self._sessions = self._members.sessions
        self._dialler = Dialler(
            self._dial, self._sessions.__contains__, sleep=sleep, clock=clock, jitter=jitter
        )
        self._sessions.subscribe(self._session_changed)
        self._inbound = Connections()
        """For blobs; those of the mesh are with `Members`."""
        self._endpoint: Endpoint | None = None
        self._pool: Pool | None = None
        self._seeking: Seeking | None = None
        for id in allowed:
            self._list(PeerAddress(id), "allowed")
        for row in self._admissions.remembered():
            self._list(PeerAddress(row.endpoint_id, row.addresses), "named")
        for peer in named:
            self._list(peer, "named")

    # ---- who may connect

    def admits(self, peer: EndpointId, alpn: bytes) -> bool:
        """Whether that peer may connect with that protocol."""
        return self._admissions.admits(peer, alpn)

    def may_dial(self, peer: EndpointId) -> bool:
        """Whether it may be connected to, for whatever: not one that is banned, or was known and may not be a
        member any more. One that is not known at all may: a call can name anybody to fetch from.
        """
        if self._admissions.is_banned(peer):
            return False
        outcast = self._has_formation and not self.admits(peer, MESH_ALPN)
        return not (outcast and peer in self._known and not self._admissions.is_listed(peer))

    def ban(self, peer: EndpointId, reason: str) -> None:
        """Keeps it out from now on, on every protocol, and closes its connections. In force even where this
        raises because it cannot be remembered.
        """
        if self._is_own(peer):
            raise ConfigError("that is the id of this node, which cannot ban itself; name another one")
        try:
            self._admissions.ban(peer, reason)
        finally:
            self._shut_out(peer)
        _log.warning("a peer is banned", peer=str(peer), reason=reason)

    def unban(self, peer: EndpointId) -> None:
        """It is again what it was, and is dialled: it may itself not try for minutes. `NotFound` when it was
        not banned.
        """
        if not self._admissions.unban(peer):
            raise NotFound(f"peer {peer} is not banned here")
        row = self._known.get(peer)
        if row is not None and row.addresses and self.admits(peer, MESH_ALPN):
            self._dialler.keep(peer)

    def bans(self) -> list[Ban]:
        """The oldest first."""
        return self._admissions.bans()

    def recheck(self) -> None:
        """Who may join has changed: closes the connections of those who may not any more."""
        for peer in {*self._admissions.members, *self._members.peers}:
            if not self.admits(peer, MESH_ALPN):
                self._admissions.expel(peer)
                self._dialler.release(peer)
                self._members.close(peer)
                if not self.admits(peer, ALPN):
                    self._shut_out(peer)
        for row in self._known:
            self._keep(row.endpoint_id)

    # ---- whom this node knows

    async def connect(self, peer: PeerAddress) -> PeerInfo:
        """Names a peer, which is remembered, and, where addresses are given, dials it. One that cannot be
        reached is admitted to blobs all the same, and the answer says why it could not.
        """
        id = peer.endpoint_id
        if self._is_own(id):
            raise ConfigError("that is the id of this node; name another one")
        if self._admissions.is_banned(id):
            raise Refused(f"peer {id} is banned here; take the ban back first")
        row = self._known.get(id)
        found = dict(row.found) if row is not None else None
        before = self._admissions.connect(id)
        row = self._known.name(PeerAddress(id, peer.addresses or before.disconnected or ()), "named")
        row.last_error = ""
        try:
            if peer.addresses and self._endpoint is not None:
                row.last_error = await self._reason_not_reached(row)
        except ConfigError:
            self._known.put_back(id, found)
            self._admissions.restore(id, before)
            raise
        if self._known.get(id) is row:  # nobody has disconnected it meanwhile
            self._admissions.remember(id, row.found["named"])
            self._keep(id)
        return self._info(row)

    def disconnect(self, peer: EndpointId) -> None:
        """Forgets a peer, closes its connections and keeps it out until it is named again, after a restart
        too. `NotFound` for one that is not known.
        """
        row = self._known.get(peer)
        if row is None:
            raise NotFound(f"peer {peer} is not known here")
        try:
            self._admissions.disconnect(peer, row.addresses)
        finally:
            self._known.drop(peer)
            self._shut_out(peer)

    def discovered(self, peer: PeerAddress, source: Source) -> None:
        """It is said to be at that address, by the local network, a name or a record. It is dialled at once,
        unless there is a session with it; all else it has to prove. Whom a record names is dialled when it is
        needed: a formation may be large. Of one that is banned the address is kept for when that is over.
        """
        id = peer.endpoint_id
        if not peer.addresses or self._is_own(id) or self._admissions.is_disconnected(id):
            return
        is_new = self._learn(peer, source)
        self._keep(id)
        row = self._known.get(id)
        if row is not None and is_new and self._seeking is not None:
            self._seeking.moved(row.address)
        if row is not None and (is_new or not row.refuses):
            self._dialler.wake(id)

    def resolve(self, text: str) -> PeerAddress:
        """From `ID@host:port`, a ticket, or a known peer's id; `NotFound` for one without a known address."""
        peer = parse_peer(text)
        if peer.addresses:
            return peer
        row = self._known.get(peer.endpoint_id)
        if row is None or not row.addresses:
            raise NotFound(f"no address is known for peer {peer.endpoint_id}; name it as ID@host:port")
        return row.address

    async def reach(self, peer: EndpointId) -> PeerAddress:
        """Where to fetch from that peer. In a formation, a session with it is made sure of, or that it is
        listed and there; `PeerUnavailable` otherwise.
        """
        row = self._known.get(peer)
        if row is None or not self.may_dial(peer):
            raise PeerUnavailable(f"peer {peer.short} is not known here, or kept out")
        if self._has_formation and peer not in self._sessions:
            failure = await self._dialler.dial(peer)
            serves_blobs = failure is not None and _says_no(failure) and self._admissions.is_listed(peer)
            if failure is not None and peer not in self._sessions and not serves_blobs:
                raise PeerUnavailable(str(failure))
        connection = self._sessions.connection(peer)
        here = connection.remote_addresses if connection is not None else ()
        addresses = tuple(dict.fromkeys((*here, *row.addresses)))
        if not addresses:
            raise PeerUnavailable(f"no address is known for peer {peer.short}")
        return PeerAddress(peer, addresses)

    def seek(self, peers: Iterable[EndpointId]) -> None:
        """Those from whom something is wanted and that there is no session with: each is looked for, and
        dialled as soon as it is back. Those of the call before are not any more.
        """
        if self._seeking is not None:
            rows = (self._known.get(peer) for peer in peers if self.may_dial(peer))
            self._seeking.seek(row.address for row in rows if row is not None)

    def list(self) -> list[PeerInfo]:
        """All that are known, but for those that were disconnected on purpose."""
        return [self._info(row) for row in self._known]

    def missing(self) -> tuple[EndpointId, ...]:
        """Those that are to be connected and are not. Not those that only records tell of, and where they
        are: a formation may be large.
        """
        return tuple(
            row.endpoint_id
            for row in self._known
            if row.is_close
            and not self._admissions.is_shut_out(row.endpoint_id)
            and not self._open(row.endpoint_id)
        )

    @property
    def connected(self) -> int:
        """How many of them a connection is open to."""
        return sum(bool(self._open(row.endpoint_id)) for row in self._known)

    # ---- sessions

    def sessions(self) -> frozenset[EndpointId]:
        """The members that there is a session with."""
        return self._sessions.peers()

    def subscribe(self, listener: Callable[[EndpointId, bool], None]) -> Callable[[], None]:
        """Told of each member whose session begins (True) or ends (False). What it gives ends it."""
        return self._sessions.subscribe(listener)

    @property
    def handshakes(self) -> Handshakes:
        """How inbound ones ended, since the start."""
        return self._members.half_open.counts

    @property
    def half_open(self) -> int:
        """Inbound handshakes under way."""
        return len(self._members.half_open)

    @property
    def refused_handshakes(self) -> int:
        """Of peers without the key, that said something else, or are not wanted."""
        return self.handshakes.refused + self.handshakes.malformed

    # ---- the loop

    async def run(self, endpoint: Endpoint, pool: Pool, provider: Provider) -> None:
        """Takes in connections and has them served, and keeps a session with every peer that has an address,
        until the endpoint is closed.
        """
        self._endpoint, self._pool = endpoint, pool
        self._seeking = Seeking(pool.returns, self._dialler.dial, sleep=self._sleep)
        pool.ask_before_dialling(self.may_dial)
        self._known.drop(endpoint.id)  # one list of peers may be the same on all nodes
        async with asyncio.TaskGroup() as tasks:
            self._members.start(endpoint, tasks)
            self._dialler.start()
            try:
                for row in self._known:
                    self._keep(row.endpoint_id)
                while (connection := await endpoint.accept()) is not None:
                    tasks.create_task(self._take_in(connection, provider), name="serve a peer")
            finally:
                await self.stop_dialling()

    async def stop_dialling(self) -> None:
        """Nobody is dialled any more; those who are connected stay."""
        if self._seeking is not None:
            await self._seeking.close()
        await self._dialler.stop()

    async def _take_in(self, connection: Connection, provider: Provider) -> None:
        peer = connection.remote_id
        if not self.admits(peer, connection.alpn):  # it was shut out after QUIC's handshake
            connection.close(ErrorCode.PERMISSION, b"permission")
            return
        self._heard(peer)
        try:
            if connection.alpn == MESH_ALPN:
                await self._members.accept(connection, known=peer in self._known)
                return
            with self._inbound.holding(connection):
                _log.info("a peer has connected", peer=str(peer), addresses=connection.remote_addresses)
                await provider.serve(connection)
            _log.info("a peer has left", peer=str(peer))
        except Exception:  # noqa: BLE001 - the edge of the connection's task
            _log.exception("a connection could not be served", peer=str(peer))
            connection.close(ErrorCode.INTERNAL, b"internal")

    async def _dial(self, peer: EndpointId) -> PeatError | None:
        """One try to have a session; why it failed."""
        row = self._known.get(peer)
        if row is None or not row.addresses:
            return PeerUnavailable(f"no address is known for peer {peer.short}")
        if not self.admits(peer, MESH_ALPN):
            return Refused(f"peer {peer.short} is kept out here: it is banned, or not on the roster")
        failure: PeatError | None
        try:
            failure = await self._members.dial(row.address)
        except Exception as error:  # noqa: BLE001 - the edge of the dial's task
            _log.exception("a dial fails", peer=str(peer))
            failure = PeerUnavailable(f"dialling peer {peer.short} failed: {error}")
        if failure is not None and peer not in self._sessions:
            row.last_error, row.refuses = str(failure), not _is_absent(failure)
            _log.info("no session with a peer", peer=str(peer), why=str(failure))
            if not row.is_named and self._clock() - row.heard_at > FORGET_SECONDS:
                self._forget(peer)
        return failure

    # ---- what becomes of a peer

    def _list(self, peer: PeerAddress, source: Source) -> None:
        """From the settings, or remembered."""
        id = peer.endpoint_id
        if source == "allowed":
            self._admissions.list_peer(id)
        if self._admissions.is_disconnected(id):
            _log.warning("a peer was disconnected by a call, and is until a call connects it", peer=str(id))
            return
        self._admissions.name_peer(id)
        self._known.name(peer, source)

    def _admit(self, connection: Connection, inbound: bool) -> None:
        """The peer has proven the key; `Refused` when it is not to join all the same."""
        peer = connection.remote_id
        if not self.admits(peer, MESH_ALPN):
            raise Refused(f"peer {peer.short} is banned, disconnected, or not on the roster")
        self._admissions.welcome(peer)
        if inbound:
            self._learn(PeerAddress(peer, connection.remote_addresses), "inbound")
        if (row := self._known.get(peer)) is not None:
            row.last_error, row.refuses, row.heard_at = "", False, self._clock()

    def _session_changed(self, peer: EndpointId, began: bool) -> None:
        """From its first session on a peer is dialled when it is gone; before that it is here already."""
        if began:
            self._keep(peer)
            self._heard(peer)
        self._dialler.changed(peer)

    def _heard(self, peer: EndpointId) -> None:
        """Whoever waits for it need not any more."""
        if self._pool is not None:
            self._pool.returns.heard(peer)

    def _learn(self, peer: PeerAddress, source: Source) -> bool:
        if peer.endpoint_id not in self._known and self._known.is_full:
            idle = (each for each in self._known.forgettable() if each not in self._sessions)
            if (oldest := next(idle, None)) is not None:
                self._forget(oldest)
        return self._known.learn(peer, source, self._clock())

    def _keep(self, peer: EndpointId) -> None:
        """Has it dialled from now on, where there is a point."""
        row = self._known.get(peer)
        if row is not None and row.is_close and row.addresses and self.admits(peer, MESH_ALPN):
            self._dialler.keep(peer)

    def _forget(self, peer: EndpointId) -> None:
        self._known.drop(peer)
        self._dialler.release(peer)

    def _shut_out(self, peer: EndpointId) -> None:
        self._dialler.release(peer)
        self._members.close(peer)
        self._inbound.close(peer, ErrorCode.PERMISSION, b"permission")
        if self._pool is not None:
            self._pool.close_peer(peer, ErrorCode.PERMISSION, b"permission")

    def _is_own(self, peer: EndpointId) -> bool:
        return self._endpoint is not None and peer == self._endpoint.id

    async def _reason_not_reached(self, row: KnownPeer) -> str:
        """Dials; empty when it was reached. `ConfigError` when it never can be."""
        peer = row.endpoint_id
        if self._has_formation and self.admits(peer, MESH_ALPN):
            joined = self._dialler.is_dialling(peer)
            failure = await self._dialler.dial(peer)
            if joined and failure is not None:  # that one may not have known of the new address
                failure = await self._dialler.dial(peer)
            if isinstance(failure, ConfigError):
                raise failure
            if not isinstance(failure, NotSpoken):
                return "" if failure is None or peer in self._sessions else str(failure)
        if self._pool is not None:
            try:
                await self._pool.connection(row.address, ALPN)
            except PeerUnavailable as error:
                return str(error)
        return ""

    def _open(self, peer: EndpointId) -> tuple[Connection, ...]:
        found = (
            *self._inbound.of(peer),
            self._sessions.connection(peer),
            self._pool.find(peer, ALPN) if self._pool is not None else None,
        )
        return tuple(each for each in found if each is not None and not each.is_closed)

    def _info(self, row: KnownPeer) -> PeerInfo:
        peer = row.endpoint_id
        return PeerInfo.of(
            row,
            self._open(peer),
            member=self._admissions.is_member(peer),
            banned=self._admissions.is_banned(peer),
            next_dial_seconds=self._dialler.next_dial_seconds(peer),
        )


def _says_no(failure: PeatError) -> bool:
    """It is there, and will not have a session for now."""
    return isinstance(failure, Refused | NotSpoken)


def _is_absent(failure: PeatError) -> bool:
    """It may be there at any moment."""
    return isinstance(failure, PeerUnavailable) and not isinstance(failure, NotSpoken)
