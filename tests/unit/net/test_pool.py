"""The pool: one dial for all who ask, one connection until it closes, none kept for nobody."""

import asyncio

import pytest

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.net import MemoryEndpoint, MemoryNetwork, Pool
from peat_sidecar.net import pool as pool_module
from tests.support.networks import ALPN, address_of, stream_pair

OTHER_ALPN = b"/other/1"


class Counting:
    """An endpoint that counts dials and can hold them up."""

    def __init__(self, inner: MemoryEndpoint) -> None:
        self.inner = inner
        self.dials = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.id = inner.id

    def addresses(self) -> tuple[str, ...]:
        return self.inner.addresses()

    async def connect(self, peer: PeerAddress, alpn: bytes):  # type: ignore[no-untyped-def]
        self.dials += 1
        await self.gate.wait()
        return await self.inner.connect(peer, alpn)

    async def answers(self, peer: PeerAddress, seconds: float) -> bool:
        return await self.inner.answers(peer, seconds)

    async def accept(self):  # type: ignore[no-untyped-def]
        return await self.inner.accept()

    async def close(self) -> None:
        await self.inner.close()


def made(connect_timeout_seconds: float = 0.05) -> tuple[MemoryNetwork, Counting, MemoryEndpoint]:
    network = MemoryNetwork()
    near = network.endpoint(EndpointId(b"n" * 32), connect_timeout_seconds=connect_timeout_seconds)
    far = network.endpoint(EndpointId(b"f" * 32), alpns=(ALPN, OTHER_ALPN))
    return network, Counting(near), far


async def test_shares_one_connection_for_each_protocol() -> None:
    _, near, far = made()
    pool = Pool(near)
    near.gate.clear()
    asking = [asyncio.create_task(pool.connection(address_of(far), ALPN)) for _ in range(5)]
    await asyncio.sleep(0)
    near.gate.set()
    connections = await asyncio.gather(*asking)
    assert near.dials == 1
    assert len({id(each) for each in connections}) == 1
    assert await pool.connection(address_of(far), ALPN) is connections[0]
    assert await pool.connection(address_of(far), OTHER_ALPN) is not connections[0]
    assert near.dials == 2
    await pool.close()
    assert connections[0].is_closed


async def test_one_who_gives_up_takes_nothing_from_the_others() -> None:
    _, near, far = made()
    pool = Pool(near)
    near.gate.clear()
    first = asyncio.create_task(pool.connection(address_of(far), ALPN))
    second = asyncio.create_task(pool.connection(address_of(far), ALPN))
    await asyncio.sleep(0)
    first.cancel()
    near.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not (await second).is_closed
    await pool.close()


async def test_closed_connection_is_dialled_anew() -> None:
    network, near, far = made()
    pool = Pool(near)
    first = await pool.connection(address_of(far), ALPN)
    network.cut(near.id, far.id)
    second = await pool.connection(address_of(far), ALPN)
    assert second is not first
    pool.discard(second)
    assert second.is_closed
    assert await pool.connection(address_of(far), ALPN) is not second
    assert near.dials == 3
    await pool.close()


async def test_failed_dial_is_told_to_all_and_tried_again() -> None:
    network, near, far = made()
    pool = Pool(near)
    network.stall(near.id, far.id)
    asking = [asyncio.create_task(pool.connection(address_of(far), ALPN)) for _ in range(3)]
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(result, PeerUnavailable) for result in results)
    network.resume(near.id, far.id)
    await pool.connection(address_of(far), ALPN)
    assert near.dials == 2
    await pool.close()


async def test_close_peer_ends_connections_and_dials() -> None:
    _, near, far = made()
    pool = Pool(near)
    connection = await pool.connection(address_of(far), ALPN)
    near.gate.clear()
    dialling = asyncio.create_task(pool.connection(address_of(far), OTHER_ALPN))
    await asyncio.sleep(0)
    pool.close_peer(far.id)
    assert connection.is_closed
    with pytest.raises(PeerUnavailable, match="given up here"):
        await dialling
    await pool.close()


async def test_idle_connection_is_closed_and_a_busy_one_kept() -> None:
    _, near, far = made()
    pool = Pool(near, idle_seconds=0.2)
    idle = await pool.connection(address_of(far), ALPN)
    busy = await pool.connection(address_of(far), OTHER_ALPN)
    accepted = {each.alpn: each for each in [await far.accept(), await far.accept()] if each is not None}
    here, there = await stream_pair(busy, accepted[OTHER_ALPN])
    for _ in range(8):
        await asyncio.sleep(0.05)
        await here.write(bytes(1000))
        await there.read_exact(1000)
    assert idle.is_closed
    assert not busy.is_closed
    await pool.close()


async def test_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_CONNECTIONS", 1)
    _, near, far = made()
    pool = Pool(near)
    first = await pool.connection(address_of(far), ALPN)
    second = await pool.connection(address_of(far), OTHER_ALPN)
    assert first.is_closed
    assert not second.is_closed
    await pool.close()


async def test_closed_pool_dials_no_more() -> None:
    _, near, far = made()
    pool = Pool(near)
    near.gate.clear()
    dialling = asyncio.create_task(pool.connection(address_of(far), ALPN))
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(PeerUnavailable):
        await dialling
    with pytest.raises(PeerUnavailable, match="shutting down"):
        await pool.connection(address_of(far), ALPN)
    assert len(asyncio.all_tasks()) == 1


async def test_one_who_is_cancelled_with_the_dial_is_cancelled() -> None:
    """And is not told that the peer is unavailable, upon which it would try again."""
    _, near, far = made()
    pool = Pool(near)
    near.gate.clear()
    dialling = asyncio.create_task(pool.connection(address_of(far), ALPN))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    dialling.cancel()
    pool.close_peer(far.id)
    with pytest.raises(asyncio.CancelledError):
        await dialling
    await pool.close()


async def test_who_may_not_be_dialled_is_not_connected_to_even_by_a_dial_under_way() -> None:
    _, near, far = made()
    pool = Pool(near)
    banned: set[EndpointId] = set()
    pool.ask_before_dialling(lambda peer: peer not in banned)
    near.gate.clear()
    dialling = asyncio.create_task(pool.connection(address_of(far), ALPN))
    await asyncio.sleep(0)
    banned.add(far.id)
    near.gate.set()
    with pytest.raises(PeerUnavailable, match="kept out"):
        await dialling
    accepted = await far.accept()
    assert accepted is not None
    await accepted.closed()
    assert pool.find(far.id, ALPN) is None
    with pytest.raises(PeerUnavailable, match="kept out"):
        await pool.connection(address_of(far), ALPN)
    assert near.dials == 1
    banned.clear()
    assert not (await pool.connection(address_of(far), ALPN)).is_closed
    await pool.close()
