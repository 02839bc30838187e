"""Blob tickets: a peer, where to dial it, and what to fetch there, in one line of text.

`blob` and base32 of: 0, endpoint id, relay or none, addresses, format, hash. Other Iroh programs
read and write the same text. It comes from people, so what is no ticket is a `ConfigError`.
"""

from dataclasses import dataclass
from typing import Self

from peat_sidecar.errors import ConfigError, RemoteProtocolError
from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.wire import ticket_parts as parts
from peat_sidecar.wire.postcard import Reader, encode_text, encode_varint

_PREFIX = "blob"
# Version 4, four bytes, a port of one byte.
_SHORTEST_ADDRESS_BYTES = 6


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says."""

    endpoint_id: EndpointId
    """The peer."""
    addresses: tuple[str, ...]
    """Where to dial it: `a.b.c.d:port` or `[ipv6]:port`, sorted, each once; never names of hosts."""
    hash: BlobHash
    is_sequence: bool
    """Whether the hash names a hash sequence, and all of it is meant, or one blob."""
    relay_url: str | None = None
    """The relay that the peer can be reached through; this program uses none."""

    def __post_init__(self) -> None:
        known = sorted({parts.parse_address(text) for text in self.addresses}, key=parts.order)
        object.__setattr__(self, "addresses", tuple(map(parts.show_address, known)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the text, in any case."""
        plain = text.strip()
        try:
            return cls._parse_body(Reader(parts.decode_body(plain, _PREFIX)))
        except RemoteProtocolError as error:
            raise ConfigError(
                f"{parts.shortened(plain)!r} is no ticket for a blob ({error}); copy it again as a whole"
            ) from None

    @classmethod
    def _parse_body(cls, reader: Reader) -> Self:
        if reader.number() != 0:
            raise RemoteProtocolError("it is of a version that this program does not know")
        endpoint_id = EndpointId(reader.take(32))
        relay_url = parts.read_relay(reader) if reader.flag() else None
        addresses = [parts.read_address(reader) for _ in range(reader.count(_SHORTEST_ADDRESS_BYTES))]
        is_sequence = reader.number(1) == 1
        blob_hash = BlobHash(reader.take(32))
        return cls(endpoint_id, tuple(map(parts.show_address, addresses)), blob_hash, is_sequence, relay_url)

    def __str__(self) -> str:
        addresses = [parts.parse_address(text) for text in self.addresses]
        relay = b"\x00" if self.relay_url is None else b"\x01" + encode_text(self.relay_url)
        body = b"".join(
            [
                b"\x00" + self.endpoint_id.value + relay + encode_varint(len(addresses)),
                *map(parts.encode_address, addresses),
                encode_varint(self.is_sequence) + self.hash.value,
            ]
        )
        return parts.encode_body(_PREFIX, body)
