"""Members find, admit and keep each other; nobody else gets anything. Over both networks where it matters."""

import asyncio
from pathlib import Path

import pytest

from peat_sidecar.errors import ConfigError, NotFound, PeerUnavailable, Refused
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh import PeerInfo, known, members, peers
from peat_sidecar.net import Connection, ConnectionClosed, Stream
from peat_sidecar.state import State
from peat_sidecar.transfer import Progress
from peat_sidecar.wire import ALPN, MESH_ALPN
from tests.support.manual_time import ManualTime
from tests.support.members import KEY, OTHER_KEY, Mate, crew, fleet
from tests.support.networks import KINDS
from tests.support.nodes import bounded, until
from tests.support.real_files import real_bytes

STRANGER = EndpointId(bytes([99]) * 32)


def info(mate: Mate, other: Mate) -> PeerInfo:
    return next(each for each in mate.peers.list() if each.endpoint_id == other.id)


async def pass_by(time: ManualTime, seconds: float) -> None:
    """A wait between dials has two parts."""
    for part in (0.5, seconds):
        for _ in range(20):
            await asyncio.sleep(0)
        time.advance(part)


def unknown(mate: Mate, other: Mate) -> bool:
    return other.id not in [each.endpoint_id for each in mate.peers.list()]


@pytest.mark.parametrize("kind", KINDS)
async def test_one_dial_makes_two_members_that_fetch_from_each_other(tmp_path: Path, kind: str) -> None:
    """The table is the same for both directions: the one that was dialled knows where the other one is."""
    data, more = real_bytes(100_000), real_bytes(50_000, 7)
    async with crew(tmp_path, kind) as made:
        one = await made.join(formation=fleet())
        other = await made.join(formation=fleet(), named=[one.address])
        await other.meets(one)
        assert (info(one, other).source, info(other, one).source) == ("inbound", "named")
        assert info(one, other).member
        assert info(other, one).member
        assert info(one, other).addresses  # with Iroh it may have come over either IP version
        assert kind == "iroh" or info(one, other).addresses == other.address.addresses
        assert one.peers.connected == other.peers.connected == 1
        assert one.peers.handshakes.admitted == 1
        there, here = one.store.put(data).hash, other.store.put(more).hash
        assert await other.fetch(there, one) == data
        assert await one.fetch(here, other) == more
        assert one.sessions == [other.id]
        assert other.sessions == [one.id]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_node_without_the_key_gets_nothing_on_any_protocol(tmp_path: Path, kind: str) -> None:
    async with crew(tmp_path, kind) as made:
        member = await made.join(formation=fleet())
        blob = member.store.put(real_bytes(10_000)).hash
        stranger = await made.join(formation=fleet(OTHER_KEY))
        found = await bounded(stranger.peers.connect(member.address))
        assert "does not take this node for a member" in found.last_error
        assert not found.member
        await until(lambda: member.peers.handshakes.refused == 1)
        assert member.peers.refused_handshakes == 1
        assert member.peers.half_open == 0
        assert not member.peers.sessions()
        assert not member.sessions
        assert unknown(member, stranger)
        with pytest.raises(ConnectionClosed, match="does not admit this node"):
            await bounded(stranger.getter.fetch_blob(blob, member.address, Progress()))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_listed_id_without_the_key_gets_blobs_and_nothing_else(tmp_path: Path, kind: str) -> None:
    data = real_bytes(10_000)
    async with crew(tmp_path, kind) as made:
        listed = await made.join()
        member = await made.join(formation=fleet(), allowed=[listed.id])
        blob = member.store.put(data).hash
        await bounded(listed.getter.fetch_blob(blob, member.address, Progress()))
        connection = await bounded(listed.endpoint.connect(member.address, MESH_ALPN))
        stream = await connection.open_stream()
        await stream.write(b"\x01" + bytes(32) + b"\x01" + bytes(32))
        await bounded(connection.closed())
        assert member.peers.handshakes.refused == 1
        assert not member.sessions
        assert not info(member, listed).member


