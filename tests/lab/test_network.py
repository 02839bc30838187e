"""The lab itself: what its links do to real packets of real sockets."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.__main__ import parse
from tests.lab.network import Lab, LabError, Link

_COUNT = 400
_PORT = 9999
_RECEIVER = """
import socket, sys
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
listener.bind(("0.0.0.0", int(sys.argv[1])))
listener.settimeout(20)
print("up", flush=True)
while (data := listener.recv(2000)) != b"end":
    print(int(data[:8]), flush=True)
"""
_SENDER = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(int(sys.argv[3])):
    sender.sendto(b"%08d" % number + bytes(100), (sys.argv[1], int(sys.argv[2])))
    time.sleep(0.0005)
"""
_END = """
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"end", (sys.argv[1], int(sys.argv[2])))
"""


@contextmanager
def receiver(lab: Lab, host: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        lab.command(host, sys.executable, "-c", _RECEIVER, str(_PORT)), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def send(lab: Lab, host: str, to: str, count: int = _COUNT) -> None:
    command = lab.command(host, sys.executable, "-c", _SENDER, lab.address(to), str(_PORT), str(count))
    subprocess.run(command, check=True, timeout=20)


def received(lab: Lab, process: subprocess.Popen[str], to: str, begin: str) -> list[int]:
    """The numbers that came, up to a last packet over a link without faults."""
    lab.set(begin, loss=0.0, is_down=False)
    subprocess.run(
        lab.command(begin, sys.executable, "-c", _END, lab.address(to), str(_PORT)), check=True, timeout=20
    )
    assert process.stdout is not None
    return [int(line) for line in process.stdout]


def run_lossy(seed: int) -> tuple[list[int], int]:
    with Lab({"a": Link.both(loss=0.1), "b": Link()}, seed=seed) as lab, receiver(lab, "b") as process:
        send(lab, "a", "b")
        lost = lab.traffic()["a"].up.lost
        return received(lab, process, "b", "a"), lost


def test_the_same_seed_loses_the_same_packets() -> None:
    first, lost = run_lossy(5)
    again, _ = run_lossy(5)
    other, _ = run_lossy(6)
    assert first == again != other
    assert len(first) + lost == _COUNT
    assert 15 <= lost <= 75


def test_a_link_goes_down_and_up_while_it_runs() -> None:
    with Lab({"a": Link(), "b": Link()}) as lab, receiver(lab, "b") as process:
        lab.set("b", "down", is_down=True)
        send(lab, "a", "b", 10)
        assert lab.traffic()["b"].down.cut == 10
        lab.set("b", "down", is_down=False)
        send(lab, "a", "b", 7)
        assert received(lab, process, "b", "a") == list(range(7))


def test_hosts_reach_each_other_and_nothing_else() -> None:
    with Lab({"a": Link(), "b": Link(), "c": Link()}) as lab:
        for host in ("b", "c"):
            with receiver(lab, host) as process:
                send(lab, "a", host, 3)
                assert received(lab, process, host, "a") == [0, 1, 2]
        program = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
        done = subprocess.run(
            lab.command("a", sys.executable, "-c", program), capture_output=True, text=True, timeout=20
        )
        assert "Network is unreachable" in done.stderr


def test_nothing_is_left_behind() -> None:
    with Lab({"a": Link()}) as lab:
        name = lab.namespace("a")
        assert name in _namespaces()
    assert name not in _namespaces()
    with pytest.raises(LabError, match="not open"):
        lab.now()


def _namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def test_the_address_of_a_host_is_its_own() -> None:
    with Lab({"a": Link(), "b": Link()}) as lab:
        assert lab.address("a") != lab.address("b")
        assert socket.inet_aton(lab.address("b"))


def test_links_as_people_write_them() -> None:
    ways = parse("rate=2M,delay=300ms,up.loss=1%,down.down=1")
    assert ways["up"] == {"rate_bits": 2e6, "delay_seconds": pytest.approx(0.3), "loss": 0.01}
    assert ways["down"] == {"rate_bits": 2e6, "delay_seconds": pytest.approx(0.3), "is_down": 1.0}
    for text in ("speed=1", "rate", "rate=fast"):
        with pytest.raises(ValueError, match=r"none of|could not convert"):
            parse(text)


def test_a_host_that_is_not_there() -> None:
    with Lab({"a": Link()}) as lab, pytest.raises(LabError, match="no host 'b'"):
        lab.set("b", loss=0.5)
