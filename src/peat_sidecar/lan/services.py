"""What nodes say about themselves by mDNS, as DNS-SD has it: one service for each port, with its addresses.

The text record holds `id`, the endpoint id, and `tag`, by which members of the formation know each other and
others learn nothing. Both are hexadecimal. Whoever listens can say the same again with other addresses; the
connection proves the id, and the handshake the membership.
"""

import base64
import ipaddress
import re
from dataclasses import dataclass

from zeroconf.asyncio import AsyncServiceInfo

from peat_sidecar.ids import EndpointId, PeerAddress

SERVICE_TYPE = "_peat-sidecar._udp.local."
_TAG_BYTES = 16
_SERVICES = 4
_ADDRESSES = 16
_HEX = re.compile(rb"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a service says."""

    endpoint_id: EndpointId
    tag: bytes
    addresses: tuple[str, ...]
    """As `host:port`; those that another machine can dial."""


def services_of(own: PeerAddress, tag: bytes) -> list[AsyncServiceInfo]:
    """What to announce: the addresses other machines can dial. Names of hosts are left out."""
    ports: dict[int, list[str]] = {}
    for address in own.addresses:
        host, port = _split(address)
        if is_reachable(host):
            ports.setdefault(port, []).append(host)
    name = base64.b32encode(own.endpoint_id.value).decode().rstrip("=").lower()
    return [
        AsyncServiceInfo(
            SERVICE_TYPE,
            f"{name}-{port}.{SERVICE_TYPE}",
            port=port,
            properties={"id": str(own.endpoint_id), "tag": tag.hex()},
            server=f"{name}-{port}.local.",
            parsed_addresses=hosts[:_ADDRESSES],
        )
        for port, hosts in list(ports.items())[:_SERVICES]
    ]


def parse_service(info: AsyncServiceInfo) -> Announcement | None:
    """None for what no node says. Costs no more than the record is long."""
    endpoint_id, tag = (_bytes(info, name, length) for name, length in (("id", 32), ("tag", _TAG_BYTES)))
    if endpoint_id is None or tag is None or not info.port:
        return None
    hosts = [host for host in info.parsed_addresses()[:_ADDRESSES] if is_reachable(host)]
    addresses = tuple(f"[{host}]:{info.port}" if ":" in host else f"{host}:{info.port}" for host in hosts)
    return Announcement(EndpointId(endpoint_id), tag, tuple(sorted(addresses))) if addresses else None


def is_reachable(host: str) -> bool:
    """Whether another machine can dial that IP address as it stands here."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    here = ip.is_loopback or ip.is_unspecified or ip.is_multicast
    return not here and not (ip.version == 6 and ip.is_link_local)


def multicast_addresses(own: PeerAddress) -> list[str]:
    """IP addresses of this machine's interfaces that announcements go out of and come in by."""
    return [host for host in dict.fromkeys(_split(each)[0] for each in own.addresses) if is_reachable(host)]


def _bytes(info: AsyncServiceInfo, name: str, length: int) -> bytes | None:
    text = info.properties.get(name.encode())
    if not isinstance(text, bytes) or len(text) != 2 * length or not _HEX.fullmatch(text):
        return None
    return bytes.fromhex(text.decode())


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)