async def test_a_peer_that_speaks_no_mesh_serves_blobs_all_the_same(tmp_path: Path) -> None:
    data = real_bytes(10_000)
    async with crew(tmp_path, "iroh") as made:
        plain = await made.join(alpns=(ALPN,))
        member = await made.join(formation=fleet())
        plain.peers._admissions.list_peer(member.id)
        blob = plain.store.put(data).hash
        found = await bounded(member.peers.connect(plain.address))
        assert (found.connected, found.last_error, found.member) == (True, "", False)
        assert await member.fetch(blob, plain) == data


@pytest.mark.parametrize("kind", KINDS)
async def test_a_ban_ends_everything_at_once(tmp_path: Path, kind: str) -> None:
    async with crew(tmp_path, kind) as made:
        one = await made.join(formation=fleet())
        other = await made.join(formation=fleet(), named=[one.address], allowed=[])
        await other.meets(one)
        inbound = await bounded(other.pool.connection(one.address, ALPN))
        outbound = await bounded(one.pool.connection(other.address, ALPN))
        await until(lambda: len(one.peers._inbound) == 1)

        one.peers.ban(other.id, "captured")
        assert outbound.is_closed
        assert not one.peers.sessions()
        assert "permission" in await bounded(inbound.closed())
        await until(lambda: not other.peers.sessions())
        assert info(one, other).banned
        assert not info(one, other).member
        assert [ban.reason for ban in one.peers.bans()] == ["captured"]
        for alpn in (ALPN, MESH_ALPN):
            refused = await bounded(other.endpoint.connect(one.address, alpn))
            assert "permission" in await bounded(refused.closed())
        for fetch in (one.peers.reach(other.id), one.pool.connection(other.address, ALPN)):
            with pytest.raises(PeerUnavailable, match="kept out"):
                await bounded(fetch)
        with pytest.raises(Refused, match="take the ban back"):
            await bounded(one.peers.connect(other.address))
        with pytest.raises(ConfigError, match="ban itself"):
            one.peers.ban(one.id, "")

        one.peers.unban(other.id)
        await other.meets(one)
        with pytest.raises(NotFound):
            one.peers.unban(other.id)


async def test_a_ban_goes_before_the_settings_and_outlives_the_program(tmp_path: Path) -> None:
    async with crew(tmp_path) as made:
        other = await made.join(formation=fleet())
        with State.open(tmp_path / "state.db") as state:
            one = await made.join(formation=fleet(), named=[other.address], state=state)
            await one.meets(other)
            one.peers.ban(other.id, "captured")
        with State.open(tmp_path / "state.db") as state:
            again = await made.join(formation=fleet(), named=[other.address], allowed=[other.id], state=state)
            refused = await bounded(other.endpoint.connect(again.address, ALPN))
            assert "permission" in await bounded(refused.closed())
            assert again.peers._dialler.next_dial_seconds(other.id) is None
            assert not again.peers._dialler.is_dialling(other.id)
            assert info(again, other).banned


async def test_a_ban_in_the_middle_of_a_handshake(tmp_path: Path) -> None:
    """Banned after QUIC's handshake, before ours: it does not get in."""
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet())
        other = await made.join(formation=fleet())
        connection = await bounded(other.endpoint.connect(one.address, MESH_ALPN))
        await until(lambda: one.peers.half_open == 1)
        one.peers.ban(other.id, "")
        assert "permission" in await bounded(connection.closed())
        await until(lambda: one.peers.half_open == 0)
        assert not one.sessions


