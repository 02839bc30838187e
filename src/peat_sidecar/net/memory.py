"""A network inside one event loop, with the same interfaces and traps as the real one, for tests.

What a test may do to it: stop and resume the flow from one endpoint to another, break connections, make an
endpoint vanish without a word, and read how many bytes went each way. What it leaves out: loss, rates and
delays.
"""

import asyncio
import itertools
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from peat_sidecar.errors import PeatError, PeerUnavailable
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.net.failures import PERMISSION_CODE, ConnectionClosed, NotSpoken, closed_by_peer
from peat_sidecar.net.interfaces import DATAGRAM_BYTES, ConnectionStats
from peat_sidecar.net.memory_pipe import MemoryReceive, MemorySend, Pipe
from peat_sidecar.net.streams import WatchedStream

MAX_STREAMS = 100
# QUIC tells the peer of new room not for each stream that ended, but for an eighth of the limit.
CREDIT_BATCH = 13
_Halves = tuple[MemorySend, MemoryReceive]


class MemoryNetwork:
    """All endpoints of one test."""

    def __init__(self) -> None:
        self.sent_bytes: Counter[tuple[EndpointId, EndpointId]] = Counter()
        """Stream bytes that arrived, by sender and receiver."""
        self._endpoints: dict[str, MemoryEndpoint] = {}
        self._sessions: weakref.WeakSet[_Session] = weakref.WeakSet()
        self._stalled: set[tuple[EndpointId, EndpointId]] = set()
        self._killed: set[EndpointId] = set()
        self._numbers = itertools.count(1)

    def endpoint(
        self,
        id: EndpointId,
        *,
        alpns: Iterable[bytes] = (b"/iroh-bytes/4",),
        stall_seconds: float | None = 5.0,
        connect_timeout_seconds: float = 10.0,
        admit: Callable[[EndpointId, bytes], bool] = lambda *_: True,
    ) -> "MemoryEndpoint":
        """A new endpoint; an id that was killed or closed may come back."""
        self._killed.discard(id)
        number = next(self._numbers)
        address = f"127.0.{number >> 8}.{number & 255}:4433"
        endpoint = MemoryEndpoint(
            self,
            id,
            address,
            alpns=frozenset(alpns),
            stall_seconds=stall_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            admit=admit,
        )
        self._endpoints[address] = endpoint
        return endpoint

    def stall(self, sender: EndpointId, receiver: EndpointId) -> None:
        """Nothing more arrives that way, not even an end or a close."""
        self._stalled.add((sender, receiver))

    def resume(self, sender: EndpointId, receiver: EndpointId) -> None:
        self._stalled.discard((sender, receiver))
        for session in list(self._sessions):
            session.pump()

    def cut(self, one: EndpointId, other: EndpointId) -> None:
        """Breaks all connections between the two; both learn of it."""
        for session in list(self._sessions):
            if {session.dialer, session.acceptor} == {one, other}:
                for side, far in ((one, other), (other, one)):
                    text = f"the connection to peer {far.short} broke"
                    session.end(side, partial(ConnectionClosed, text), text)

    def kill(self, id: EndpointId) -> None:
        """The endpoint vanishes: its peers hear nothing more, its own waits end."""
        self._killed.add(id)
        for endpoint in [each for each in self._endpoints.values() if each.id == id]:
            del self._endpoints[endpoint.address]
            endpoint.vanish()
        for session in list(self._sessions):
            if id in (session.dialer, session.acceptor):
                session.end(id, partial(ConnectionClosed, "this endpoint was killed"), "killed")

    def flows(self, sender: EndpointId, receiver: EndpointId) -> bool:
        dead = sender in self._killed or receiver in self._killed
        return not dead and (sender, receiver) not in self._stalled

    def find(self, peer: PeerAddress) -> "MemoryEndpoint | None":
        for address in peer.addresses:
            endpoint = self._endpoints.get(address)
            if endpoint is not None and endpoint.id == peer.endpoint_id:
                return endpoint
        return None

    def forget(self, endpoint: "MemoryEndpoint") -> None:
        self._endpoints.pop(endpoint.address, None)

    def session(self, dialer: EndpointId, acceptor: EndpointId) -> "_Session":
        session = _Session(self, dialer, acceptor)
        self._sessions.add(session)
        return session


