"""A probe finds out whether an endpoint answers, for a few bytes, and believes only the answer to itself."""

import asyncio
from typing import Any

from peat_sidecar.ids import PeerAddress
from peat_sidecar.net.probe import answers
from tests.support.networks import ALPN, Network, address_of, network
from tests.support.nodes import bounded

UNUSED = "127.0.0.1:9"


class Echo(asyncio.DatagramProtocol):
    """Answers with the same, and keeps what came."""

    def __init__(self) -> None:
        self.came: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.came.append(data)
        self._transport.sendto(data, address)


async def test_iroh_answers_a_probe_and_nobody_notices() -> None:
    async with network("iroh") as made:
        near, far = await made.endpoint(), await made.endpoint()
        assert await bounded(near.answers(address_of(far), 20.0))
        accepting = asyncio.create_task(far.accept())
        connection = await near.connect(address_of(far), ALPN)
        assert await bounded(accepting) is not None
        assert connection.remote_id == far.id


async def test_who_is_not_there_does_not_answer() -> None:
    async with network("iroh") as made:
        near, far = await made.endpoint(), await made.endpoint()
        address = address_of(far)
        await far.close()
        assert not await bounded(near.answers(address, 0.1))
        assert not await bounded(near.answers(PeerAddress(far.id, ("no-such-host.invalid:1",)), 0.1))


async def test_one_answer_of_several_addresses_is_enough() -> None:
    async with network("iroh") as made:
        near, far = await made.endpoint(), await made.endpoint()
        found = PeerAddress(far.id, (UNUSED, "[::1]:9", *far.addresses()))
        assert await bounded(near.answers(found, 20.0))


async def test_what_does_not_repeat_its_numbers_is_no_answer() -> None:
    loop = asyncio.get_running_loop()
    transport, echo = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    try:
        assert not await bounded(answers([f"{host}:{port}"], {}, 0.2))
        assert [len(each) for each in echo.came] == [23]
    finally:
        transport.close()


async def test_the_twin_answers_alike() -> None:
    made = Network("memory")
    near, far = await made.endpoint(), await made.endpoint()
    assert await bounded(near.answers(address_of(far), 20.0))
    made.memory.stall(far.id, near.id)
    assert not await bounded(near.answers(address_of(far), 0.01))
    await made.close()