async def test_a_disconnect_is_remembered_until_it_is_undone(tmp_path: Path) -> None:
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet())
        with State.open(tmp_path / "state.db") as state:
            other = await made.join(formation=fleet(), named=[one.address], state=state)
            await other.meets(one)
            other.peers.disconnect(one.id)
            await until(lambda: not one.peers.sessions())
            assert unknown(other, one)
            other.peers.discovered(one.address, "mdns")
            assert unknown(other, one)
            with pytest.raises(NotFound):
                other.peers.disconnect(one.id)
            with pytest.raises(PeerUnavailable):
                await other.peers.reach(one.id)
            await other.stop()
        with State.open(tmp_path / "state.db") as state:
            again = await made.join(formation=fleet(), named=[one.address], state=state)
            assert unknown(again, one)
            for alpn in (ALPN, MESH_ALPN):
                assert not again.peers.admits(one.id, alpn)
            await bounded(again.peers.connect(PeerAddress(one.id)))
            await again.meets(one)
            assert info(again, one).addresses == one.address.addresses


async def test_a_peer_that_a_call_has_named_is_known_after_a_restart(tmp_path: Path) -> None:
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet())
        with State.open(tmp_path / "state.db") as state:
            other = await made.join(formation=fleet(), state=state)
            assert (await bounded(other.peers.connect(one.address))).connected
            await other.stop()
        with State.open(tmp_path / "state.db") as state:
            again = await made.join(formation=fleet(), state=state)
            await again.meets(one)
            assert info(again, one).source == "named"


async def test_a_dropped_session_comes_back_by_itself(tmp_path: Path) -> None:
    time = ManualTime()
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet(), sleep=time.sleep, clock=time.clock)
        other = await made.join(formation=fleet(), named=[one.address], sleep=time.sleep, clock=time.clock)
        told: list[tuple[EndpointId, bool]] = []
        end = other.peers.subscribe(lambda peer, began: told.append((peer, began)))
        for _ in range(3):
            await other.meets(one)
            made.net.memory.cut(one.id, other.id)
            await until(lambda: not one.peers.sessions() and not other.peers.sessions())
            await pass_by(time, 60)
        await other.meets(one)
        assert told[:4] == [(one.id, True), (one.id, False)] * 2
        end()


async def test_whoever_was_dialled_dials_back_when_the_dialer_cannot(tmp_path: Path) -> None:
    """The address it came from is kept, so a drop is mended from either side."""
    time = ManualTime()
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet(), sleep=time.sleep, clock=time.clock)
        other = await made.join(formation=fleet(), named=[one.address])
        await other.meets(one)
        other.peers._dialler.release(one.id)
        made.net.memory.cut(one.id, other.id)
        await until(lambda: not one.peers.sessions())
        assert info(one, other).source == "inbound"
        await pass_by(time, 1)
        await other.meets(one)


@pytest.mark.parametrize("kind", KINDS)
async def test_both_dial_at_once_and_have_one_session(tmp_path: Path, kind: str) -> None:
    async with crew(tmp_path, kind) as made:
        one, other = await made.join(formation=fleet()), await made.join(formation=fleet())
        for _ in range(3):
            one.peers.discovered(other.address, "mdns")
            other.peers.discovered(one.address, "mdns")
            await other.meets(one)
            await until(lambda: one.peers.half_open == other.peers.half_open == 0)
            await until(lambda: not one.peers._dialler.is_dialling(other.id))
            await until(lambda: not other.peers._dialler.is_dialling(one.id))
            await until(lambda: len(one.peers._members._connections) == 1)
            await until(lambda: len(other.peers._members._connections) == 1)
            await other.meets(one)
            for mate, peer in ((one, other), (other, one)):
                mate.peers.ban(peer.id, "")
                mate.peers.unban(peer.id)


