"""Parts of the network that a rule is about: all of it, an interface, or a range of addresses."""

import ipaddress
from dataclasses import dataclass
from typing import Self

from peat_sidecar.errors import ConfigError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_ANY, _INTERFACE = "any", "interface "
_NAME_LIMIT = 15
"""Linux has no longer names of interfaces."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where a connection goes: its peer's address, and the interface that leads there."""

    address: IpAddress | None = None
    """None: not known."""
    interface: str | None = None
    """None: not known, or nobody asks for it."""


@dataclass(frozen=True, slots=True)
class Place:
    """`any`, `interface wwan0`, or `10.0.0.0/8`."""

    name: str
    """As it is written; equal places have equal names."""
    interface: str | None = None
    network: IpNetwork | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`ConfigError` for what is none."""
        plain = text.strip()
        if plain == _ANY:
            return cls(_ANY)
        interface = plain.removeprefix(_INTERFACE).strip()
        if plain.startswith(_INTERFACE) and interface.isprintable() and 0 < len(interface) <= _NAME_LIMIT:
            return cls(f"{_INTERFACE}{interface}", interface=interface)
        try:
            network = ipaddress.ip_network(plain)
        except ValueError:
            raise ConfigError(
                f"{text[:60]!r} is no part of the network;"
                " one looks like any, interface wwan0, 10.0.0.0/8 or fd00::/8"
            ) from None
        return cls(str(network), network=network)

    def holds(self, path: Path) -> bool:
        """Whether what goes that way is meant."""
        if self.interface is not None:
            return path.interface == self.interface
        return self.network is None or (path.address is not None and path.address in self.network)

    @property
    def shown(self) -> str:
        """Behind `over` in a sentence."""
        return self.interface or ("any path" if self.network is None else self.name)
