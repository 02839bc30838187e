"""Convergence: whoever meets whom, in whatever order; what it costs; stopping and starting."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from peat_sidecar.wire import Batches, Digest, Heads, News, Want
from tests.support.networks import KINDS
from tests.support.nodes import bounded, until
from tests.support.syncing import SyncMesh, SyncNode, mesh, wire

Pairs = list[tuple[int, int]]
SHAPES: dict[str, tuple[int, Pairs]] = {
    "pair": (2, [(0, 1)]),
    "line of three": (3, [(0, 1), (1, 2)]),
    "ring of three": (3, [(0, 1), (1, 2), (2, 0)]),
    "line of five": (5, list(pairwise(range(5)))),
    "ring of five": (5, [*pairwise(range(5)), (4, 0)]),
    "everyone with everyone": (5, [(one, other) for one in range(5) for other in range(one)]),
}


async def nodes(made: SyncMesh, count: int) -> list[SyncNode]:
    return [await made.node() for _ in range(count)]


def seeded(node: SyncNode, label: str, count: int = 3) -> None:
    """Documents of its own, and its part in one that all write."""
    for number in range(count):
        node.put("notes", f"{label}-{number}", text=f"of {label}", number=number)
    node.put("shared", "board", **node_board(node, label))


def node_board(node: SyncNode, label: str) -> dict[str, str]:
    there = node.records.get("shared", "board")
    return {**(there.fields if there else {}), label: "was here"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
async def test_all_end_up_with_all(tmp_path: Path, kind: str, shape: str) -> None:
    """What was written before the links, while they begin, and after."""
    count, pairs = SHAPES[shape]
    async with mesh(tmp_path, kind) as made:
        all_of_them = await nodes(made, count)
        for number, node in enumerate(all_of_them):
            seeded(node, f"early{number}")
        for one, other in pairs:
            await made.link(all_of_them[one], all_of_them[other])
        for number, node in enumerate(all_of_them):
            seeded(node, f"meanwhile{number}")
        await made.equal()
        assert len(all_of_them[0].content()) == 6 * count + 1
        all_of_them[-1].put("notes", "late", text="the last word")
        all_of_them[0].records.delete("notes", "early0-0")
        await until(lambda: all(("notes", "late") in node.content() for node in all_of_them))
        await until(lambda: all(("notes", "early0-0") not in node.content() for node in all_of_them))
        await made.equal()


async def test_partition_heals(tmp_path: Path) -> None:
    """Both halves write, also the same document; a delete in one half stays one."""
    async with mesh(tmp_path) as made:
        ring = await nodes(made, 5)
        links = [await made.link(one, other) for one, other in pairwise([*ring, ring[0]])]
        for number, node in enumerate(ring):
            seeded(node, f"whole{number}")
        await made.equal()
        for each in links[1], links[4]:
            await bounded(each.cut())
        halves = [ring[0], ring[1]], ring[2:]
        for half, name in zip(halves, ("left", "right"), strict=True):
            half[0].put("notes", "contested", **{name: True})
            half[0].records.delete("notes", f"whole{ring.index(half[0])}-1")
            seeded(half[1], name)
            await made.equal(half)
        assert halves[0][0].content() != halves[1][0].content()
        await made.link(ring[1], ring[2])
        await made.equal()
        content = ring[4].content()
        assert ("notes", "whole0-1") not in content
        assert ("notes", "whole2-1") not in content
        assert {key for key in content if key[1].startswith(("left", "right"))} == {
            ("notes", f"{name}-{number}") for name in ("left", "right") for number in range(3)
        }
        await made.link(ring[4], ring[0])
        ring[3].put("notes", "after", text="healed")
        await made.equal()


async def test_carried_by_one_who_visits(tmp_path: Path) -> None:
    """The ends never meet."""
    async with mesh(tmp_path) as made:
        one, carrier, other = await nodes(made, 3)
        seeded(one, "one")
        link = await made.link(one, carrier)
        await made.equal([one, carrier])
        await bounded(link.cut())
        seeded(other, "other")
        await made.link(carrier, other)
        await made.equal([carrier, other])
        notes = [name for collection, name in other.content() if collection == "notes"]
        assert notes == [f"{label}-{number}" for label in ("one", "other") for number in range(3)]
        assert other.records.get("shared", "board").fields == {"one": "was here", "other": "was here"}  # type: ignore[union-attr]


async def test_newcomer_gets_everything_once(tmp_path: Path) -> None:
    """Though it meets four at the same time, each of which has all."""
    async with mesh(tmp_path) as made:
        first = await made.node()
        for number in range(600):
            first.put("notes", f"n{number:04}", text=f"{number} " * 20)
        old = [first, *await nodes(made, 3)]
        for one, other in pairwise(old):
            await made.link(one, other)
        await made.equal()
        single = await made.node()
        before = await made.quiet()
        await made.link(first, single)
        await made.equal()
        once = await made.quiet() - before
        newcomer = await made.node()
        before = await made.quiet()
        for node in old:
            await made.link(node, newcomer)
        await made.equal()
        assert await made.quiet() - before < once * 1.2
        assert newcomer.syncer.received_bytes < once * 1.2


async def test_large_backlog_while_writing(tmp_path: Path) -> None:
    """More than one batch, and than what is given unasked; what is written meanwhile comes too."""
    async with mesh(tmp_path) as made:
        one, other, third = await nodes(made, 3)
        for number in range(900):
            one.put("notes", f"n{number:04}", text=f"{number} " * 100)
        await made.link(one, other)
        await made.link(other, third)
        for number in range(50):
            one.put("notes", f"late{number}", text="x" * 2000)
            await asyncio.sleep(0)
        await made.equal()
        assert len(third.content()) == 950


async def test_longest_record(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        one, other = await nodes(made, 2)
        one.put("notes", "small", text="before")
        one.put("notes", "long", text="x" * 1_000_000)
        one.put("notes", "other", text="after")
        await made.link(one, other)
        await made.equal()
        one.put("notes", "long", text="y" * 1_000_000)
        await made.equal()


async def test_change_costs_the_same_with_many_records(tmp_path: Path) -> None:
    costs = {}
    for stored in (10, 3000):
        directory = tmp_path / str(stored)
        directory.mkdir()
        async with mesh(directory) as made:
            one, other = await nodes(made, 2)
            for number in range(stored):
                one.put("notes", f"n{number:04}", text="some words")
            await made.link(one, other)
            await made.equal()
            before = await made.quiet()
            one.put("notes", "n0003", text="other words")
            await made.equal()
            costs[stored] = await made.quiet() - before
    assert abs(costs[3000] - costs[10]) < 16
    assert costs[3000] < 400


async def test_nothing_goes_back_to_whom_it_came_from(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        one, other, third = await nodes(made, 3)
        await made.link(one, other)
        await made.link(other, third)
        await made.quiet()
        quiet = one.syncer.sent_bytes, third.syncer.sent_bytes
        one.put("notes", "a", text="new")
        await made.equal()
        await made.quiet()
        assert third.syncer.sent_bytes == quiet[1]
        sent = one.syncer.sent_bytes - quiet[0]
        assert sent > 0
        assert other.syncer.received_bytes == one.syncer.sent_bytes + third.syncer.sent_bytes
        assert third.syncer.received_bytes + one.syncer.received_bytes == other.syncer.sent_bytes


async def test_byte_counts_are_those_of_the_streams(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        one, other = await nodes(made, 2)
        seeded(one, "one", 50)
        seeded(other, "other", 20)
        await made.link(one, other)
        await made.equal()
        await made.quiet()
        moved = made.network.memory.sent_bytes
        ids = one.endpoint.id, other.endpoint.id
        opening = 1  # the byte that shows a stream of these tests to the other side
        assert one.syncer.sent_bytes + opening == moved[ids] == other.syncer.received_bytes + opening
        assert other.syncer.sent_bytes == moved[ids[1], ids[0]] == one.syncer.received_bytes


class Ticks:
    """A sleep that ends when the test says so."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.waiting: list[asyncio.Future[None]] = []

    async def sleep(self, seconds: float) -> None:
        if not 0.7 * self.seconds < seconds < 1.3 * self.seconds:
            await asyncio.Event().wait()
        tick = asyncio.get_running_loop().create_future()
        self.waiting.append(tick)
        await tick

    def tick(self) -> None:
        for each in self.waiting:
            if not each.done():
                each.set_result(None)
        self.waiting.clear()