class _Session:
    """What the two ends of one connection share."""

    def __init__(self, network: MemoryNetwork, dialer: EndpointId, acceptor: EndpointId) -> None:
        self.network = network
        self.dialer = dialer
        self.acceptor = acceptor
        self.moved: Counter[EndpointId] = Counter()
        """Bytes that arrived, by sender."""
        self.credits = {side: asyncio.Semaphore(MAX_STREAMS) for side in (dialer, acceptor)}
        self.incoming: dict[EndpointId, asyncio.Queue[_Halves | None]] = {
            side: asyncio.Queue() for side in (dialer, acceptor)
        }
        self.datagrams: dict[EndpointId, asyncio.Queue[bytes | None]] = {
            side: asyncio.Queue() for side in (dialer, acceptor)
        }
        self.ended: dict[EndpointId, asyncio.Future[str]] = {
            side: asyncio.get_running_loop().create_future() for side in (dialer, acceptor)
        }
        self.failures: dict[EndpointId, Callable[[], PeatError]] = {}
        self._pipes: set[Pipe] = set()
        self._unreturned: Counter[EndpointId] = Counter()

    def other(self, side: EndpointId) -> EndpointId:
        return self.acceptor if side == self.dialer else self.dialer

    def pipe(
        self, sender: EndpointId, on_arrival: Callable[[int], None], on_over: Callable[[], None]
    ) -> Pipe:
        receiver = self.other(sender)

        def arrived(length: int) -> None:
            self.moved[sender] += length
            self.network.sent_bytes[sender, receiver] += length
            on_arrival(length)

        def over() -> None:
            self._pipes.discard(pipe)
            on_over()

        flows = partial(self.network.flows, sender, receiver)
        pipe = Pipe(sender, receiver, flows=flows, on_arrival=arrived, on_over=over)
        self._pipes.add(pipe)
        return pipe

    def return_credit(self, side: EndpointId) -> None:
        """A stream that this side opened is over."""
        self._unreturned[side] += 1
        if self._unreturned[side] >= CREDIT_BATCH:
            for _ in range(self._unreturned.pop(side)):
                self.credits[side].release()

    def end(self, side: EndpointId, error: Callable[[], PeatError], text: str) -> None:
        """The connection is over for one side."""
        if self.ended[side].done():
            return
        self.failures[side] = error
        self.ended[side].set_result(text)
        self.incoming[side].put_nowait(None)
        self.datagrams[side].put_nowait(None)
        for pipe in list(self._pipes):
            pipe.lose(side, error)

    def pump(self) -> None:
        for pipe in list(self._pipes):
            pipe.pump()


class MemoryConnection:
    """`Connection` of the twin: one end of a session."""

    def __init__(
        self,
        session: _Session,
        local: EndpointId,
        alpn: bytes,
        *,
        stall_seconds: float | None,
        open_seconds: float,
        remote_address: str,
    ) -> None:
        self.remote_id = session.other(local)
        self.alpn = alpn
        self.remote_addresses: tuple[str, ...] = (remote_address,)
        self._session = session
        self._local = local
        self._stall_seconds = stall_seconds
        self._open_seconds = open_seconds

    @property
    def is_closed(self) -> bool:
        return self._session.ended[self._local].done()

    async def open_stream(self) -> WatchedStream:
        session = self._session
        credits = session.credits[self._local]
        if not self.is_closed:
            try:
                async with asyncio.timeout(self._open_seconds):
                    await credits.acquire()
            except TimeoutError:
                raise PeerUnavailable(
                    f"peer {self.remote_id.short} allowed no further stream for {self._open_seconds:g} s"
                ) from None
        if self.is_closed:
            raise session.failures[self._local]()
        pipes: list[Pipe] = []
        shown = False

        def show(_: int) -> None:
            nonlocal shown
            if not shown and not session.ended[self.remote_id].done():
                shown = True
                session.incoming[self.remote_id].put_nowait((MemorySend(back), MemoryReceive(forth)))

        def settle() -> None:
            if all(pipe.is_over for pipe in pipes):
                session.return_credit(self._local)

        forth = session.pipe(self._local, show, settle)
        back = session.pipe(self.remote_id, lambda _: None, settle)
        pipes += [forth, back]
        return self._stream((MemorySend(forth), MemoryReceive(back)))

    async def accept_stream(self) -> WatchedStream | None:
        queue = self._session.incoming[self._local]
        if self.is_closed:
            return None
        halves = await queue.get()
        if halves is None:
            queue.put_nowait(None)  # for whoever else waits
            return None
        return self._stream(halves)

    def send_datagram(self, data: bytes) -> None:
        session, far = self._session, self.remote_id
        flows = session.network.flows(self._local, far) and not session.ended[far].done()
        if len(data) <= DATAGRAM_BYTES and flows and not self.is_closed:
            session.moved[self._local] += len(data)
            session.datagrams[far].put_nowait(data)

    async def receive_datagram(self) -> bytes | None:
        queue = self._session.datagrams[self._local]
        data = await queue.get()
        if data is None:
            queue.put_nowait(None)  # for whoever else waits
        return data

    def close(self, code: int = 0, reason: bytes = b"") -> None:
        session, far = self._session, self.remote_id
        heard = session.network.flows(self._local, far)
        here = f"the connection to peer {far.short} was closed here"
        session.end(self._local, partial(ConnectionClosed, here), "closed")
        if heard:
            text = f"closed by peer: {reason.decode(errors='replace')} (code {code})"
            session.end(
                far, partial(closed_by_peer, self._local, code, reason.decode(errors="replace")), text
            )

    async def closed(self) -> str:
        return await asyncio.shield(self._session.ended[self._local])

    def stats(self) -> ConnectionStats:
        sent, received = self._traffic()
        return ConnectionStats(0.0, sent, received, 0, 0, lost_packets=0, lost_bytes=0)

    def _stream(self, halves: _Halves) -> WatchedStream:
        return WatchedStream(
            *halves, remote_id=self.remote_id, stall_seconds=self._stall_seconds, traffic=self._traffic
        )

    def _traffic(self) -> tuple[int, int]:
        moved = self._session.moved
        return moved[self._local], moved[self.remote_id]


