"""Hosts in network namespaces on one Ethernet segment, as on a LAN, for tests that need real interfaces.

    with Lan([("192.0.2.1/24", "fd00:7::1/64"), ("192.0.2.2/24",)]) as lan:
        subprocess.run(lan.command(0, "ping", "192.0.2.2"))

Needs root and iproute2. The bridge has a namespace of its own, so that nothing shows on this machine.
"""

import os
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Self

INTERFACE = "wire"
"""The name of each host's interface."""


class NamespaceError(Exception):
    """The kernel, or this user's rights, do not allow it; the text is what `ip` said."""


def ip(*arguments: str) -> str:
    """What `ip` prints."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=10)
    if done.returncode:
        raise NamespaceError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def delete_namespace(name: str) -> None:
    """One that is not there is gone already."""
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


class Lan:
    """Context manager; all namespaces are gone after it."""

    def __init__(self, hosts: Sequence[Sequence[str]]) -> None:
        """Each host's addresses, with the length of their prefix."""
        self._hosts = hosts
        self._switch = f"peat{os.getpid()}switch"
        self.names = tuple(f"peat{os.getpid()}host{number}" for number in range(len(hosts)))
        """Of the hosts' namespaces."""

    def __enter__(self) -> Self:
        try:
            ip("netns", "add", self._switch)
            ip("-n", self._switch, "link", "add", "name", "bridge0", "type", "bridge", "mcast_snooping", "0")
            ip("-n", self._switch, "link", "set", "dev", "bridge0", "up")
            for number, addresses in enumerate(self._hosts):
                self._add(number, addresses)
        except NamespaceError:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def command(self, host: int, *command: str) -> list[str]:
        """The command, to be run on a host."""
        return ["ip", "netns", "exec", self.names[host], *command]

    def set(self, host: int, *words: str) -> None:
        """Changes a host's interface: `set(0, "down")`."""
        ip("-n", self.names[host], "link", "set", "dev", INTERFACE, *words)

    def add_address(self, host: int, address: str) -> None:
        """As `192.0.2.1/24`; an IPv6 one is usable at once."""
        nodad = ["nodad"] if ":" in address else []
        ip("-n", self.names[host], "address", "add", address, "dev", INTERFACE, *nodad)

    def remove_address(self, host: int, address: str) -> None:
        ip("-n", self.names[host], "address", "delete", address, "dev", INTERFACE)

    def _add(self, number: int, addresses: Sequence[str]) -> None:
        name, port = self.names[number], f"port{number}"
        ip("netns", "add", name)
        peer = ["peer", "name", INTERFACE, "netns", name]
        ip("-n", self._switch, "link", "add", "name", port, "type", "veth", *peer)
        ip("-n", self._switch, "link", "set", "dev", port, "master", "bridge0", "up")
        ip("-n", name, "link", "set", "dev", "lo", "up")
        self.set(number, "up")
        for address in addresses:
            self.add_address(number, address)

    def _remove(self) -> None:
        for name in (*self.names, self._switch):
            delete_namespace(name)
