"""Socket addresses: what to bind, where peers can reach it, and what a peer's address stands for."""

import asyncio
import ipaddress
import socket
from pathlib import Path

from peat_sidecar.errors import ConfigError, PeerUnavailable

# One line for each address: hexadecimal digits, device number, prefix, scope, flags, name. Linux only.
_INTERFACES_6 = Path("/proc/net/if_inet6")
_GLOBAL_SCOPE = 0


def split(address: str) -> tuple[str, int]:
    """`host:port` or `[ipv6]:port`; `ConfigError` otherwise."""
    host, colon, port = address.rpartition(":")
    number = port.isascii() and port.isdigit() and len(port) <= 5
    if not colon or not host or not number or int(port) > 65535:
        raise ConfigError(f"{address[:80]!r} is no socket address; one looks like 0.0.0.0:4433 or [::]:4433")
    return host.removeprefix("[").removesuffix("]"), int(port)


def join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind_plan(addresses: tuple[str, ...]) -> dict[int, str]:
    """IP version -> address to bind. The endpoint takes one of each version at most."""
    plan: dict[int, str] = {}
    for address in addresses:
        host, port = split(address)
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            raise ConfigError(
                f"cannot listen on {address[:80]!r}: name an IP address, as 0.0.0.0:4433"
            ) from None
        if version in plan:
            raise ConfigError(
                f"cannot listen on both {plan[version]} and {address}: one IPv{version} address only"
            )
        plan[version] = join(host, port)
    if not plan:
        raise ConfigError("no address to listen on; name one, as 0.0.0.0:4433")
    return plan


def why_not_bound(plan: dict[int, str]) -> str:
    """Tries each address with a plain socket, to find the reason that the endpoint does not give."""
    for address in plan.values():
        host, port = split(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.bind((host, port))
        except OSError as error:
            return f"cannot listen on {address} (UDP): {error.strerror}; choose another address or port"
    return f"cannot listen on {' and '.join(plan.values())} (UDP)"


def reachable(bound: list[str], asked: dict[int, str], known: list[str]) -> tuple[str, ...]:
    """Where peers can dial sockets that are `bound`: as bound, or on every interface for a wildcard.

    `known` is what the endpoint says about its interfaces; it leaves out IPv6 ones, so those are looked up.
    """
    found: list[str] = []
    for address in bound:
        host, port = split(address)
        ip = ipaddress.ip_address(host)
        if ip.version not in asked:
            continue
        if not ip.is_unspecified:
            found.append(join(host, port))
            continue
        own = [other for other, other_port in map(split, known) if other_port == port]
        own += _interfaces_6() if ip.version == 6 else []
        same = [other for other in own if ipaddress.ip_address(other).version == ip.version]
        found += [join(other, port) for other in same or ["::1" if ip.version == 6 else "127.0.0.1"]]
    return tuple(dict.fromkeys(found))


def _interfaces_6() -> list[str]:
    try:
        rows = [line.split() for line in _INTERFACES_6.read_text().splitlines()]
    except OSError:
        return []
    return [
        str(ipaddress.IPv6Address(bytes.fromhex(row[0]))) for row in rows if int(row[3], 16) == _GLOBAL_SCOPE
    ]


async def resolve(addresses: tuple[str, ...]) -> list[str]:
    """The socket addresses with names looked up. `PeerUnavailable` when not one is left."""
    found: list[str] = []
    unknown: list[str] = []
    for address in addresses:
        host, port = split(address)
        try:
            found.append(join(str(ipaddress.ip_address(host)), port))
            continue
        except ValueError:
            pass
        try:
            answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):  # the latter for a name that none can be, such as one with `..`
            unknown.append(host)
            continue
        found += [join(str(answer[4][0]), port) for answer in answers]
    if unknown and not found:
        raise PeerUnavailable(
            f"no address is known for {', '.join(unknown)}; check the name, or use an IP address"
        )
    return list(dict.fromkeys(found))
