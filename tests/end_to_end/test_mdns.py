"""Hosts on a LAN of network namespaces, with nothing in common but a formation key, find each other by mDNS;
one with another key is not found, and finds nobody.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tools.namespaces import Lan, NamespaceError

PROJECT = Path(__file__).parents[2]
WAIT_SECONDS = 30
IPV4 = [["192.0.2.1/24"], ["192.0.2.2/24"], ["192.0.2.3/24"]]
IPV6 = [["fd00:7::1/64"], ["fd00:7::2/64"], ["fd00:7::3/64"]]
BOTH = [[*four, *six] for four, six in zip(IPV4, IPV6, strict=True)]


class Host:
    """A process on a host, and what it said."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log
        self.events: list[dict[str, Any]] = []
        self.id = ""

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event, of past ones too, of which that is true."""
        for event in self.events:
            if holds(event):
                return event
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while line := await self.process.stdout.readline():
                    self.events.append(json.loads(line))
                    if holds(self.events[-1]):
                        return self.events[-1]
        except TimeoutError:
            pass
        raise AssertionError(f"it never said so, but {self.events}; its log: {self.log.read_text()}")

    async def finds(self, other: "Host", addresses: list[str]) -> None:
        """Waits until the other one is found at these addresses."""
        await self.until(
            lambda event: (
                event["event"] == "found"
                and event["id"] == other.id
                and set(event["addresses"]) >= set(addresses)
            )
        )

    async def logs(self, text: str) -> None:
        """Waits until its log has that text."""
        async with asyncio.timeout(WAIT_SECONDS):
            while text not in self.log.read_text():  # noqa: ASYNC110 - a file raises no events
                await asyncio.sleep(0.02)

    def forget(self) -> None:
        """What was said so far does not count any more."""
        self.events.clear()

    def addresses_of(self, other: "Host") -> set[str]:
        """All that it was found at."""
        found = [each for each in self.events if each["event"] == "found" and each["id"] == other.id]
        return {address for each in found for address in each["addresses"]}

    async def stop(self) -> int:
        self.process.terminate()
        async with asyncio.timeout(WAIT_SECONDS):
            assert self.process.stdout is not None
            await self.process.stdout.read()
            return await self.process.wait()


async def end(process: asyncio.subprocess.Process) -> None:
    """One that reads its input to the end."""
    assert process.stdin is not None
    process.stdin.close()
    await asyncio.wait_for(process.wait(), WAIT_SECONDS)


@contextlib.asynccontextmanager
async def host(lan: Lan, number: int, key: str, folder: Path, **options: Any) -> AsyncIterator[Host]:
    settings = {"secret": bytes([number + 1]).hex() * 32, "key": key, "port": 4433} | options
    log = folder / f"{number}.log"
    command = lan.command(number, sys.executable, "-m", "tests.support.lan_host", json.dumps(settings))
    with log.open("w") as errors:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=errors, cwd=PROJECT
        )
    made = Host(process, log)
    try:
        made.id = (await made.until(lambda event: event["event"] == "ready"))["id"]
        yield made
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@contextlib.contextmanager
def lan_of(hosts: list[list[str]]) -> Any:
    try:
        with Lan(hosts) as lan:
            yield lan
    except NamespaceError as error:
        pytest.fail(f"there can be no LAN here, which takes root and iproute2: {error}")


def sockets(host_number: int, hosts: list[list[str]]) -> list[str]:
    """Where it is dialled: IPv4 at port 4433, IPv6 at the next one."""
    plain = [address.partition("/")[0] for address in hosts[host_number]]
    return [f"[{each}]:4434" if ":" in each else f"{each}:4433" for each in plain]


@pytest.mark.parametrize("hosts", [IPV4, IPV6, BOTH], ids=["IPv4", "IPv6", "both"])
async def test_members_find_each_other_and_a_stranger_finds_nobody(
    hosts: list[list[str]], tmp_path: Path
) -> None:
    with lan_of(hosts) as lan:
        async with (
            host(lan, 0, "ours", tmp_path) as one,
            host(lan, 1, "ours", tmp_path) as two,
            host(lan, 2, "another", tmp_path) as stranger,
        ):
            await one.finds(two, sockets(1, hosts))
            await two.finds(one, sockets(0, hosts))
            # Each has heard the stranger, and it both of them: that nobody is found is no want of packets.
            for listener, other in ((one, stranger), (two, stranger), (stranger, one), (stranger, two)):
                await listener.until(
                    lambda event, other=other: event["event"] == "stranger" and event["id"] == other.id
                )
                assert not listener.addresses_of(other)
            assert one.addresses_of(two) == set(sockets(1, hosts))
            for each in (one, two, stranger):
                assert await each.stop() == 0
                assert each.log.read_text() == ""


async def test_a_host_that_goes_says_so_and_may_come_back(tmp_path: Path) -> None:
    with lan_of(IPV4) as lan:
        async with host(lan, 0, "ours", tmp_path) as one:
            for _ in range(2):
                async with host(lan, 1, "ours", tmp_path) as two:
                    await one.finds(two, sockets(1, IPV4))
                    await one.until(lambda event: event == {"event": "neighbours", "count": 1})
                    one.forget()
                    assert await two.stop() == 0
                    await one.until(lambda event: event == {"event": "neighbours", "count": 0})


async def test_interfaces_come_and_go(tmp_path: Path) -> None:
    """A host that starts without a network is found when it has one, at its new address when that changes,
    and after its cable was out; the log has a line for each change, and no traceback.
    """
    with lan_of([IPV4[0], []]) as lan:
        async with host(lan, 1, "ours", tmp_path) as two:
            async with host(lan, 0, "ours", tmp_path) as one:
                lan.add_address(1, "192.0.2.2/24")
                await one.finds(two, ["192.0.2.2:4433"])
                await two.finds(one, ["192.0.2.1:4433"])
                two.forget()
                lan.remove_address(1, "192.0.2.2/24")
                lan.add_address(1, "192.0.2.77/24")
                await one.finds(two, ["192.0.2.77:4433"])
                await two.finds(one, ["192.0.2.1:4433"])
                assert await one.stop() == 0
            lan.set(1, "down")
            two.forget()
            lan.set(1, "up")
            async with host(lan, 0, "ours", tmp_path) as one:
                await one.finds(two, ["192.0.2.77:4433"])
                await two.finds(one, ["192.0.2.1:4433"])
            assert await two.stop() == 0
            lines = two.log.read_text().splitlines()
            assert len(lines) <= 6, lines
            assert all("local network" in line for line in lines), lines


_TAKES_THE_PORT = """
import socket, sys
holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
holder.bind(("", 5353))
print("taken", flush=True)
sys.stdin.read()
"""


async def test_a_port_that_another_program_has_is_tried_again(tmp_path: Path) -> None:
    with lan_of(IPV4) as lan:
        holder = await asyncio.create_subprocess_exec(
            *lan.command(1, sys.executable, "-c", _TAKES_THE_PORT),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert holder.stdout is not None
        await asyncio.wait_for(holder.stdout.readline(), WAIT_SECONDS)
        async with host(lan, 0, "ours", tmp_path) as one, host(lan, 1, "ours", tmp_path) as two:
            await one.until(lambda event: event["event"] == "ready")
            await two.logs("Address already in use")
            await end(holder)
            await one.finds(two, sockets(1, IPV4))
            await two.finds(one, sockets(0, IPV4))
            await two.logs("mDNS works again on the local network")
            assert await two.stop() == 0
            log = two.log.read_text()
            assert log.count("mDNS does not work on the local network") == 1
            assert "Traceback" not in log


_RUBBISH = """
import asyncio, socket, sys
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

