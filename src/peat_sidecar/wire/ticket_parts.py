"""What tickets are made of: a word, base32 without padding, and socket addresses.

A text that no encoder makes is no ticket, since a letter of it is wrong: `RemoteProtocolError`, which the
tickets translate.
"""

import base64
import binascii
import ipaddress
from collections.abc import Iterable

from peat_sidecar.errors import ConfigError, RemoteProtocolError
from peat_sidecar.wire.postcard import Reader, encode_varint

Address = tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]
LENGTH_LIMIT = 16 << 10
"""Characters."""
RELAY_LIMIT = 2048


def decode_body(text: str, word: str) -> bytes:
    """The bytes after the word, in any case."""
    if len(text) > LENGTH_LIMIT or text[: len(word)].lower() != word:
        raise RemoteProtocolError(f"it does not begin with the letters {word}, or is too long")
    upper = text[len(word) :].upper()
    try:
        data = base64.b32decode(upper + "=" * (-len(upper) % 8))
    except (binascii.Error, ValueError):
        raise RemoteProtocolError("it holds other characters than a to z and 2 to 7, or lacks some") from None
    if base64.b32encode(data).decode().rstrip("=") != upper:
        raise RemoteProtocolError("its last character is wrong")
    return data


def encode_body(word: str, body: bytes) -> str:
    return word + base64.b32encode(body).decode().rstrip("=").lower()


def shortened(text: str) -> str:
    """For messages."""
    return text if len(text) <= 24 else text[:20] + "..."


def read_relay(reader: Reader) -> str:
    url = reader.text()
    if len(url) > RELAY_LIMIT or not url.isprintable():
        raise RemoteProtocolError("its relay is no URL")
    return url


def read_address(reader: Reader) -> Address:
    is_ipv6 = reader.flag()
    host = ipaddress.IPv6Address(reader.take(16)) if is_ipv6 else ipaddress.IPv4Address(reader.take(4))
    return host, reader.number(0xFFFF)


def encode_address(address: Address) -> bytes:
    host, port = address
    return bytes([host.version == 6]) + host.packed + encode_varint(port)


def parse_address(text: str) -> Address:
    """From `a.b.c.d:port` or `[ipv6]:port`; `ConfigError` for anything else."""
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


def ticket_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """Those that can stand in a ticket: all but names of hosts."""
    found = []
    for text in addresses:
        try:
            parse_address(text)
        except ConfigError:
            continue
        found.append(text)
    return tuple(found)


def order(address: Address) -> tuple[int, bytes, int]:
    """Version 4 first, as the sorted set of the Rust implementation has them."""
    return address[0].version, address[0].packed, address[1]


def show_address(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
