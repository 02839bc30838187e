"""Blob tickets: a peer, where to dial it, and what to fetch there, in one line of text.

`blob` and base32 of: 0, endpoint id, relay or none, addresses, format, hash. Other Iroh programs
read and write the same text. It comes from people, so what is no ticket is a `ConfigError`.
"""

import base64
import binascii
import ipaddress
from dataclasses import dataclass
from typing import Self

from peat_sidecar.errors import ConfigError, RemoteProtocolError
from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.wire.postcard import Reader, encode_text, encode_varint

_PREFIX = "blob"
_LENGTH_LIMIT = 16 << 10
_RELAY_LIMIT = 2048
# Version 4, four bytes, a port of one byte.
_SHORTEST_ADDRESS_BYTES = 6
_Address = tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]


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
        known = sorted({_parse_address(text) for text in self.addresses}, key=_order)
        object.__setattr__(self, "addresses", tuple(map(_show_address, known)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the text, in any case."""
        plain = text.strip()
        try:
            if len(plain) > _LENGTH_LIMIT or plain[:4].lower() != _PREFIX:
                raise RemoteProtocolError("it does not begin with the letters blob, or is too long")
            return cls._parse_body(Reader(_decode(plain[len(_PREFIX) :])))
        except RemoteProtocolError as error:
            shown = plain if len(plain) <= 24 else plain[:20] + "..."
            raise ConfigError(
                f"{shown!r} is no ticket for a blob ({error}); copy it again as a whole"
            ) from None

    @classmethod
    def _parse_body(cls, reader: Reader) -> Self:
        if reader.number() != 0:
            raise RemoteProtocolError("it is of a version that this program does not know")
        endpoint_id = EndpointId(reader.take(32))
        relay_url = reader.text() if reader.flag() else None
        if relay_url is not None and (len(relay_url) > _RELAY_LIMIT or not relay_url.isprintable()):
            raise RemoteProtocolError("its relay is no URL")
        addresses = [_read_address(reader) for _ in range(reader.count(_SHORTEST_ADDRESS_BYTES))]
        is_sequence = reader.number(1) == 1
        blob_hash = BlobHash(reader.take(32))
        return cls(endpoint_id, tuple(map(_show_address, addresses)), blob_hash, is_sequence, relay_url)

    def __str__(self) -> str:
        addresses = [_parse_address(text) for text in self.addresses]
        relay = b"\x00" if self.relay_url is None else b"\x01" + encode_text(self.relay_url)
        body = b"".join(
            [
                b"\x00" + self.endpoint_id.value + relay + encode_varint(len(addresses)),
                *map(_encode_address, addresses),
                encode_varint(self.is_sequence) + self.hash.value,
            ]
        )
        return _PREFIX + base64.b32encode(body).decode().rstrip("=").lower()


def _decode(text: str) -> bytes:
    """Base32 without padding; a text that no encoder makes is no ticket, since a letter of it is wrong."""
    upper = text.upper()
    try:
        data = base64.b32decode(upper + "=" * (-len(upper) % 8))
    except (binascii.Error, ValueError):
        raise RemoteProtocolError("it holds other characters than a to z and 2 to 7, or lacks some") from None
    if base64.b32encode(data).decode().rstrip("=") != upper:
        raise RemoteProtocolError("its last character is wrong")
    return data


def _read_address(reader: Reader) -> _Address:
    is_ipv6 = reader.flag()
    host = ipaddress.IPv6Address(reader.take(16)) if is_ipv6 else ipaddress.IPv4Address(reader.take(4))
    return host, reader.number(0xFFFF)


def _encode_address(address: _Address) -> bytes:
    host, port = address
    return bytes([host.version == 6]) + host.packed + encode_varint(port)


def _parse_address(text: str) -> _Address:
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 0xFFFF):
            raise ValueError
        if bracketed:
            if "%" in host:
                raise ValueError
            return ipaddress.IPv6Address(host[1:-1]), int(port)
        return ipaddress.IPv4Address(host), int(port)
    except ValueError:
        raise ConfigError(
            f"{text[:80]!r} cannot stand in a ticket;"
            " an address there looks like 192.0.2.7:4433 or [2001:db8::7]:4433"
        ) from None


def _order(address: _Address) -> tuple[int, bytes, int]:
    """Version 4 first, as the sorted set of the Rust implementation has them."""
    return address[0].version, address[0].packed, address[1]


def _show_address(address: _Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