async def test_a_member_that_restarts_without_a_word_is_taken_back(tmp_path: Path) -> None:
    """Its old connection is silent, and looks alive here for a while."""
    time = ManualTime()
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet(), sleep=time.sleep, clock=time.clock)
        other = await made.join(formation=fleet(), named=[one.address])
        await other.meets(one)
        before = one.peers._sessions.connection(other.id)
        assert before is not None
        time.advance(11)
        made.net.memory.kill(other.id)
        await bounded(other.running)
        back = made.net.memory.endpoint(other.id, alpns=(ALPN, MESH_ALPN))
        connection = await bounded(back.connect(one.address, MESH_ALPN))
        stream = await connection.open_stream()
        await members.prove_as_dialer(fleet(), stream, back.id, one.id)
        await members.exchange_welcomes(stream, one.id)
        await until(lambda: one.peers._sessions.connection(other.id) not in (before, None))
        assert before.is_closed
        await until(lambda: one.sessions == [other.id, other.id])


async def test_a_discovered_peer_has_to_prove_itself(tmp_path: Path) -> None:
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet())
        friend = await made.join(formation=fleet())
        stranger = await made.join(formation=fleet(OTHER_KEY))
        one.peers.discovered(friend.address, "mdns")
        one.peers.discovered(stranger.address, "dns")
        one.peers.discovered(one.address, "mdns")
        one.peers.discovered(PeerAddress(STRANGER), "record")
        await one.meets(friend)
        assert info(one, friend).source == "mdns"
        await until(lambda: bool(info(one, stranger).last_error))
        assert not one.peers.admits(stranger.id, ALPN)
        assert {each.endpoint_id for each in one.peers.list()} == {friend.id, stranger.id}
        with pytest.raises(PeerUnavailable):
            await bounded(one.peers.reach(stranger.id))


async def test_reach_makes_sure_of_a_session_first(tmp_path: Path) -> None:
    time = ManualTime()
    async with crew(tmp_path) as made:
        one = await made.join(
            formation=fleet(), sleep=time.sleep, clock=time.clock, connect_timeout_seconds=0.05
        )
        other = await made.join(formation=fleet())
        one.peers.discovered(PeerAddress(other.id, ("127.0.0.1:1",)), "dns")
        await until(lambda: bool(info(one, other).last_error))
        with pytest.raises(PeerUnavailable, match="did not answer"):
            await bounded(one.peers.reach(other.id))
        one.peers._known.learn(other.address, "record", 0)
        address = await bounded(one.peers.reach(other.id))
        assert address.addresses[0] == other.address.addresses[0]
        await one.meets(other)
        with pytest.raises(PeerUnavailable, match="not known here"):
            await bounded(one.peers.reach(STRANGER))


async def test_whom_only_a_record_names_is_dialled_when_it_is_needed(tmp_path: Path) -> None:
    async with crew(tmp_path) as made:
        other = await made.join(formation=fleet())
        one = await made.join(formation=fleet())
        one.peers.discovered(other.address, "record")
        one.peers.recheck()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not one.peers._dialler.is_dialling(other.id)
        assert not one.peers.sessions()
        assert await bounded(one.peers.reach(other.id)) == other.address
        await one.meets(other)


async def test_without_a_formation_reach_gives_the_address(tmp_path: Path) -> None:
    async with crew(tmp_path) as made:
        one = await made.join(allowed=[STRANGER])
        other = await made.join()
        await bounded(one.peers.connect(other.address))
        assert await bounded(one.peers.reach(other.id)) == other.address
        with pytest.raises(PeerUnavailable, match="no address is known"):
            await bounded(one.peers.reach(STRANGER))


