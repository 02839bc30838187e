"""The addresses that an operator has peers told: where a port is forwarded, or a node has a name.

They take the place of those of the interfaces. Nothing is looked up: a name is told as a name.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from peat_sidecar.errors import ConfigError
from peat_sidecar.net.addresses import join, split

_FORM = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Advertised:
    """One address to tell."""

    host: str
    """A name or an IP address, without brackets."""
    port: int | None
    """None: the one that is bound."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `host:port`, `[ipv6]:port`, or a host alone; `ConfigError` for what nobody can dial."""
        form = _FORM.fullmatch(f"[{text}]" if _is_ipv6(text) else text)
        if form is None:
            raise _no_way(text)
        six, other, digits = form.groups()
        port = int(digits) if digits else None
        if port is not None and not 0 < port < 65536:
            raise _no_way(text)
        try:
            ip = ipaddress.ip_address(six or other)
        except ValueError:
            # A name that ends in a number is a mistyped IP address: no domain is called so.
            if six or not _NAME.fullmatch(other) or other.rpartition(".")[2].isdigit():
                raise _no_way(text) from None
            return cls(other, port)
        unreachable = ip.is_unspecified or ip.is_multicast or (ip.version == 6 and ip.is_link_local)
        if unreachable or (ip.version == 6) != (six is not None):
            raise _no_way(text)
        return cls(str(ip), port)

    def at(self, bound: list[str]) -> str:
        """As `host:port`: without a port of its own, that of the bound socket of its IP version; for a name,
        or where nothing is bound for that version, that of the first one.
        """
        if self.port is not None:
            return join(self.host, self.port)
        version_6 = ":" in self.host
        sockets = sorted(map(split, bound), key=lambda each: (":" in each[0]) != version_6)
        return join(self.host, sockets[0][1])


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _no_way(text: str) -> ConfigError:
    return ConfigError(
        f"{text[:80]!r} cannot be advertised, as no peer could dial it;"
        " an address looks like 198.51.100.7:4433, [2001:db8::7]:4433 or node.example:4433"
    )
