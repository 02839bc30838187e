"""The process that carries packets between the hosts of a lab: `python -m tests.lab.emulator`, told by JSON.

Each host has a TUN device in its network namespace; what it sends goes up its own link and down the other
host's. The first line says who the hosts are, each later line is a command that is answered by one line:
`{"set": [host, "up"|"down", values]}`, `{"stats": true}`.
"""

import ctypes
import fcntl
import heapq
import itertools
import json
import os
import select
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from tests.lab.link import Direction, Pipe

DEVICE = "lab0"
_NEW_NETWORK = 0x40000000
_TUNSETIFF = 0x400454CA
_TUN, _NO_PACKET_INFORMATION = 0x0001, 0x1000
_PACKETS_AT_ONCE = 64
_IDLE_SECONDS = 1.0
_LATE_SECONDS = 0.0003
"""Packets may be late by so much, so that a fast link's are carried several at a time: to wake up for each of
100 Mbit/s takes a whole core.
"""


@dataclass(slots=True)
class _Host:
    name: str
    tun: int
    up: Pipe
    down: Pipe


class Emulator:
    """Owns the devices, for as long as the process lives."""

    def __init__(self, hosts: list[dict[str, Any]], seed: int, mtu_bytes: int) -> None:
        self._began = time.monotonic()
        self._poll = select.epoll()
        self._by_name: dict[str, _Host] = {}
        self._by_tun: dict[int, _Host] = {}
        self._by_address: dict[bytes, _Host] = {}
        self._due: list[tuple[float, int, _Host, bytes, bool]] = []
        self._numbers = itertools.count()
        for each in hosts:
            tun = open_tun(each["namespace"], each["address"], mtu_bytes)
            pipes = [Pipe(Direction.of(each[way]), f"{seed} {each['name']} {way}") for way in ("up", "down")]
            host = _Host(each["name"], tun, *pipes)
            self._by_name[host.name] = host
            self._by_tun[tun] = host
            self._by_address[bytes(int(part) for part in each["address"].split("."))] = host
            self._poll.register(tun, select.EPOLLIN)
        self._poll.register(0, select.EPOLLIN)

    def run(self) -> None:
        """Until stdin is closed."""
        while True:
            self._deliver()
            select.select(
                [self._poll], [], [], self._patience()
            )  # a poll's time-out is in whole milliseconds
            for descriptor, _ in self._poll.poll(0):
                if descriptor == 0:
                    line = sys.stdin.buffer.readline()
                    if not line:
                        return
                    print(json.dumps(self._command(json.loads(line))), flush=True)
                else:
                    self._take(self._by_tun[descriptor])

    def _patience(self) -> float:
        """Until the next packet is due."""
        if not self._due:
            return _IDLE_SECONDS
        return max(_LATE_SECONDS, self._due[0][0] - self._now())

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _take(self, sender: _Host) -> None:
        for _ in range(_PACKETS_AT_ONCE):
            try:
                packet = os.read(sender.tun, 65536)
            except BlockingIOError:
                return
            receiver = self._by_address.get(packet[16:20]) if packet[0] >> 4 == 4 else None
            if receiver is None:
                continue
            arrival = sender.up.send(len(packet), self._now())
            if arrival is not None:
                self._schedule(arrival, receiver, packet, at_end=False)

    def _schedule(self, due: float, receiver: _Host, packet: bytes, *, at_end: bool) -> None:
        heapq.heappush(self._due, (due, next(self._numbers), receiver, packet, at_end))

    def _deliver(self) -> None:
        while self._due and self._due[0][0] <= self._now():
            due, _, receiver, packet, at_end = heapq.heappop(self._due)
            if not at_end:
                arrival = receiver.down.send(len(packet), due)
                if arrival is None:
                    continue
                if arrival > self._now():
                    self._schedule(arrival, receiver, packet, at_end=True)
                    continue
            try:
                os.write(receiver.tun, packet)
            except OSError:  # the host's own queue is full, or the host is gone
                receiver.down.counters.dropped += 1

    def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        if "set" in command:
            name, way, values = command["set"]
            pipe: Pipe = getattr(self._by_name[name], way)
            pipe.direction = pipe.direction.changed(values)
        return {
            "now": self._now(),
            "cpu": time.process_time(),
            "hosts": {
                host.name: {"up": asdict(host.up.counters), "down": asdict(host.down.counters)}
                for host in self._by_name.values()
            },
        }


def open_tun(namespace: str, address: str, mtu_bytes: int) -> int:
    """A TUN device inside a namespace, with its address; the descriptor works from here."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    theirs = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _enter(libc, theirs)
        try:
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            request = struct.pack("16sH22x", DEVICE.encode(), _TUN | _NO_PACKET_INFORMATION)
            fcntl.ioctl(tun, _TUNSETIFF, request)
            for command in (
                f"ip address add {address}/24 dev {DEVICE}",
                f"ip link set {DEVICE} mtu {mtu_bytes} txqueuelen 1000 up",
                "ip link set lo up",
            ):
                subprocess.run(command.split(), check=True, capture_output=True, timeout=10)
        finally:
            _enter(libc, own)
    finally:
        os.close(own)
        os.close(theirs)
    return tun


def _enter(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns: the lab needs root")


if __name__ == "__main__":
    told = json.loads(sys.stdin.buffer.readline())
    emulator = Emulator(told["hosts"], told["seed"], told["mtu_bytes"])
    print(json.dumps({"up": True}), flush=True)
    emulator.run()