async def test_two_keys_are_accepted_during_a_change(tmp_path: Path) -> None:
    async with crew(tmp_path) as made:
        old = await made.join(formation=fleet(KEY))
        both = await made.join(formation=fleet(OTHER_KEY, KEY), named=[old.address])
        new = await made.join(formation=fleet(OTHER_KEY), named=[both.address, old.address])
        await both.meets(old, new)
        await until(lambda: bool(info(new, old).last_error))
        assert old.peers.sessions() == new.peers.sessions() == {both.id}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_member_that_leaves_the_roster_loses_everything(tmp_path: Path, kind: str) -> None:
    async with crew(tmp_path, kind) as made:
        roster: set[EndpointId] = set()
        one = await made.join(formation=fleet(), may_join=roster.__contains__)
        other, third = await made.join(formation=fleet()), await made.join(formation=fleet())
        roster |= {other.id, third.id}
        one.peers.recheck()
        for mate in (other, third):
            assert not (await bounded(mate.peers.connect(one.address))).last_error
        await one.meets(other, third)
        blobs = await bounded(other.pool.connection(one.address, ALPN))
        fetching = await bounded(one.pool.connection(other.address, ALPN))
        await until(lambda: len(one.peers._inbound) == 1)

        roster.discard(other.id)
        one.peers.recheck()
        assert fetching.is_closed
        assert "permission" in await bounded(blobs.closed())
        assert one.peers.sessions() == {third.id}
        assert not info(one, other).member
        with pytest.raises(PeerUnavailable):
            await bounded(one.pool.connection(other.address, ALPN))
        for alpn in (ALPN, MESH_ALPN):
            refused = await bounded(other.endpoint.connect(one.address, alpn))
            assert "permission" in await bounded(refused.closed())

        roster.add(other.id)
        one.peers.recheck()
        await one.meets(other)


async def test_one_that_leaves_the_roster_in_the_middle_of_its_handshake(tmp_path: Path) -> None:
    """Before anybody has said `recheck`."""
    async with crew(tmp_path) as made:
        other = await made.join(formation=fleet())
        roster = {other.id}
        one = await made.join(formation=fleet(), may_join=roster.__contains__)
        connection = await bounded(other.endpoint.connect(one.address, MESH_ALPN))
        await until(lambda: one.peers.half_open == 1)
        roster.clear()
        stream = await connection.open_stream()
        await members.prove_as_dialer(fleet(), stream, other.id, one.id)
        assert "permission" in await bounded(connection.closed())
        assert one.peers.handshakes.refused == 1
        roster.add(other.id)
        assert not one.peers.admits(other.id, ALPN)


async def test_the_same_list_of_peers_may_be_on_all_nodes(tmp_path: Path) -> None:
    async with crew(tmp_path) as made:
        one = await made.join(formation=fleet())
        own = one.address
        again = await made.join(
            formation=fleet(), named=[own, PeerAddress(EndpointId(b"\x02" * 32), ("127.0.0.1:1",))]
        )
        assert again.id == EndpointId(b"\x02" * 32)
        await again.meets(one)
        assert [each.endpoint_id for each in again.peers.list()] == [one.id]
        with pytest.raises(ConfigError, match="id of this node"):
            await again.peers.connect(again.address)


async def test_a_named_peer_that_is_not_there_is_shown_with_why_and_when(tmp_path: Path) -> None:
    time = ManualTime()
    async with crew(tmp_path) as made:
        one = await made.join(
            formation=fleet(),
            named=[PeerAddress(STRANGER, ("127.0.0.1:9",))],
            connect_timeout_seconds=0.05,
            sleep=time.sleep,
            clock=time.clock,
            jitter=lambda: 1.0,
        )
        await until(lambda: one.peers.list()[0].next_dial_seconds == 1)
        (found,) = one.peers.list()
        assert "did not answer at 127.0.0.1:9" in found.last_error
        time.advance(0.25)
        assert one.peers.list()[0].next_dial_seconds == 0.75


async def test_one_that_nobody_named_is_forgotten_in_the_end(tmp_path: Path) -> None:
    time = ManualTime()
    async with crew(tmp_path) as made:
        gone = PeerAddress(STRANGER, ("127.0.0.1:9",))
        options = {"connect_timeout_seconds": 0.01, "sleep": time.sleep, "clock": time.clock}
        one = await made.join(formation=fleet(), **options)
        named = await made.join(formation=fleet(), named=[gone], **options)
        one.peers.discovered(gone, "mdns")
        for mate in (one, named):
            await until(lambda mate=mate: mate.peers.list()[0].next_dial_seconds is not None)  # type: ignore[misc]
        time.advance(peers.FORGET_SECONDS)
        await pass_by(time, 1)
        await until(lambda: not one.peers.list())
        assert len(named.peers.list()) == 1