TYPE = "_peat-sidecar._udp.local."
GOOD = {"id": "ab" * 32, "tag": "cd" * 16}
TEXTS = [
    {}, {"id": None}, {"id": ""}, {"id": "ab" * 32}, {"tag": "cd" * 16}, {"id": "zz" * 32, "tag": "cd" * 16},
    {"id": "ab" * 33, "tag": "cd" * 16}, {"id": b"\\xff" * 64, "tag": b"\\x00" * 32},
    {"id": GOOD["id"], "tag": "cd"}, b"\\x00", b"\\xff", b"\\x05a", b"=" * 200, GOOD,
]

async def main():
    zc = AsyncZeroconf(interfaces=["192.0.2.3"])
    infos = [
        AsyncServiceInfo(
            TYPE, f"rubbish {number} \\u2620.{TYPE}", port=number and 70 + number, properties=text,
            server=f"rubbish{number}.local.", parsed_addresses=["192.0.2.3", "127.0.0.1", "fe80::1"],
        )
        for number, text in enumerate(TEXTS)
    ]
    said = [await zc.async_register_service(info, cooperating_responders=True) for info in infos]
    await asyncio.gather(*said)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.0.2.3"))
        for length in range(0, 1400, 7):
            raw.sendto(bytes(range(256)) * 6 if length % 2 else b"\\x00\\x00\\x84\\x00" + b"\\xff" * length,
                       ("224.0.0.251", 5353))
    print("said", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await zc.async_close()

asyncio.run(main())
"""


async def test_rubbish_is_passed_over(tmp_path: Path) -> None:
    with lan_of(IPV4) as lan:
        async with host(lan, 0, "ours", tmp_path) as one:
            rubbish = await asyncio.create_subprocess_exec(
                *lan.command(2, sys.executable, "-c", _RUBBISH),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            assert rubbish.stdout is not None
            said = await asyncio.wait_for(rubbish.stdout.readline(), WAIT_SECONDS)
            assert said == b"said\n"
            # The last of them was well-formed, so all before it were heard.
            await one.until(lambda event: event == {"event": "stranger", "id": "ab" * 32})
            async with host(lan, 1, "ours", tmp_path) as two:
                await one.finds(two, sockets(1, IPV4))
                await two.finds(one, sockets(0, IPV4))
                assert [
                    event for event in two.events if event["event"] == "found" and event["id"] != one.id
                ] == []
            await end(rubbish)
            assert await one.stop() == 0
            assert one.log.read_text() == ""
