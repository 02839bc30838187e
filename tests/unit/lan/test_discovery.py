"""How the local network is held on to: by a network that a test plays, with time that a test makes."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
import structlog
from zeroconf.asyncio import AsyncServiceInfo

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.lan import LanDiscovery
from peat_sidecar.lan.multicast import LanFault, Listener
from peat_sidecar.lan.neighbours import SERVICES_LIMIT
from peat_sidecar.lan.services import services_of

OWN = EndpointId(bytes([1]) * 32)
OTHER = EndpointId(bytes([2]) * 32)
TAG = bytes(16)
SECONDS = 10


class Played:
    """The network, the clock, and a discovery on them."""

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ("192.0.2.1:4433",)
        self.fault: Exception | None = None
        self.opened: list[list[str]] = []
        self.closed = 0
        self.slept = 0.0
        self.listener: Listener | None = None
        self.found: list[PeerAddress] = []
        self.lan = LanDiscovery(
            lambda: PeerAddress(OWN, self.addresses),
            TAG,
            lambda _, tag: tag == TAG,
            self.found.append,
            open_network=self.open,
            sleep=self.sleep,
        )

    @contextlib.asynccontextmanager
    async def open(
        self, addresses: Sequence[str], services: Sequence[AsyncServiceInfo], listener: Listener
    ) -> AsyncIterator[None]:
        self.opened.append(list(addresses))
        if self.fault is not None:
            raise self.fault
        self.listener = listener
        try:
            yield
        finally:
            self.closed += 1
            self.listener = None

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        await asyncio.sleep(0)

    def hear(self, endpoint_id: EndpointId, address: str = "192.0.2.2:4433", tag: bytes = TAG) -> str:
        (info,) = services_of(PeerAddress(endpoint_id, (address,)), tag)
        assert self.listener is not None
        self.listener(info.name, info)
        return info.name


@contextlib.asynccontextmanager
async def played() -> AsyncIterator[Played]:
    made = Played()
    handlers = logging.getLogger("zeroconf").handlers[:]
    await made.lan.start()
    try:
        yield made
    finally:
        await asyncio.wait_for(made.lan.close(), SECONDS)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert logging.getLogger("zeroconf").handlers == handlers


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what is played raises no events
            await asyncio.sleep(0)


async def test_members_are_found_and_strangers_are_not() -> None:
    async with played() as network:
        await until(lambda: network.listener is not None)
        network.hear(OTHER, tag=b"another's tag...")
        network.hear(OWN)
        assert network.found == []
        name = network.hear(OTHER)
        assert network.found == [PeerAddress(OTHER, ("192.0.2.2:4433",))]
        assert network.lan.neighbours == 1
        network.hear(OTHER)
        assert len(network.found) == 2
        assert network.listener is not None
        network.listener(name, None)
        assert network.lan.neighbours == 0
    assert network.closed == 1


async def test_other_addresses_are_a_new_session() -> None:
    async with played() as network:
        await until(lambda: network.listener is not None)
        network.hear(OTHER)
        network.addresses = ("192.0.2.1:4433", "[2001:db8::1]:4433")
        await until(lambda: len(network.opened) == 2)
        assert network.opened[1] == ["192.0.2.1", "2001:db8::1"]
        assert network.closed == 1
        assert network.lan.neighbours == 0
        # The same ones in another order are the same.
        network.addresses = network.addresses[::-1]
        slept = network.slept
        await until(lambda: network.slept > slept + 100)
        assert len(network.opened) == 2


async def test_without_an_address_to_be_reached_at_nothing_is_opened() -> None:
    with structlog.testing.capture_logs() as logs:
        async with played() as network:
            network.addresses = ("127.0.0.1:4433",)
            await until(lambda: network.slept > 1000)
            assert network.opened == []
            network.addresses = ("192.0.2.1:4433",)
            await until(lambda: network.listener is not None)
    assert len(logs) == 1
    assert "no address of this node is reached" in logs[0]["event"]


@pytest.mark.parametrize("fault", [LanFault("no multicast here"), OSError("odd")])
async def test_a_fault_is_tried_again(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with structlog.testing.capture_logs() as logs:
        async with played() as network:
            network.fault = fault
            await until(lambda: len(network.opened) == 5)
            assert network.lan.fault == str(fault)
            # Not more often than promised.
            assert 4 * 30 <= network.slept < 5 * 30
            network.fault = None
            await until(lambda: network.listener is not None)
            await until(lambda: network.lan.fault == "")
            network.hear(OTHER)
            assert len(network.found) == 1
    if isinstance(fault, LanFault):
        assert [each["log_level"] for each in logs] == ["warning", "info"]
        assert logs[0]["error"] == "no multicast here"


async def test_new_addresses_end_the_wait_after_a_fault() -> None:
    async with played() as network:
        network.fault = LanFault("none")
        await until(lambda: len(network.opened) == 1)
        network.fault = None
        network.addresses = ("192.0.2.9:4433",)
        await until(lambda: network.listener is not None)
        assert network.slept <= 10


async def test_what_zeroconf_complains_of_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with structlog.testing.capture_logs() as logs:
        async with played() as network:
            await until(lambda: network.listener is not None)
            for number in range(3):
                try:
                    raise OSError(101, "Network is unreachable")
                except OSError:
                    logging.getLogger("zeroconf").warning("Error with socket %d", number, exc_info=True)
                slept = network.slept
                await until(lambda slept=slept: network.slept > slept + 10)  # type: ignore[misc]
    assert [each["error"] for each in logs] == ["[Errno 101] Network is unreachable"]
    assert caplog.records == []


async def test_a_crowd_is_said_once() -> None:
    with structlog.testing.capture_logs() as logs:
        async with played() as network:
            await until(lambda: network.listener is not None)
            for number in range(SERVICES_LIMIT + 5):
                network.hear(EndpointId((number + 10).to_bytes(32, "big")))
            assert len(network.found) == SERVICES_LIMIT
    assert len(logs) == 1
    assert logs[0]["kept"] == SERVICES_LIMIT


async def test_closing_before_starting() -> None:
    await Played().lan.close()