async def test_a_connection_that_fails_oddly_ends_no_more_than_its_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with crew(tmp_path) as made:
        one, other = await made.join(formation=fleet()), await made.join(formation=fleet())
        connect, odd = one.endpoint.connect, ["once"]

        async def fail() -> None:
            raise ValueError("a fault of the bindings")

        async def connected(peer: PeerAddress, alpn: bytes) -> Connection:
            connection = await connect(peer, alpn)
            if odd:
                odd.clear()
                monkeypatch.setattr(connection, "accept_stream", fail)
            return connection

        monkeypatch.setattr(one.endpoint, "connect", connected)
        one.peers.discovered(other.address, "mdns")
        await until(lambda: not odd)
        await one.meets(other)
        assert not one.running.done()


async def test_who_is_unbanned_is_dialled(tmp_path: Path) -> None:
    """Also where only a record names it, which came meanwhile: it may itself not try again for minutes."""
    async with crew(tmp_path) as made:
        one, other = await made.join(formation=fleet()), await made.join(formation=fleet())
        one.peers.ban(other.id, "")
        one.peers.discovered(other.address, "record")
        one.peers.discovered(other.address, "mdns")
        with pytest.raises(PeerUnavailable):
            await bounded(one.peers.reach(other.id))
        assert not other.peers.handshakes.refused
        assert info(one, other).banned
        assert info(one, other).next_dial_seconds is None
        one.peers.unban(other.id)
        await one.meets(other)


async def test_when_the_end_is_near_nobody_is_dialled(tmp_path: Path) -> None:
    time = ManualTime()
    async with crew(tmp_path) as made:
        other = await made.join(formation=fleet())
        one = await made.join(formation=fleet(), named=[other.address], sleep=time.sleep, clock=time.clock)
        await one.meets(other)
        await bounded(one.peers.stop_dialling())
        assert one.peers.sessions() == {other.id}
        one.peers.discovered(PeerAddress(STRANGER, ("127.0.0.1:9",)), "mdns")
        other.peers.ban(one.id, "")
        await until(lambda: not one.peers.sessions())
        await pass_by(time, 100)
        assert [each.next_dial_seconds for each in one.peers.list()] == [None, None]


async def test_a_full_table_makes_room_for_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MAX_PEERS", 2)
    async with crew(tmp_path) as made:
        one, friend = await made.join(formation=fleet()), await made.join(formation=fleet())
        one.peers.discovered(friend.address, "mdns")
        await one.meets(friend)
        for number in range(50, 60):
            one.peers.discovered(PeerAddress(EndpointId(bytes([number]) * 32), ("127.0.0.1:9",)), "record")
        assert {each.endpoint_id for each in one.peers.list()} == {friend.id, EndpointId(bytes([59]) * 32)}


async def test_a_session_that_fails_here_does_not_harm_the_others(tmp_path: Path) -> None:
    async with crew(tmp_path) as made:
        failed: list[EndpointId] = []

        async def fails_for_one(connection: Connection, stream: Stream) -> None:
            peer = connection.remote_id
            if peer == bad.id:
                failed.append(peer)
                raise LookupError("a fault of ours")
            stream.stall_seconds = None
            await stream.read(1)

        one = await made.join(formation=fleet(), session=fails_for_one)
        bad, good = await made.join(formation=fleet()), await made.join(formation=fleet())
        await bounded(bad.peers.connect(one.address))
        await bounded(good.peers.connect(one.address))
        await until(lambda: bool(failed))
        await one.meets(good)
        await until(lambda: one.peers.sessions() == {good.id})
        assert not one.running.done()
