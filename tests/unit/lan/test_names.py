"""Names of DNS that stand for several peers."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable

import pytest
import structlog

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.lan import DnsDiscovery
from peat_sidecar.lan import names as names_module
from peat_sidecar.lan.names import ADDRESSES_LIMIT, look_up

ONE, TWO = EndpointId(bytes([1]) * 32), EndpointId(bytes([2]) * 32)
SECONDS = 10


class Played:
    """A name server, a clock and those who were found."""

    def __init__(self, *names: str) -> None:
        self.answers: dict[str, list[str] | Exception] = {}
        self.wanted: list[EndpointId] = [ONE, TWO]
        self.found: list[PeerAddress] = []
        self.asked: list[str] = []
        self.rounds = 0
        self.dns = DnsDiscovery(
            names, lambda: self.wanted, self.found.append, seconds=30, sleep=self.sleep, resolver=self.resolve
        )

    def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(f"{host} {port}")
        answer = self.answers[host]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        assert seconds == 30
        self.rounds += 1
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(played: Played) -> AsyncIterator[None]:
    task = asyncio.create_task(played.dns.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=SECONDS)
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what is played raises no events
            await asyncio.sleep(0)


async def test_each_peer_without_an_address_is_offered_each_one() -> None:
    played = Played("one.example:1", "[fd00::1]:2", "one.example:1")
    played.answers = {"one.example": ["10.0.0.1:1", "10.0.0.2:1"], "fd00::1": ["[fd00::1]:2", "10.0.0.1:1"]}
    async with running(played):
        await until(lambda: len(played.found) >= 2)
    everywhere = ("10.0.0.1:1", "10.0.0.2:1", "[fd00::1]:2")
    assert played.found[:2] == [PeerAddress(ONE, everywhere), PeerAddress(TWO, everywhere)]


async def test_nobody_is_asked_while_nobody_is_wanted() -> None:
    played = Played("one.example:1")
    played.answers = {"one.example": ["10.0.0.1:1"]}
    played.wanted = []
    async with running(played):
        await until(lambda: played.rounds > 5)
        assert played.asked == []
        played.wanted = [TWO]
        await until(lambda: played.found == [PeerAddress(TWO, ("10.0.0.1:1",))])


@pytest.mark.parametrize(
    "fault",
    [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long"), OSError("odd")],
)
async def test_a_name_that_cannot_be_looked_up_is_said_once_and_tried_again(fault: Exception) -> None:
    played = Played("bad.example:1", "good.example:1")
    played.answers = {"bad.example": fault, "good.example": ["10.0.0.1:1"]}
    with structlog.testing.capture_logs() as logs:
        async with running(played):
            await until(lambda: played.rounds > 3)
            assert PeerAddress(ONE, ("10.0.0.1:1",)) in played.found
            played.answers["bad.example"] = ["10.0.0.9:1"]
            await until(lambda: PeerAddress(ONE, ("10.0.0.9:1", "10.0.0.1:1")) in played.found)
    assert [(each["log_level"], each["name"]) for each in logs] == [
        ("warning", "bad.example:1"),
        ("info", "bad.example:1"),
    ]


async def test_a_fault_of_whoever_is_told_does_not_end_it() -> None:
    played = Played("one.example:1")
    played.answers = {"one.example": RuntimeError("a fault")}
    with structlog.testing.capture_logs() as logs:
        async with running(played):
            await until(lambda: played.rounds > 2)
            played.answers["one.example"] = ["10.0.0.1:1"]
            await until(lambda: bool(played.found))
    assert logs[0]["log_level"] == "error"


async def test_a_silent_name_server_is_asked_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """And does not hold up the end of the program: its thread is no one's to wait for."""
    monkeypatch.setattr(names_module, "LOOKUP_SECONDS", 0.01)
    silence = threading.Event()
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        silence.wait(SECONDS)
        return ["10.0.0.1:1"]

    played = Played("one.example:1")
    played.dns = DnsDiscovery(
        ["one.example:1"], lambda: [ONE], played.found.append, sleep=played.sleep, resolver=resolve
    )
    with structlog.testing.capture_logs() as logs:
        async with running(played):
            await until(lambda: played.rounds > 5)
            assert asked == ["one.example"]
            assert [thread.daemon for thread in threading.enumerate() if "look up" in thread.name] == [True]
            silence.set()
            await until(
                lambda: played.found == [PeerAddress(ONE, ("10.0.0.1:1",))] * max(1, len(played.found))
            )
            await until(lambda: bool(played.found))
    assert logs[0]["error"] == "no name server answers"


async def test_answers_are_bounded() -> None:
    played = Played("one.example:1")
    played.answers = {"one.example": [f"10.0.{number // 250}.{number % 250}:1" for number in range(1000)]}
    async with running(played):
        await until(lambda: bool(played.found))
    assert len(played.found[0].addresses) == ADDRESSES_LIMIT


def test_the_systems_resolver() -> None:
    assert "127.0.0.1:7" in look_up("localhost", 7)
    assert look_up("::1", 7) == ["[::1]:7"]