async def test_idle_costs_two_digests(tmp_path: Path) -> None:
    ticks = Ticks(300)
    async with mesh(tmp_path) as made:
        one, other = [await made.node(sleep=ticks.sleep) for _ in range(2)]
        seeded(one, "one", 40)
        await made.link(one, other)
        await made.equal()
        quiet = await made.quiet()
        for round_number in range(1, 4):
            await until(lambda: len(ticks.waiting) == 2)
            ticks.tick()
            await until(lambda expected=quiet + 44 * round_number: made_sent(made) == expected)
            assert await made.quiet() == quiet + 44 * round_number


def made_sent(made: SyncMesh) -> int:
    return sum(node.syncer.sent_bytes for node in made.nodes)


async def test_digest_finds_what_was_left_out(tmp_path: Path) -> None:
    """A peer gives a batch without one of its records; only the digests can show it."""
    ticks = Ticks(300)
    async with mesh(tmp_path) as made:
        source = await made.node()
        honest, victim = [await made.node(sleep=ticks.sleep) for _ in range(2)]
        link = await made.link(source, honest)
        await made.link(honest, victim)
        await made.quiet()
        liar = await made.hostile(victim)
        await liar.meet()
        await bounded(link.cut())
        for name in ("first", "left out", "last"):
            source.put("notes", name, text="x")
        whole = wire(source.records.since(source.signer.id, 0))
        less = whole.__class__(whole.signer, 0, whole.upto, (whole.records[0], whole.records[2]))
        await liar.say(Batches((less,)))
        # to honest by way of the victim, and before the whole of it: else what was asked for comes too late
        await until(lambda: ("notes", "last") in honest.content())
        await made.link(source, honest)
        await until(lambda: len(honest.content()) == 3)
        await made.quiet()
        assert ("notes", "left out") not in victim.content()
        assert honest.records.digest() != victim.records.digest()
        ticks.tick()
        await made.equal([honest, victim])
        assert ("notes", "left out") in victim.content()