class MemoryEndpoint:
    """`Endpoint` of the twin; `MemoryNetwork.endpoint` makes it."""

    def __init__(
        self,
        network: MemoryNetwork,
        id: EndpointId,
        address: str,
        *,
        alpns: frozenset[bytes],
        stall_seconds: float | None,
        connect_timeout_seconds: float,
        admit: Callable[[EndpointId, bytes], bool],
    ) -> None:
        self.id = id
        self.address = address
        self._network = network
        self._alpns = alpns
        self._stall_seconds = stall_seconds
        self._connect_seconds = connect_timeout_seconds
        self._admit = admit
        self._admitted: asyncio.Queue[MemoryConnection | None] = asyncio.Queue()
        self._connections: weakref.WeakSet[MemoryConnection] = weakref.WeakSet()
        self._closed = False

    def addresses(self) -> tuple[str, ...]:
        return () if self._closed else (self.address,)

    async def connect(self, peer: PeerAddress, alpn: bytes) -> MemoryConnection:
        name = peer.endpoint_id.short
        if peer.endpoint_id == self.id:
            raise PeerUnavailable("a node cannot dial itself; check the peer's id")
        if self._closed:
            raise PeerUnavailable(f"peer {name} cannot be dialled: this endpoint is closed")
        if not peer.addresses:
            raise PeerUnavailable(
                f"peer {name} cannot be dialled: no address is known for it; name it as ID@host:port"
            )
        far = self._network.find(peer)
        both_ways = self._network.flows(self.id, peer.endpoint_id) and self._network.flows(
            peer.endpoint_id, self.id
        )
        if far is None or not both_ways:
            await asyncio.sleep(self._connect_seconds)
            raise PeerUnavailable(
                f"peer {name} did not answer at {', '.join(peer.addresses)} within"
                f" {self._connect_seconds:g} s; check that it runs, that id and address are its own, and that"
                " UDP gets through"
            )
        await asyncio.sleep(0)
        if alpn not in far._alpns:
            raise NotSpoken(f"peer {name} cannot be dialled: it does not speak {alpn.decode()}")
        session = self._network.session(self.id, far.id)
        connection = self._end(session, self, alpn, far.address)
        far._answer(self._end(session, far, alpn, self.address))
        return connection

    async def answers(self, peer: PeerAddress, seconds: float) -> bool:
        far = None if self._closed else self._network.find(peer)
        if far is not None and self._network.flows(self.id, far.id) and self._network.flows(far.id, self.id):
            return True
        await asyncio.sleep(seconds)
        return False

    async def accept(self) -> MemoryConnection | None:
        connection = await self._admitted.get()
        if connection is None:
            self._admitted.put_nowait(None)
        return connection

    async def close(self) -> None:
        if self._closed:
            return
        self._network.forget(self)
        for connection in list(self._connections):
            connection.close()
        self.vanish()

    def vanish(self) -> None:
        """Without a word to anyone."""
        self._closed = True
        while not self._admitted.empty():
            self._admitted.get_nowait()
        self._admitted.put_nowait(None)

    def _answer(self, connection: MemoryConnection) -> None:
        if self._admit(connection.remote_id, connection.alpn):
            self._admitted.put_nowait(connection)
        else:
            connection.close(PERMISSION_CODE, b"permission")

    @staticmethod
    def _end(
        session: _Session, endpoint: "MemoryEndpoint", alpn: bytes, remote_address: str
    ) -> MemoryConnection:
        connection = MemoryConnection(
            session,
            endpoint.id,
            alpn,
            stall_seconds=endpoint._stall_seconds,
            open_seconds=endpoint._connect_seconds,
            remote_address=remote_address,
        )
        endpoint._connections.add(connection)
        return connection
