"""What the floors above may ask of a transport. Iroh and its memory twin both give it; one suite checks both.

Every wait ends: reads and writes by the stall time, dialling and opening by the connect time; `accept`,
`accept_stream` and `closed` end with the endpoint or the connection.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from peat_sidecar.ids import EndpointId, PeerAddress

HEADER_BYTES = 28
"""Of IPv4 and UDP, before each datagram."""
DATAGRAM_BYTES = 1100
"""Of QUIC: what one packet of any path takes beside its own fields."""


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """Counters of one connection, as they stand now."""

    rtt_seconds: float | None
    """Round trip on the path in use; None when there is none."""
    sent_bytes: int
    """UDP payload sent, repetitions included."""
    received_bytes: int
    sent_datagrams: int
    received_datagrams: int
    lost_packets: int
    lost_bytes: int

    @property
    def sent_on_wire(self) -> int:
        """With the headers of IPv4 and UDP."""
        return self.sent_bytes + HEADER_BYTES * self.sent_datagrams

    @property
    def received_on_wire(self) -> int:
        """With the headers of IPv4 and UDP."""
        return self.received_bytes + HEADER_BYTES * self.received_datagrams


class Stream(Protocol):
    """Both directions of one QUIC stream. One reader and one writer at a time."""

    stall_seconds: float | None
    """Longest silence that is borne; None (for subscriptions) leaves it to the connection's own 35 s."""
    heard: Callable[[int], None] | None
    """Told of all bytes that come, as they come."""

    @property
    def remote_id(self) -> EndpointId: ...
    async def read(self, limit: int) -> bytes:
        """1 to `limit` bytes, as soon as there are some; b"" at the end."""
        ...

    async def read_exact(self, length: int) -> bytes:
        """`StreamEnded` when it ends early."""
        ...

    async def read_to_end(self, limit: int) -> bytes:
        """`RemoteProtocolError` past the limit."""
        ...

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Returns when all is handed over. `StreamStopped` when the peer wants no more."""
        ...

    async def finish(self) -> None:
        """Nothing more will be written. Does not wait for the peer."""
        ...

    async def drained(self) -> None:
        """After `finish`: returns when the peer has all bytes, or has stopped the stream.

        A connection that is closed earlier cuts off the tail."""
        ...

    async def stopped(self) -> None:
        """Returns when the peer wants no more of what is written here, or is gone; writes go on."""
        ...

    async def reset(self, code: int) -> None:
        """Gives up writing, a pending write too: the peer sees the code and loses what it has not read."""
        ...

    async def stop(self, code: int) -> None:
        """Gives up reading, a pending read too: the peer's writes fail with the code."""
        ...


class Connection(Protocol):
    """One connection to one peer, for one ALPN."""

    @property
    def remote_id(self) -> EndpointId: ...
    @property
    def alpn(self) -> bytes: ...
    @property
    def is_closed(self) -> bool: ...
    @property
    def remote_addresses(self) -> tuple[str, ...]:
        """Socket addresses of the open paths, the one in use first."""
        ...

    async def open_stream(self) -> Stream:
        """The peer learns of it with the first byte written here, or on a later stream.

        At most 100 are open at once; the next one waits, for the connect time, until 13 have ended on both
        sides.
        """
        ...

    async def accept_stream(self) -> Stream | None:
        """The next one that the peer opened; None when the connection is closed."""
        ...

    def send_datagram(self, data: bytes) -> None:
        """One packet of at most `DATAGRAM_BYTES`, ahead of all streams. Whether it arrives is never known; to
        a peer that is gone or takes none it does not.
        """
        ...

    async def receive_datagram(self) -> bytes | None:
        """The next one from the peer; None when the connection is closed."""
        ...

    def close(self, code: int = 0, reason: bytes = b"") -> None:
        """At once; see `Stream.drained`."""
        ...

    async def closed(self) -> str:
        """Waits for the close, by whichever side; says why."""
        ...

    def stats(self) -> ConnectionStats: ...


class Endpoint(Protocol):
    """This node on the network."""

    @property
    def id(self) -> EndpointId: ...
    def addresses(self) -> tuple[str, ...]:
        """Where peers can dial this endpoint, as `host:port`."""
        ...

    async def connect(self, peer: PeerAddress, alpn: bytes) -> Connection:
        """`PeerUnavailable` within the connect time."""
        ...

    async def answers(self, peer: PeerAddress, seconds: float) -> bool:
        """Whether it answers at one of its addresses, asked with one small datagram for each. It is waited
        for that long; False says little of a peer behind an address translation.
        """
        ...

    async def accept(self) -> Connection | None:
        """The next admitted connection; None when the endpoint is closed."""
        ...

    async def close(self) -> None:
        """Closes all connections; nothing of the endpoint is left behind."""
        ...
