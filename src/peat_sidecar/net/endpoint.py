"""The endpoint on Iroh: QUIC connections dialled by public key, to named addresses only.

The minimal preset with relays off contacts no relay and no lookup service. One thing beside peers remains,
and the bindings have no switch for it: at its start Iroh asks the local network for a router that maps ports
(one UPnP multicast to 239.255.255.250:1900, whatever was bound; iroh issue 2871). Where that is unwanted,
drop it at the host's firewall; nothing here depends on an answer.

Who may connect, and with which ALPN, is asked right after the handshake, before a stream can be opened;
handshakes are bounded in number and time, so that a flood of half-open ones neither fills the memory nor
keeps others out for long.

Iroh listens on every interface for an IP version that no address was named for. An endpoint asked to listen
on 127.0.0.1 must not be reachable over IPv6, so the other version is bound to its own loopback.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Self

from iroh import iroh_ffi

from peat_sidecar.errors import ConfigError, PeerUnavailable
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.net import addresses, probe
from peat_sidecar.net.advertised import Advertised
from peat_sidecar.net.bindings import IrohReceive, IrohSend, plain, translate
from peat_sidecar.net.failures import LIMIT_CODE, PERMISSION_CODE, ConnectionClosed, NotSpoken
from peat_sidecar.net.interfaces import ConnectionStats
from peat_sidecar.net.streams import WatchedStream

HANDSHAKE_SECONDS = 10.0
MAX_HANDSHAKES = 64
# Above this many at once, a dialler first has to show that it receives at the address it sends from.
VALIDATE_ABOVE = 16
MAX_CONNECTIONS_PER_PEER = 32
"""Inbound: each may make this side hold up to 100 streams with 1.25 MB unread."""
MAX_WAITING = 64
SWEEP_AT = 256
"""Inbound peers from which on those that have left are looked for."""
LOG_EVERY_SECONDS = 60.0
# TLS alert 120, no_application_protocol (RFC 7301).
_UNKNOWN_ALPN = "error 120: "
_LOOPBACK = {4: "127.0.0.1:0", 6: "[::1]:0"}

_log = logging.getLogger(__name__)


class IrohConnection:
    """`Connection` on Iroh."""

    def __init__(
        self, inner: iroh_ffi.Connection, *, stall_seconds: float | None, open_seconds: float
    ) -> None:
        self._inner = inner
        self._stall_seconds = stall_seconds
        self._open_seconds = open_seconds
        self.remote_id = EndpointId(inner.remote_id().to_bytes())
        self.alpn = inner.alpn()

    @property
    def is_closed(self) -> bool:
        return self._inner.close_reason() is not None

    @property
    def remote_addresses(self) -> tuple[str, ...]:
        paths = sorted(self._inner.paths(), key=lambda path: not path.is_selected)
        return tuple(path.remote_addr for path in paths)

    async def open_stream(self) -> WatchedStream:
        try:
            async with asyncio.timeout(self._open_seconds):
                return self._stream(await self._inner.open_bi())
        except iroh_ffi.IrohError as error:
            raise translate(error, self.remote_id) from None
        except TimeoutError:
            raise PeerUnavailable(
                f"peer {self.remote_id.short} allowed no further stream for {self._open_seconds:g} s"
            ) from None

    async def accept_stream(self) -> WatchedStream | None:
        try:
            return self._stream(await self._inner.accept_bi())
        except iroh_ffi.IrohError:
            return None

    def send_datagram(self, data: bytes) -> None:
        with contextlib.suppress(iroh_ffi.IrohError):
            self._inner.send_datagram(data)

    async def receive_datagram(self) -> bytes | None:
        try:
            return await self._inner.read_datagram()
        except iroh_ffi.IrohError:
            return None

    def close(self, code: int = 0, reason: bytes = b"") -> None:
        self._inner.close(code, reason)

    async def closed(self) -> str:
        return await self._inner.closed()

    def stats(self) -> ConnectionStats:
        rtt_milliseconds = self._inner.rtt()
        inner = self._inner.stats()
        return ConnectionStats(
            rtt_seconds=None if rtt_milliseconds is None else rtt_milliseconds / 1000,
            sent_bytes=inner.udp_tx_bytes,
            received_bytes=inner.udp_rx_bytes,
            sent_datagrams=inner.udp_tx_datagrams,
            received_datagrams=inner.udp_rx_datagrams,
            lost_packets=inner.lost_packets,
            lost_bytes=inner.lost_bytes,
        )

    def _stream(self, inner: iroh_ffi.BiStream) -> WatchedStream:
        return WatchedStream(
            IrohSend(inner.send(), self.remote_id),
            IrohReceive(inner.recv(), self.remote_id),
            remote_id=self.remote_id,
            stall_seconds=self._stall_seconds,
            traffic=self._traffic,
        )

    def _traffic(self) -> tuple[int, int]:
        inner = self._inner.stats()
        return inner.udp_tx_bytes, inner.udp_rx_bytes


class IrohEndpoint:
    """`Endpoint` on Iroh. One event loop for its whole life."""

    def __init__(
        self,
        inner: iroh_ffi.Endpoint,
        asked: dict[int, str],
        told: list[Advertised],
        *,
        stall_seconds: float | None,
        connect_timeout_seconds: float,
        admit: Callable[[EndpointId, bytes], bool],
    ) -> None:
        """Use `bind`."""
        self._inner = inner
        self._asked = asked
        self._told = told
        self._stall_seconds = stall_seconds
        self._connect_seconds = connect_timeout_seconds
        self._admit = admit
        self.id = EndpointId(inner.id().to_bytes())
        self._admitted: asyncio.Queue[IrohConnection | None] = asyncio.Queue()
        self._inbound: dict[EndpointId, list[IrohConnection]] = {}
        self._sweep_at = SWEEP_AT
        self._refusals: dict[str, tuple[float, int]] = {}
        """Why -> when it was said last, and how often it was not since."""
        self._handshakes: set[asyncio.Task[None]] = set()
        self.on_connection: Callable[[IrohConnection], object] = lambda _: None
        """Told of each one, of either side."""
        self._closing = False
        self._listener = asyncio.create_task(self._listen(), name="listen for peers")

    @classmethod
    async def bind(
        cls,
        secret_key: bytes,
        *,
        bind_addresses: tuple[str, ...],
        alpns: Iterable[bytes],
        advertise: tuple[str, ...] = (),
        stall_seconds: float | None = 5.0,
        connect_timeout_seconds: float = 10.0,
        admit: Callable[[EndpointId, bytes], bool],
    ) -> Self:
        """Listens on at most one IPv4 and one IPv6 address; port 0 takes a free one.

        `advertise` is what peers are told instead of the interfaces' addresses: `host:port`, or a host alone
        for the port that is bound. `ConfigError` when an address is none, or is taken.
        """
        told = list(map(Advertised.parse, advertise))
        iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())  # type: ignore[arg-type]
        asked = addresses.bind_plan(bind_addresses)
        try:
            inner = await _bind(secret_key, _LOOPBACK | asked, alpns)
        except iroh_ffi.IrohError:
            # A machine without one of the two IP versions has no loopback of it either.
            try:
                inner = await _bind(secret_key, asked, alpns)
            except iroh_ffi.IrohError:
                raise ConfigError(addresses.why_not_bound(asked)) from None
        return cls(
            inner,
            asked,
            told,
            stall_seconds=stall_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            admit=admit,
        )

    def addresses(self) -> tuple[str, ...]:
        """What is advertised; if nothing is, the interfaces' own."""
        if self._closing or not self._told:
            return self.interface_addresses()
        bound = [each for each in self._inner.bound_sockets() if (6 if "[" in each else 4) in self._asked]
        return tuple(dict.fromkeys(each.at(bound) for each in self._told))

    def interface_addresses(self) -> tuple[str, ...]:
        """Where this machine's own interfaces are dialled, as they are now."""
        if self._closing:
            return ()
        known = self._inner.addr().direct_addresses()
        return addresses.reachable(self._inner.bound_sockets(), self._asked, known)

    async def connect(self, peer: PeerAddress, alpn: bytes) -> IrohConnection:
        name = peer.endpoint_id.short
        if peer.endpoint_id == self.id:
            raise PeerUnavailable("a node cannot dial itself; check the peer's id")
        if self._closing:
            raise PeerUnavailable(f"peer {name} cannot be dialled: this endpoint is closed")
        try:
            async with asyncio.timeout(self._connect_seconds):
                found = await addresses.resolve(peer.addresses)
                return self._connection(await self._inner.connect(_target(peer.endpoint_id, found), alpn))
        except TimeoutError:
            where = ", ".join(peer.addresses) or "its last address"
            raise PeerUnavailable(
                f"peer {name} did not answer at {where} within {self._connect_seconds:g} s;"
                " check that it runs, that id and address are its own, and that UDP gets through"
            ) from None
        except iroh_ffi.IrohError as error:
            text = plain(error.message())
            if "No addressing information" in text:
                text = "no address is known for it; name it as ID@host:port"
            elif _UNKNOWN_ALPN in text:
                raise NotSpoken(
                    f"peer {name} cannot be dialled: it does not speak {alpn.decode(errors='replace')}"
                ) from None
            elif isinstance(closed := translate(error, peer.endpoint_id), ConnectionClosed):
                raise closed from None
            raise PeerUnavailable(f"peer {name} cannot be dialled: {text}") from None

    async def answers(self, peer: PeerAddress, seconds: float) -> bool:
        found: list[str] = []
        if not self._closing:
            with contextlib.suppress(PeerUnavailable):
                found = await addresses.resolve(peer.addresses)
        bound = {version: addresses.split(address)[0] for version, address in self._asked.items()}
        return await probe.answers(found, bound, seconds)

    async def accept(self) -> IrohConnection | None:
        if self._closing and self._admitted.empty():
            return None
        connection = await self._admitted.get()
        if connection is None:
            self._admitted.put_nowait(None)  # for whoever else waits
        return connection

    async def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        # Up to 3 s when a peer is dialled or gone: Iroh waits for the answer to its goodbye.
        await self._inner.close()
        await self._listener
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)
        while not self._admitted.empty():
            self._admitted.get_nowait()
        self._admitted.put_nowait(None)
        self._inbound.clear()
        # The sockets go with the last handle: this one, and those of connections that somebody still holds.
        del self._inner

    def _connection(self, inner: iroh_ffi.Connection) -> IrohConnection:
        made = IrohConnection(inner, stall_seconds=self._stall_seconds, open_seconds=self._connect_seconds)
        self.on_connection(made)
        return made

    async def _listen(self) -> None:
        while (incoming := await self._inner.accept_next()) is not None:
            # A failure here is that of one dialler's packet, which is dropped.
            with contextlib.suppress(iroh_ffi.IrohError):
                await self._begin(incoming)

    async def _begin(self, incoming: iroh_ffi.Incoming) -> None:
        if self._closing:
            await incoming.ignore()
        elif len(self._handshakes) >= MAX_HANDSHAKES:
            await incoming.refuse()
        elif len(self._handshakes) >= VALIDATE_ABOVE and not await incoming.remote_addr_validated():
            await incoming.retry()
        else:
            task = asyncio.create_task(self._handshake(incoming), name="handshake")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _handshake(self, incoming: iroh_ffi.Incoming) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                inner = await (await incoming.accept()).connect()
        except (TimeoutError, iroh_ffi.IrohError) as error:
            _log.debug(
                "a handshake failed: %s", error if isinstance(error, TimeoutError) else plain(error.message())
            )
            return
        connection = self._connection(inner)
        if not self._admits(connection.remote_id, connection.alpn):
            self._report(logging.INFO, connection, "it is not allowed here")
            connection.close(PERMISSION_CODE, b"permission")
            return
        self._forget_the_gone()
        own = self._inbound.setdefault(connection.remote_id, [])
        own[:] = [other for other in own if not other.is_closed]
        if len(own) >= MAX_CONNECTIONS_PER_PEER or self._admitted.qsize() >= MAX_WAITING:
            self._report(logging.WARNING, connection, "too many connections")
            connection.close(LIMIT_CODE, b"limit")
            return
        own.append(connection)
        self._admitted.put_nowait(connection)

    def _report(self, level: int, connection: IrohConnection, why: str) -> None:
        """Now and then: whoever can send a packet must not fill the disk with lines."""
        now = asyncio.get_running_loop().time()
        said_at, passed_over = self._refusals.get(why, (-LOG_EVERY_SECONDS, 0))
        if now - said_at < LOG_EVERY_SECONDS:
            self._refusals[why] = (said_at, passed_over + 1)
            return
        self._refusals[why] = (now, 0)
        others = f", and {passed_over} times more since the last such line" if passed_over else ""
        _log.log(level, "refused peer %s: %s%s", connection.remote_id, why, others)

    def _forget_the_gone(self) -> None:
        """Where any id may connect, ids must cost nothing once they have left."""
        if len(self._inbound) < self._sweep_at:
            return
        for peer in [peer for peer, own in self._inbound.items() if all(each.is_closed for each in own)]:
            del self._inbound[peer]
        self._sweep_at = max(SWEEP_AT, 2 * len(self._inbound))

    def _admits(self, peer: EndpointId, alpn: bytes) -> bool:
        try:
            return self._admit(peer, alpn)
        except Exception:  # noqa: BLE001 - the edge of the handshake's task: a doubt is a no
            _log.exception("cannot decide about peer %s", peer)
            return False


async def _bind(secret_key: bytes, sockets: dict[int, str], alpns: Iterable[bytes]) -> iroh_ffi.Endpoint:
    builder = iroh_ffi.EndpointBuilder()  # type: ignore[no-untyped-call]
    builder.apply_minimal()
    builder.relay_mode(iroh_ffi.RelayMode.disabled())
    builder.secret_key(secret_key)
    builder.alpns(list(alpns))
    for address in sockets.values():
        builder.bind_addr(address)
    return await builder.bind()


def _target(peer: EndpointId, found: list[str]) -> iroh_ffi.EndpointAddr:
    try:
        key = iroh_ffi.EndpointId.from_bytes(peer.value)
    except iroh_ffi.IrohError:
        raise ConfigError(f"{peer} is no public key of a node; check the peer's id") from None
    return iroh_ffi.EndpointAddr(key, None, found)
