"""Waits for peers that are gone end as soon as one is back, and nobody is looked for without need."""

import asyncio
from dataclasses import dataclass, field

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.net import Pool, Returns
from peat_sidecar.net.returns import PROBE_SECONDS
from tests.support.networks import ALPN, address_of, network
from tests.support.nodes import bounded, until

PEER = PeerAddress(EndpointId(b"p" * 32), ("192.0.2.1:1",))
OTHER = PeerAddress(EndpointId(b"q" * 32), ("192.0.2.2:1",))


@dataclass
class Silence:
    """Peers that answer when a test says so."""

    asked: list[tuple[PeerAddress, float]] = field(default_factory=list)
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    async def answers(self, peer: PeerAddress, seconds: float) -> bool:
        self.asked.append((peer, seconds))
        if self.answering.is_set():
            return True
        await asyncio.sleep(0)
        return False


async def test_a_probe_that_is_answered_ends_all_waits_for_that_peer() -> None:
    silence = Silence()
    returns = Returns(silence.answers)
    waits = [asyncio.create_task(returns.wait(PEER)) for _ in range(3)]
    await until(lambda: len(silence.asked) > 5)
    assert not any(each.done() for each in waits)
    assert {peer for peer, _ in silence.asked} == {PEER}
    silence.answering.set()
    await bounded(asyncio.gather(*waits))
    assert returns.awaited == frozenset()


async def test_one_task_probes_however_many_wait_and_never_quite_in_step() -> None:
    asked: list[float] = []

    async def never(_: PeerAddress, seconds: float) -> bool:
        asked.append(seconds)
        await asyncio.Event().wait()
        return False

    chances = iter((0.0, 1.0))
    returns = Returns(never, jitter=lambda: next(chances))
    waits = [asyncio.create_task(returns.wait(PEER)) for _ in range(5)]
    waits.append(asyncio.create_task(returns.wait(OTHER)))
    await until(lambda: len(asked) == 2)
    assert asked == [0.75 * PROBE_SECONDS, PROBE_SECONDS]
    for each in waits:
        each.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


async def test_nobody_is_probed_once_nobody_waits() -> None:
    silence = Silence()
    returns = Returns(silence.answers)
    assert not silence.asked
    waits = [asyncio.create_task(returns.wait(PEER)) for _ in range(2)]
    await until(lambda: bool(silence.asked))
    waits[0].cancel()
    await asyncio.gather(waits[0], return_exceptions=True)
    assert returns.awaited == {PEER.endpoint_id}
    waits[1].cancel()
    await asyncio.gather(waits[1], return_exceptions=True)
    assert returns.awaited == frozenset()
    await asyncio.sleep(0)
    probes = len(silence.asked)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(silence.asked) == probes


async def test_one_that_has_moved_is_probed_where_it_is_now() -> None:
    silence = Silence()
    returns = Returns(silence.answers)
    waiting = asyncio.create_task(returns.wait(PEER))
    await until(lambda: bool(silence.asked))
    elsewhere = PeerAddress(PEER.endpoint_id, ("192.0.2.9:1",))
    returns.moved(elsewhere)
    returns.moved(OTHER)
    await until(lambda: silence.asked[-1][0] == elsewhere)
    assert returns.awaited == {PEER.endpoint_id}
    silence.answering.set()
    await bounded(waiting)


async def test_a_word_from_the_peer_or_a_changed_network_ends_the_wait() -> None:
    returns = Returns(Silence().answers)
    one, other = asyncio.create_task(returns.wait(PEER)), asyncio.create_task(returns.wait(OTHER))
    await asyncio.sleep(0)
    returns.heard(PEER.endpoint_id)
    await bounded(one)
    assert not other.done()
    returns.network_changed()
    await bounded(other)


async def test_whoever_reaches_a_peer_ends_the_waits_of_the_others() -> None:
    async with network("memory") as made:
        near, far = await made.endpoint(), await made.endpoint()
        pool = Pool(near)
        made.memory.stall(near.id, far.id)
        waiting = asyncio.create_task(pool.returns.wait(address_of(far)))
        await until(lambda: pool.returns.awaited == {far.id})
        for _ in range(3):  # the first probe is under way, and lost
            await asyncio.sleep(0)
        made.memory.resume(near.id, far.id)
        await pool.connection(address_of(far), ALPN)
        await bounded(waiting, 2)
        await pool.close()
