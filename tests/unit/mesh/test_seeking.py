"""Members that hold what is wanted are dialled as soon as they are back; nobody else is looked for."""

from pathlib import Path

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh.seeking import Seeking
from peat_sidecar.net import Returns
from tests.support.manual_time import ManualTime
from tests.support.members import crew, fleet
from tests.support.nodes import bounded, until
from tests.unit.net.test_returns import OTHER, PEER, Silence


async def test_who_is_back_is_dialled_though_the_next_dial_would_be_far_off(tmp_path: Path) -> None:
    time = ManualTime()
    async with crew(tmp_path) as made:
        far = await made.join(formation=fleet(), sleep=time.sleep, clock=time.clock)
        near = await made.join(
            formation=fleet(),
            named=[far.address],
            connect_timeout_seconds=0.02,
            sleep=time.sleep,
            clock=time.clock,
        )
        await until(lambda: far.endpoint.id in near.peers.sessions())
        memory = made.net.memory
        memory.stall(far.endpoint.id, near.endpoint.id)
        memory.cut(near.endpoint.id, far.endpoint.id)
        await until(lambda: far.endpoint.id not in near.peers.sessions())
        near.peers.seek([far.endpoint.id])
        await until(lambda: near.pool.returns.awaited == {far.endpoint.id})
        await until(lambda: bool(time.due))  # the next dial waits for a clock that stands still
        memory.resume(far.endpoint.id, near.endpoint.id)
        near.pool.returns.network_changed()
        await until(lambda: far.endpoint.id in near.peers.sessions())
        near.peers.seek([])
        await until(lambda: not near.pool.returns.awaited)


async def test_those_of_the_last_call_are_looked_for_and_no_others() -> None:
    returns, dialled = Returns(Silence().answers), list[EndpointId]()

    async def dial(peer: EndpointId) -> None:
        dialled.append(peer)

    seeking = Seeking(returns, dial, sleep=ManualTime().sleep)
    seeking.seek([PEER, OTHER])
    await until(lambda: returns.awaited == {PEER.endpoint_id, OTHER.endpoint_id})
    seeking.seek([OTHER])
    await until(lambda: returns.awaited == {OTHER.endpoint_id})
    assert not dialled
    returns.heard(OTHER.endpoint_id)
    await until(lambda: dialled == [OTHER.endpoint_id])
    await bounded(seeking.close())
    assert returns.awaited == frozenset()


async def test_what_answers_and_lets_nobody_in_is_dialled_less_and_less_often() -> None:
    silence, time, dials = Silence(), ManualTime(), 0
    silence.answering.set()

    async def dial(_: EndpointId) -> None:
        nonlocal dials
        dials += 1

    seeking = Seeking(Returns(silence.answers), dial, sleep=time.sleep, jitter=lambda: 1.0)
    seeking.seek([PEER])
    waits = []
    for tries in range(1, 8):
        await until(lambda tries=tries: dials == tries and bool(time.due))  # type: ignore[misc]
        waits += time.due
        time.advance(time.due[0])
    assert waits == [1, 2, 4, 8, 16, 32, 60]
    await seeking.close()


async def test_one_that_has_moved_is_looked_for_where_it_is_now(tmp_path: Path) -> None:
    """Each time anew, not only while the first probe is under way."""
    silence, time, dials = Silence(), ManualTime(), 0

    async def dial(_: EndpointId) -> None:
        nonlocal dials
        dials += 1

    returns = Returns(silence.answers)
    seeking = Seeking(returns, dial, sleep=time.sleep, jitter=lambda: 1.0)
    seeking.seek([PEER])
    await until(lambda: bool(silence.asked))
    elsewhere = PeerAddress(PEER.endpoint_id, ("192.0.2.9:1",))
    seeking.moved(elsewhere)
    await until(lambda: silence.asked[-1][0] == elsewhere)
    returns.heard(PEER.endpoint_id)
    await until(lambda: dials == 1 and bool(time.due))
    silence.asked.clear()
    time.advance(1)
    await until(lambda: bool(silence.asked))
    assert {peer for peer, _ in silence.asked} == {elsewhere}
    await bounded(seeking.close())


async def test_a_record_that_says_where_a_sought_member_is_now_is_heeded(tmp_path: Path) -> None:
    async with crew(tmp_path) as made:
        near = await made.join(formation=fleet())
        near.peers.discovered(PEER, "record")
        near.peers.seek([PEER.endpoint_id])
        await until(lambda: near.pool.returns.awaited == {PEER.endpoint_id})
        near.peers.discovered(PeerAddress(PEER.endpoint_id, ("192.0.2.9:1",)), "record")
        assert near.pool.returns._lost[PEER.endpoint_id].peer.addresses[0] == "192.0.2.9:1"
