"""A change of the network is told while it is watched, and not after that."""

import asyncio
import socket
import subprocess
import sys

import pytest

from peat_sidecar.net import watch_network
from tests.support.nodes import bounded

_WATCHER = """
import asyncio
from peat_sidecar.net import watch_network

async def main():
    came = asyncio.Event()
    end = watch_network(came.set)
    print("watching", flush=True)
    await asyncio.wait_for(came.wait(), 20)
    end()
    print("changed", flush=True)

asyncio.run(main())
"""


def test_an_interface_that_comes_up_is_told() -> None:
    """In a network namespace of its own, where nothing else happens."""
    command = ["unshare", "--net", "sh", "-c", "echo inside; read _; ip link set lo up; read _"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdin is not None
        assert host.stdout is not None
        assert host.stdout.readline() == "inside\n"
        inside = ["nsenter", "--net", "--target", str(host.pid), sys.executable, "-c", _WATCHER]
        try:
            with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as watcher:
                assert watcher.stdout is not None
                assert watcher.stdout.readline() == "watching\n"
                host.stdin.write("\n")
                host.stdin.flush()
                assert watcher.stdout.readline() == "changed\n"
        finally:
            host.stdin.close()


async def test_nothing_is_told_where_the_kernel_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK")
    watch_network(lambda: None)()
    await bounded(asyncio.sleep(0))
