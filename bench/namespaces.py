"""Two network namespaces joined by a veth pair with an MTU of 1500, to count what a transfer costs on a wire.

Needs root and iproute2. Segmentation offload is switched off on both ends: with it the kernel would count a
burst of packets as one, with one header, and the figure would flatter us. What is counted is IP packets:
the interface's own counters less 14 bytes of Ethernet header each.
"""

import json
import os
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tools.namespaces import NamespaceError, delete_namespace, ip

_ETHERNET_HEADER_BYTES = 14
_MTU_BYTES = 1500


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went out of one end."""

    packets: int
    ip_bytes: int
    """IP header, UDP header, QUIC and payload."""

    def __sub__(self, earlier: "Traffic") -> "Traffic":
        return Traffic(self.packets - earlier.packets, self.ip_bytes - earlier.ip_bytes)


class VethPair:
    """Context manager; both namespaces are gone after it."""

    addresses = ("192.0.2.1", "192.0.2.2")
    """Of the two ends, from the block that is reserved for documentation."""

    def __init__(self) -> None:
        self.names = (f"peat{os.getpid()}a", f"peat{os.getpid()}b")
        """Of the two namespaces."""

    def __enter__(self) -> Self:
        try:
            for name in self.names:
                ip("netns", "add", name)
            ends = [("name", "wire", "netns", name, "mtu", str(_MTU_BYTES)) for name in self.names]
            ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
            for name, address in zip(self.names, self.addresses, strict=True):
                ip("-n", name, "address", "add", f"{address}/30", "dev", "wire")
                ip("-n", name, "link", "set", "wire", "gso_max_segs", "1")
                ip("-n", name, "link", "set", "wire", "up")
                ip("-n", name, "link", "set", "lo", "up")
        except NamespaceError:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def command(self, end: int, *command: str) -> list[str]:
        """The command, to be run inside one of the two namespaces (0 or 1)."""
        return ["ip", "netns", "exec", self.names[end], *command]

    def sent(self, end: int) -> Traffic:
        """What one end has sent so far."""
        links = json.loads(ip("-n", self.names[end], "-j", "-s", "link", "show", "dev", "wire"))
        sent = links[0]["stats64"]["tx"]
        return Traffic(sent["packets"], sent["bytes"] - sent["packets"] * _ETHERNET_HEADER_BYTES)

    def _remove(self) -> None:
        for name in self.names:
            delete_namespace(name)
