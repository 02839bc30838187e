"""What a member that lies, floods, forges or stops reading can do: lose its session, or be left aside."""

import asyncio
import contextlib
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peat_sidecar.errors import PeerUnavailable, RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.sync_asks import WINDOW
from peat_sidecar.mesh.throttle import BURST_BYTES, BYTES_PER_SECOND
from peat_sidecar.records import FaultKind, Records, Signer
from peat_sidecar.wire import (
    Batches,
    Digest,
    Frame,
    Heads,
    Held,
    News,
    Want,
    Wanted,
    WireHead,
    WireRecord,
    encode_frame,
)
from tests.support.networks import KINDS
from tests.support.nodes import bounded, until
from tests.support.real_files import real_bytes
from tests.support.syncing import ScriptedPeer, SyncMesh, SyncNode, mesh, wire

NOBODY = EndpointId(b"n" * 32)
TOP = (1 << 64) - 1


async def honest_pair(made: SyncMesh, **options: object) -> tuple[SyncNode, SyncNode]:
    """A node that is attacked, and its honest peer."""
    victim, friend = await made.node(**options), await made.node(**options)
    await made.link(victim, friend)
    await made.quiet()
    return victim, friend


async def still_in_order(made: SyncMesh, victim: SyncNode, friend: SyncNode) -> None:
    """Whatever happened, the two go on as before."""
    friend.put("notes", "from the friend", text="are you there?")
    victim.put("notes", "from the victim", text="I am")
    await made.equal([victim, friend])
    assert victim.records.get("notes", "from the friend") is not None