async def test_stop_and_start(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        one, other, third = await nodes(made, 3)
        await made.link(one, other)
        await made.link(other, third)
        seeded(one, "one")
        await made.equal()
        other.syncer.stop()
        assert not other.syncer.active
        assert other.syncer.sessions == 2
        before = other.syncer.sent_bytes
        one.put("notes", "while stopped", text="by one")
        third.put("notes", "while stopped", more="by three")
        other.put("notes", "own", text="stays here for now")
        await until(lambda: other.syncer.received_bytes == one.syncer.sent_bytes + third.syncer.sent_bytes)
        await made.quiet()
        assert other.syncer.sent_bytes == before
        assert ("notes", "while stopped") not in other.content()
        other.syncer.start()
        await made.equal()
        assert len(third.content()) == 6
        assert other.syncer.sessions == 2


async def test_both_stopped_then_started(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        pair = await nodes(made, 2)
        for node in pair:
            node.syncer.stop()
        await made.link(*pair)
        for number, node in enumerate(pair):
            seeded(node, f"n{number}")
        assert await made.quiet() == 0
        for node in pair:
            node.syncer.start()
            await made.quiet()
        await made.equal()


async def test_is_syncing_while_records_are_taken(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        one, other = await nodes(made, 2)
        seeded(one, "one", 300)
        assert not other.syncer.is_syncing
        await made.link(one, other)
        await until(lambda: other.syncer.is_syncing)
        await made.equal()
        await until(lambda: not other.syncer.is_syncing)
        assert not one.syncer.is_syncing


async def test_session_leaves_nothing_behind(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        one, other = await nodes(made, 2)
        tasks = len(asyncio.all_tasks())
        for number in range(5):
            link = await made.link(one, other)
            one.put("notes", f"n{number}", text="x")
            await made.equal()
            await bounded(link.cut())
            assert one.syncer.sessions == other.syncer.sessions == 0
        await until(lambda: len(asyncio.all_tasks()) == tasks)


async def test_equal_nodes_say_their_digest_only(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        node, other = await nodes(made, 2)
        seeded(node, "one", 100)
        link = await made.link(node, other)
        await made.equal()
        await bounded(link.cut())
        before = await made.quiet()
        await made.link(node, other)
        await until(lambda: made_sent(made) > before)
        assert await made.quiet() - before == 44
        other.put("notes", "new", text="known to go over at once")
        await made.equal()


async def test_what_a_stranger_to_the_records_is_told(tmp_path: Path) -> None:
    """Much of one signer: told that it is there, not given unasked."""
    async with mesh(tmp_path) as made:
        node = await made.node()
        peer = await made.hostile(node)
        await peer.meet()
        node.put("notes", "small", text="x")
        (given,) = await peer.hear(Batches)
        assert given.batches[0].upto == node.records.heads()[node.signer.id].sequence
        later = await made.hostile(node)
        for number in range(300):
            node.put("notes", f"n{number}", text="y" * 1000)
        await later.meet()
        head = node.records.heads()[node.signer.id].sequence
        assert [each.sequence for frame in await later.hear(Heads) for each in frame.heads] == [head]
        node.put("notes", "one more", text="z")
        (news,) = await later.hear(News)
        assert [signer for signer, _ in news.held] == [node.signer.id]
        assert not [frame for frame in later.heard if isinstance(frame, Batches)]
        await later.say(Want(((node.signer.id, 0),)))  # type: ignore[arg-type]
        await until(lambda: records_in(later.heard) == 302)


def records_in(frames: list[object]) -> int:
    return sum(
        len(batch.records) for frame in frames if isinstance(frame, Batches) for batch in frame.batches
    )


async def test_digest_is_the_first_word(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        node = await made.node()
        peer = await made.hostile(node)
        assert await peer.hear(Digest) == [Digest(node.records.digest(), begins=True)]
        await peer.say(Digest(node.records.digest(), begins=True))
        await made.quiet()
        node.put("notes", "a", text="x")
        await peer.hear(Batches)
