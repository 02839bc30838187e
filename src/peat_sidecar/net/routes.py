"""Where a connection goes: its peer's address, and the interface that the kernel would send it over."""

import ipaddress
import socket
import struct

from peat_sidecar.errors import ConfigError
from peat_sidecar.net.addresses import split
from peat_sidecar.net.interfaces import Connection

# rtnetlink(7): a header of a message, and one of a route behind it.
_MESSAGE, _ROUTE, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=8BI"), struct.Struct("=HH")
_GET_ROUTE, _NEW_ROUTE, _IS_REQUEST = 26, 24, 1
_DESTINATION, _OUTPUT_INTERFACE = 1, 4
_ANSWER_LIMIT = 1 << 14
_ANSWER_SECONDS = 0.1
"""The kernel answers before the request returns."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def remote_ip(connection: Connection) -> IpAddress | None:
    """Of the path in use; None where there is none."""
    try:
        host, _ = split(next(iter(connection.remote_addresses), ""))
        address = ipaddress.ip_address(host)
    except (ConfigError, ValueError):
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def interface_towards(address: IpAddress) -> str | None:
    """The name of the interface that leads there; None when no route does, or the kernel does not say."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    packed = address.packed
    body = _ROUTE.pack(family, len(packed) * 8, *[0] * 6, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _DESTINATION) + packed
    request = _MESSAGE.pack(_MESSAGE.size + len(body), _GET_ROUTE, _IS_REQUEST, 1, 0) + body
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
            kernel.settimeout(_ANSWER_SECONDS)
            kernel.sendto(request, (0, 0))
            return _output_interface(kernel.recv(_ANSWER_LIMIT))
    except (OSError, struct.error):
        return None


def _output_interface(answer: bytes) -> str | None:
    _, kind, *_ = _MESSAGE.unpack_from(answer)
    offset = _MESSAGE.size + _ROUTE.size
    while kind == _NEW_ROUTE and offset + _ATTRIBUTE.size <= len(answer):
        length, attribute = _ATTRIBUTE.unpack_from(answer, offset)
        if attribute == _OUTPUT_INTERFACE:
            (index,) = struct.unpack_from("=I", answer, offset + _ATTRIBUTE.size)
            return socket.if_indextoname(index)
        offset += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return None