def claims(count: int, sequence: int = 1 << 63) -> tuple[WireHead, ...]:
    return tuple(
        WireHead(EndpointId(struct.pack(">Q", n) * 4), sequence, bytes(16)) for n in range(1, count + 1)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "junk",
    [
        struct.pack("<I", 1 << 30),
        struct.pack("<IB", 1, 99),
        struct.pack("<IB", 3, 3) + b"xx",
        struct.pack("<IB", 1 + len(bomb := zlib.compress(bytes(32 << 20), 9)), 3) + bomb,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["too long", "unknown type", "no zlib", "bomb", "http"],
)
async def test_broken_frames_end_their_session_only(tmp_path: Path, kind: str, junk: bytes) -> None:
    async with mesh(tmp_path, kind) as made:
        victim, friend = await honest_pair(made)
        peer = await made.hostile(victim)
        await peer.meet()
        await peer.stream.write(junk)
        with pytest.raises(RemoteProtocolError):
            await peer.end()
        await bounded(peer.reads)
        assert victim.syncer.sessions == 1
        await still_in_order(made, victim, friend)


async def test_forged_and_altered_records(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        victim, friend = await honest_pair(made)
        with records_of(tmp_path / "stranger.db") as stranger:
            stranger.put("notes", "a", {"text": "true"})
            good = wire(stranger.since(STRANGER.id, 0))
        (record,) = good.records
        altered = WireRecord(record.signature, record.body.replace(b"true", b"lies"))
        forged = WireRecord(bytes(64), record.body)
        for bad in altered, forged:
            peer = await made.hostile(victim)
            await peer.meet()
            await peer.say(Batches((replace(good, records=(bad,)),)))
            with pytest.raises(RemoteProtocolError, match="forged"):
                await peer.end()
        assert victim.content() == {}
        assert STRANGER.id not in victim.records.heads()
        kinds = [fault.kind for fault in victim.records.faults()]
        assert kinds
        assert set(kinds) == {FaultKind.FORGED}
        await still_in_order(made, victim, friend)
        assert friend.records.faults() == []


async def test_batches_that_are_not_what_they_say(tmp_path: Path) -> None:
    """Others' records, no JSON, and an `upto` that would hide what follows."""
    async with mesh(tmp_path) as made:
        victim, friend = await honest_pair(made)
        with records_of(tmp_path / "stranger.db") as stranger:
            stranger.put("notes", "a", {"text": "true"})
            good = wire(stranger.since(STRANGER.id, 0))
        for bad in (
            replace(good, signer=NOBODY),
            replace(good, upto=good.upto + 5),
            replace(good, upto=TOP),
            replace(good, records=(WireRecord(bytes(64), b"[" * 100_000),)),
            replace(good, records=(WireRecord(bytes(64), b"{}"),)),
        ):
            peer = await made.hostile(victim)
            await peer.meet()
            await peer.say(Batches((bad,)))
            with pytest.raises(RemoteProtocolError, match="malformed"):
                await peer.end()
        assert victim.content() == {}
        peer = await made.hostile(victim)
        await peer.meet()
        await peer.say(Batches((good,)))
        await until(lambda: victim.records.get("notes", "a") is not None)
        await still_in_order(made, victim, friend)


async def test_heads_of_signers_that_do_not_exist(tmp_path: Path) -> None:
    """Asked for a window of them once, and never again before the next round; the friend is not asked."""
    async with mesh(tmp_path) as made:
        victim, friend = await honest_pair(made, sleep=asyncio.sleep, ask_seconds=0.05)
        peer = await made.hostile(victim)
        lies = claims(1000)
        await peer.meet(*lies)
        await until(lambda: len(peer.wants()) == 1000)
        await until(lambda: not victim.syncer.is_syncing)
        assert all(asked == [0] for asked in peer.wants().values())
        assert all(isinstance(frame, Want) and len(frame.wanted) <= WINDOW for frame in await peer.hear(Want))
        assert victim.syncer.sessions == 2
        await still_in_order(made, victim, friend)


async def test_heads_beyond_all_bounds(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        victim, friend = await honest_pair(made)
        peer = await made.hostile(victim)
        await peer.meet(*claims(15_000))
        more = tuple(Held(EndpointId(struct.pack("<Q", n) * 4), 5) for n in range(1, 8000))
        await peer.say(News(more))
        with pytest.raises(RemoteProtocolError, match="signers"):
            await peer.end()
        await still_in_order(made, victim, friend)


async def test_claims_about_others_delay_nothing(tmp_path: Path) -> None:
    """A liar says it has more of everyone, first; what is true comes from the friend all the same."""
    async with mesh(tmp_path) as made:
        victim = await made.node(sleep=asyncio.sleep, ask_seconds=0.1)
        friend = await made.node()
        for number in range(20):
            friend.put("notes", f"n{number}", text="true")
        peer = await made.hostile(victim)
        await peer.meet(
            WireHead(friend.signer.id, TOP, bytes(16)), WireHead(victim.signer.id, TOP, bytes(16))
        )
        await until(lambda: len(peer.wants()) == 2)
        await made.link(victim, friend)
        await made.equal([victim, friend])
        assert len(victim.content()) == 20
        await until(lambda: not victim.syncer.is_syncing)
        await still_in_order(made, victim, friend)


async def test_gaps_for_ever(tmp_path: Path) -> None:
    """Batches that never join on are not verified, and each signer is asked for once."""
    async with mesh(tmp_path) as made:
        victim, friend = await honest_pair(made, sleep=asyncio.sleep, ask_seconds=0.05)
        with records_of(tmp_path / "stranger.db") as stranger:
            for number in range(2):
                stranger.put("notes", f"n{number}", {"text": "x"})
            second = wire(stranger.since(STRANGER.id, stranger_first(stranger)))
        peer = await made.hostile(victim)
        await peer.meet()
        for number in range(200):
            await peer.say(
                Batches((replace(second, after=second.after + number, upto=second.upto + number),))
            )
        await until(lambda: not victim.syncer.is_syncing and bool(peer.wants()))
        await made.quiet()
        assert set(peer.wants()) == {STRANGER.id}
        assert len(peer.wants()[STRANGER.id]) < 10
        assert victim.records.heads().keys() <= {victim.signer.id, friend.signer.id}
        await still_in_order(made, victim, friend)


async def test_who_was_asked_and_gives_nothing_is_replaced(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        victim = await made.node(sleep=asyncio.sleep, ask_seconds=0.1)
        friend = await made.node()
        friend.put("notes", "n", text="true")
        (head,) = friend.records.heads().items()
        silent = await made.hostile(victim)
        await silent.meet(WireHead(head[0], head[1].sequence, head[1].digest))
        await until(lambda: bool(silent.wants()))
        await made.link(victim, friend)
        await made.equal([victim, friend])


async def test_who_was_asked_and_leaves_is_replaced_at_once(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        victim, friend = await made.node(), await made.node()
        friend.put("notes", "n", text="true")
        (head,) = friend.records.heads().items()
        silent = await made.hostile(victim)
        await silent.meet(WireHead(head[0], head[1].sequence, head[1].digest))
        await until(lambda: bool(silent.wants()))
        await made.link(victim, friend)
        await made.quiet(though_asking=True)
        assert victim.content() == {}
        await silent.stream.finish()
        await made.equal([victim, friend])


@pytest.mark.parametrize("kind", KINDS)
async def test_peer_that_stops_reading(tmp_path: Path, kind: str) -> None:
    """It is left after the write time; meanwhile others get what is new, and nothing piles up for it."""
    async with mesh(tmp_path, kind) as made:
        victim, friend = await honest_pair(made, write_seconds=0.5)
        peer = await made.hostile(victim)
        await peer.meet()
        peer.reads.cancel()
        for number in range(60):
            victim.put("notes", f"large{number}", text=real_bytes(100_000, number * 100_000).hex())
            await made.equal([victim, friend])
        await peer.say(Want((Wanted(victim.signer.id, 0),)))  # else it would only be told that there is more
        with pytest.raises(PeerUnavailable, match="took nothing"):
            await peer.end()
        assert victim.syncer.sessions == 1
        await still_in_order(made, victim, friend)


FLOODS: list[tuple[Frame, int]] = [
    (Heads(claims(10_000, 1), asks=True), 600_000),
    (Heads(claims(10_000, 1)), 600_000),
    (Digest(b"not the same one"), 4096),
    (Digest(b"not the same one", begins=True), 4096),
    (Want(tuple(Wanted(head.signer, 0) for head in claims(10_000))), 400_000),
    (News(tuple(Held(head.signer, 1) for head in claims(10_000))), 400_000),
    (Want(()), 256),
    (Batches(()), 256),
]
"""Frames, and what each counts like at least, in bytes."""


@pytest.mark.parametrize(("flood", "cost"), FLOODS, ids=lambda frame: type(frame).__name__)
async def test_floods_are_slowed_down(tmp_path: Path, flood: Frame, cost: int) -> None:
    """The flooder gets a burst and then its share looked at; the others' records go on at once."""
    async with mesh(tmp_path) as made:
        victim, friend = await honest_pair(made)
        peer = await made.hostile(victim)
        await peer.meet()
        begun = time.monotonic()
        flooding = asyncio.create_task(pour(peer, flood))
        size = len(encode_frame(flood))
        await until(lambda: victim.syncer.received_bytes > size * BURST_BYTES // cost // 2)
        await still_in_order(made, victim, friend)
        for number in range(5):
            friend.put("notes", f"n{number}", text="in between")
            await made.equal([victim, friend])
        taken = victim.syncer.received_bytes / size * cost
        allowed = BURST_BYTES + BYTES_PER_SECOND * (time.monotonic() - begun)
        one_read = max(1 << 16, size) / size * cost
        assert taken < allowed + 2 * one_read
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        assert victim.syncer.sessions == 2


async def pour(peer: ScriptedPeer, frame: Frame) -> None:
    data = encode_frame(frame) * 100
    while True:
        await peer.stream.write(data)


async def test_the_same_records_again_and_again(tmp_path: Path) -> None:
    """What is here already is not verified again, and costs the sender its share."""
    async with mesh(tmp_path) as made:
        victim, friend = await honest_pair(made)
        friend.put("notes", "a", text="x" * 1000)
        batch = wire(friend.records.since(friend.signer.id, 0))
        friend.put("notes", "a", text="y" * 1000)
        await made.equal([victim, friend])
        peer = await made.hostile(victim)
        await peer.meet()
        for _ in range(1000):
            await peer.say(Batches((batch,)))
        await until(lambda: victim.syncer.received_bytes == made_sent_to(made, victim, peer))
        assert victim.records.faults() == []
        await still_in_order(made, victim, friend)


def made_sent_to(made: SyncMesh, node: SyncNode, peer: ScriptedPeer) -> int:
    """Stream bytes that have arrived at a node, without those that open the streams of these tests."""
    moved = made.network.memory.sent_bytes
    return sum(count for (_, receiver), count in moved.items() if receiver == node.endpoint.id) - 1


async def test_asking_again_and_again(tmp_path: Path) -> None:
    """What was given is given a few times more, and then not before the next round."""
    async with mesh(tmp_path) as made:
        victim, friend = await honest_pair(made)
        victim.put("notes", "a", text="x" * 1000)
        await made.equal([victim, friend])
        peer = await made.hostile(victim)
        await peer.meet()
        for _ in range(50):
            await peer.say(
                Want((Wanted(victim.signer.id, 0), Wanted(NOBODY, 0), Wanted(victim.signer.id, TOP)))
            )
            await made.quiet()
        given = [frame for frame in peer.heard if isinstance(frame, Batches)]
        assert 1 <= len(given) <= 4
        await still_in_order(made, victim, friend)


async def test_sessions_that_come_and_go(tmp_path: Path) -> None:
    """Nothing of them is kept."""
    async with mesh(tmp_path) as made:
        victim, friend = await honest_pair(made)
        for _ in range(20):
            peer = await made.hostile(victim)
            await peer.meet(*claims(500))
            await until(lambda peer=peer: bool(peer.wants()))
            await peer.stream.finish()
            await peer.end()
        assert victim.syncer.sessions == 1
        assert not victim.syncer.is_syncing
        await still_in_order(made, victim, friend)


STRANGER = Signer(b"s" * 32)


@contextlib.contextmanager
def records_of(path: Path) -> Iterator[Records]:
    """The records of a node that is not there."""
    records = Records.open(path, STRANGER)
    try:
        yield records
    finally:
        records.close()


def stranger_first(records: Records) -> int:
    """The sequence of its first record."""
    batch = records.since(STRANGER.id, 0, limit_bytes=1)
    assert batch is not None
    return batch.upto
