"""Hosts in network namespaces, each with a link to all others that loses, delays, throttles and breaks.

    with Lab({"ship": Link.both(rate_bits=2e6, delay_seconds=0.15, loss=0.01), "shore": Link()}) as lab:
        subprocess.run(lab.command("ship", "peat-sidecar", "run", ...))

Needs root, iproute2 and /dev/net/tun. Packets from one host to another go up the first one's link and down
the second one's; a round trip is the sum of all four delays.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.link import Counters, Direction

_NETWORK = "198.18.0"
"""RFC 2544: for tests of networks."""
_PROJECT = Path(__file__).parents[2]


class LabError(Exception):
    """This machine or this user cannot have a lab; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Link:
    """Of one host: up from it, down to it."""

    up: Direction = field(default_factory=Direction)
    down: Direction = field(default_factory=Direction)

    @classmethod
    def both(cls, **values: Any) -> Self:
        """The same both ways."""
        return cls(Direction.of(values), Direction.of(values))


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of one host's link so far."""

    up: Counters
    down: Counters


class Lab:
    """A context manager; namespaces and emulator are gone after it."""

    def __init__(self, hosts: Mapping[str, Link], *, seed: int = 1, mtu_bytes: int = 1500) -> None:
        self._links = dict(hosts)
        self._seed = seed
        self._mtu_bytes = mtu_bytes
        self._process: subprocess.Popen[str] | None = None

    def namespace(self, host: str) -> str:
        """The name of the host's network namespace."""
        return f"lab{os.getpid()}-{host}"

    def address(self, host: str) -> str:
        """Its IPv4 address."""
        return f"{_NETWORK}.{1 + list(self._links).index(host)}"

    def command(self, host: str, *command: str) -> list[str]:
        """The command, to be run on a host."""
        return ["ip", "netns", "exec", self.namespace(host), *command]

    def set(self, host: str, way: str = "both", **values: Any) -> None:
        """Changes a link while it runs; `way` is `up`, `down` or `both`."""
        if host not in self._links:
            raise LabError(f"there is no host {host!r}; there are {', '.join(self._links)}")
        for each in ("up", "down") if way == "both" else (way,):
            self._ask({"set": [host, each, values]})

    def traffic(self) -> dict[str, Traffic]:
        """Host -> what its link has carried."""
        hosts = self._ask({"stats": True})["hosts"]
        return {
            name: Traffic(Counters(**each["up"]), Counters(**each["down"])) for name, each in hosts.items()
        }

    def now(self) -> float:
        """Seconds on the lab's clock, which outages are told by."""
        return float(self._ask({"stats": True})["now"])

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise LabError("a lab of network namespaces needs root")
        if not Path("/dev/net/tun").exists():
            raise LabError("a lab needs /dev/net/tun: load the module tun")
        try:
            for host in self._links:
                _ip("netns", "add", self.namespace(host))
            self._start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.emulator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_PROJECT,
        )
        hosts = [
            {
                "name": host,
                "namespace": self.namespace(host),
                "address": self.address(host),
                "up": asdict(link.up),
                "down": asdict(link.down),
            }
            for host, link in self._links.items()
        ]
        self._ask({"hosts": hosts, "seed": self._seed, "mtu_bytes": self._mtu_bytes})

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise LabError("the lab is not open; use it as a context manager")
        try:
            process.stdin.write(json.dumps(command) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise LabError("the lab's emulator has ended; its message stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _remove(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for host in self._links:
            subprocess.run(["ip", "netns", "delete", self.namespace(host)], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=10)
    if done.returncode:
        raise LabError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
