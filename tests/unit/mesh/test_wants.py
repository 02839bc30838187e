"""Durable wants: resolved by the records, fetched from whoever can be reached, in the order of classes."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError, IntegrityError, NotFound, PeerUnavailable, StoreFull
from peat_sidecar.ids import BlobHash, EndpointId, PeerAddress
from peat_sidecar.mesh.deadlines import LOOK_SECONDS
from peat_sidecar.mesh.pulled import PulledPackage
from peat_sidecar.mesh.want import Want
from peat_sidecar.mesh.want_queue import LARGE_PLACES, PLACES, SMALL_BYTES
from peat_sidecar.state import State, WantRow
from peat_sidecar.transfer import Getter, Progress, Sources
from peat_sidecar.wire import parse_hash_sequence
from tests.support.manual_time import ManualTime
from tests.support.mesh_nodes import Mesh, MeshNode, calm, layer, mesh, wanted
from tests.support.nodes import content, until

REF = "registry.example/team/app:v1"


class Held:
    """A getter whose fetches wait until a test lets them go on."""

    def __init__(self, getter: Getter) -> None:
        self._getter = getter
        self.fetches: list[BlobHash] = []
        self.peers: list[EndpointId] = []
        self.gate = asyncio.Event()
        self.errors: list[Exception] = []
        self.moves = False
        """Bytes come all the time."""

    async def fetch_package(
        self, collection: BlobHash, peers: Sources, progress: Progress, **more: Any
    ) -> Any:
        self.fetches.append(collection)
        self.peers.append(peers.current[0].endpoint_id)
        if self.errors:
            raise self.errors.pop(0)
        progress.done_bytes = 10
        while not self.gate.is_set():
            progress.wire_bytes += self.moves
            await asyncio.sleep(0)
            if self.errors:
                raise self.errors.pop(0)
        return await self._getter.fetch_package(collection, peers, progress, **more)


def held(made: dict[str, Held], name: str) -> Callable[[Getter], Held]:
    def of(getter: Getter) -> Held:
        made[name] = Held(getter)
        return made[name]

    return of


def the_want(node: MeshNode, name: str = REF) -> Want:
    (found,) = [each for each in node.p.wants.list() if each.name == name]
    return found


async def announced(node: MeshNode, *names: str) -> None:
    await until(lambda: all("content" in node.document(f"{node.name}:{name}-amd64") for name in names))


async def test_a_want_fires_when_a_record_names_a_provider(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        want = b.p.wants.add(REF)
        assert (want.state, want.origin, want.transfer_class) == ("waiting", "user", TransferClass.NORMAL)
        made.link(a, b)
        await until(lambda: "not known in the formation" in the_want(b).why)
        assert not made.time.due  # it waits for news, not for time
        package = a.add(REF, [layer(1), layer(2, 300_000)])
        await wanted(b, REF, "done")
        got = b.content(REF)
        assert got is not None
        assert got.root == package.root
        assert got.blobs == package.blobs
        for digest in package.blobs:
            info = b.p.store.find(digest)
            assert info is not None
            assert info.complete
        done = the_want(b)
        assert done.done_bytes == done.total_bytes == package.bytes
        assert b.p.state.wants()[0].done


async def test_a_want_fires_when_a_session_with_a_provider_begins(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, b)
        made.unlink(a, b)
        b.p.wants.add(REF)
        await until(lambda: "can be reached" in the_want(b).why)
        asked = len(b.peers.asked)
        assert asked == 1  # once; then a back-off, for which nobody is asked
        b.peers.change(a.address, True)
        a.peers.change(b.address, True)
        await wanted(b, REF, "done")


async def test_only_holders_of_what_waits_are_sought(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, b)
        made.unlink(a, b)
        await calm(b)
        assert not b.peers.sought
        want = b.p.wants.add(REF)
        await until(lambda: b.peers.sought == {a.id})
        b.p.wants.cancel(want.id)
        await until(lambda: not b.peers.sought)
        b.p.wants.add("registry.example/that/nobody:has")
        await calm(b)
        assert not b.peers.sought
        b.p.wants.add(REF)
        await until(lambda: b.peers.sought == {a.id})
        b.peers.change(a.address, True)
        a.peers.change(b.address, True)
        await wanted(b, REF, "done")
        await until(lambda: not b.peers.sought)


async def test_a_want_without_a_provider_asks_nobody_and_wakes_by_itself_never(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        made.link(a, b)
        want = b.p.wants.add(REF)
        await until(lambda: "not known in the formation" in the_want(b).why)
        await calm(b)
        sent = dict(made.made.memory.sent_bytes)
        for _ in range(30):
            made.time.advance(86_400)
            await calm(b)
        assert b.p.wants.list()[0].state == "waiting", "it never gives up by itself"
        assert want.deadline == 0
        assert not b.peers.asked
        assert not b.p.transfers.all()
        assert not made.time.due
        assert made.made.memory.sent_bytes == sent


async def test_after_its_deadline_a_want_has_failed_for_good(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        b = await made.node("b")
        b.p.wants.add(REF, deadline_seconds=3600)
        await until(lambda: bool(made.time.due))
        assert made.time.due == [pytest.approx(LOOK_SECONDS)]
        made.time.advance(3599)
        await calm(b)
        assert the_want(b).state == "waiting"
        made.time.advance(2)
        await wanted(b, REF, "failed")
        assert the_want(b).why.startswith("it was not here by its deadline: ")
        await b.stop()
        await b.start()
        assert the_want(b).state == "failed"
        assert b.p.state.wants()[0].expired
        a = await made.node("a")
        a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, b)
        await calm(b)
        assert b.content(REF) is None
        again = b.p.wants.add(REF)
        await until(lambda: b.content(REF) is not None)
        assert {each.state for each in b.p.wants.list() if each.id != again.id} == {"failed"}


async def test_a_fetch_ends_with_the_deadline_of_its_want(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b, _, names = await many(made, 1)
        b.p.wants.add(names[0], deadline_seconds=60)
        await until(lambda: fetching(b) == {names[0]} and any(each > 50 for each in made.time.due))
        transfer = b.p.transfers.get(the_want(b, names[0]).transfer_id)
        made.time.advance(61)
        await until(lambda: transfer.state.value == "cancelled")
        await wanted(b, names[0], "failed")


async def test_a_deadline_is_not_moved_by_a_clock_that_is_set(tmp_path: Path) -> None:
    """A machine that begins in 1970 learns the time, starts again, and begins in 1970 once more."""
    day = ManualTime(start=0.0)
    async with mesh(tmp_path) as made:
        b = await made.node("b", day=day)
        b.p.wants.add(REF, deadline_seconds=3600)
        await calm(b)
        day.advance(1_700_000_000)
        made.time.advance(1800)
        await calm(b)
        assert the_want(b).state == "waiting"
        assert the_want(b).deadline == 1_700_001_800
        await b.stop()
        day.now = 0.0
        await b.start()
        await calm(b)
        made.time.advance(3599)
        await calm(b)
        assert the_want(b).state == "waiting", "what is left is not known, so it has its time again"
        made.time.advance(2)
        await wanted(b, REF, "failed")


async def test_deadlines_of_a_want_that_is_added_again(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        b = await made.node("b")
        first = b.p.wants.add(REF, deadline_seconds=60)
        assert b.p.wants.add(REF, deadline_seconds=30).deadline == first.deadline, "the later one"
        assert b.p.wants.add(REF, deadline_seconds=600).deadline > first.deadline
        assert b.p.wants.add(REF).deadline == 0
        assert b.p.wants.add(REF, deadline_seconds=60).deadline == 0, "for ever is later"
        for seconds in (-1, float("nan"), float("inf"), 1e12):
            with pytest.raises(ConfigError, match="deadline"):
                b.p.wants.add("other/name:v1", deadline_seconds=seconds)


async def test_names(tmp_path: Path) -> None:
    """Root digest, collection hash, reference without its registry, pinned reference."""
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        package = a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, b)
        for name in (str(package.root.digest), str(package.collection), f"{REF}@{package.root.digest}"):
            b.p.wants.add(name)
            await wanted(b, name, "done")
        for wrong in ("", " ", "a\nb", "x y", "x" * 600):
            with pytest.raises(ConfigError):
                b.p.wants.add(wrong)
        with pytest.raises(ConfigError):
            b.p.wants.add(REF, export_to="no registry at all")


async def test_owners_disagree_the_newest_counts(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b, c = await made.node("a"), await made.node("b"), await made.node("c")
        a.add(REF, [layer(1)])
        await announced(a, REF)
        newer = b.add(REF, [layer(2)])
        await announced(b, REF)
        made.link(a, c)
        made.link(b, c)
        c.p.wants.add(REF)
        await wanted(c, REF, "done")
        got = c.content(REF)
        assert got is not None
        assert got.root == newer.root


async def test_a_replica_does_not_bring_an_old_version_back(tmp_path: Path) -> None:
    """B's copy of the old version is announced later than A's new one, and is a copy all the same."""
    async with mesh(tmp_path) as made:
        a, b, c = await made.node("a"), await made.node("b"), await made.node("c")
        old = a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, b)
        made.unlink(a, b)
        b.peers.change(a.address, True)  # content only: B does not hear of the new version
        b.ends.clear()
        new = a.add(REF, [layer(2)])
        await until(lambda: str(new.root.digest) in str(a.document(f"a:{REF}-amd64")))
        a.p.store.add_package(replace(old, reference=f"{REF}@{old.root.digest}"))
        b.p.wants.add(REF)
        await wanted(b, REF, "done")
        await announced(b, REF)
        assert b.document(f"b:{REF}-amd64")["origin"] == "a"
        made.link(b, c)
        made.link(a, c)
        c.p.wants.add(REF)
        await wanted(c, REF, "done")
        got = c.content(REF)
        assert got is not None
        assert got.root == new.root


async def test_wants_outlive_the_program(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        b = await made.node("b")
        want = b.p.wants.add(REF, TransferClass.HIGH, export_to="127.0.0.1:5000/mirror")
        await b.stop()
        await b.start()
        again = the_want(b)
        assert (again.id, again.transfer_class, again.export_to) == (
            want.id,
            want.transfer_class,
            want.export_to,
        )
        b.p.wants.set_class(want.id, TransferClass.BULK)
        await b.stop()
        await b.start()
        assert the_want(b).transfer_class is TransferClass.BULK
        b.p.wants.cancel(want.id)
        await b.stop()
        await b.start()
        assert b.p.wants.list() == []
        with pytest.raises(NotFound):
            b.p.wants.cancel(want.id)


async def test_a_fetch_that_was_broken_off_by_the_end_goes_on(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        getters: dict[str, Held] = {}
        a, b = await made.node("a"), await made.node("b", getter_of=held(getters, "b"))
        package = a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, b)
        b.p.wants.add(REF)
        await wanted(b, REF, "fetching")
        await b.stop()
        b.getter_of = lambda getter: getter
        await b.start()
        await wanted(b, REF, "done")
        got = b.content(REF)
        assert got is not None
        assert got.root == package.root


async def test_what_has_come_another_way_is_done(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        b = await made.node("b")
        b.p.wants.add(REF)
        b.add(REF, [layer(1)])
        await wanted(b, REF, "done")


async def test_the_same_want_twice_is_one(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        b = await made.node("b")
        first = b.p.wants.add(REF, TransferClass.LOW)
        second = b.p.wants.add(REF, TransferClass.CRITICAL)
        third = b.p.wants.add(REF, TransferClass.BULK)
        assert first.id == second.id == third.id
        assert the_want(b).transfer_class is TransferClass.CRITICAL
        assert b.p.wants.add(REF, arch="arm64").id != first.id


async def many(made: Mesh, count: int, size: int = SMALL_BYTES) -> tuple[MeshNode, MeshNode, Held, list[str]]:
    getters: dict[str, Held] = {}
    a, b = await made.node("a"), await made.node("b", getter_of=held(getters, "b"))
    names = [f"registry.example/team/app{number}:v1" for number in range(count)]
    for number, name in enumerate(names):
        a.add(name, [layer(number, size)])
    await announced(a, *names)
    made.link(a, b)
    return a, b, getters["b"], names


def fetching(node: MeshNode) -> set[str]:
    return {each.name for each in node.p.wants.list() if each.state == "fetching"}


async def test_four_at_once_in_the_order_of_classes(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b, getter, names = await many(made, 7)
        for name in names[:4]:
            b.p.wants.add(name, TransferClass.NORMAL)
        await until(lambda: fetching(b) == set(names[:4]))
        b.p.wants.add(names[4], TransferClass.LOW)
        made.time.advance(1)
        b.p.wants.add(names[5], TransferClass.NORMAL)
        await until(
            lambda: "its turn" in the_want(b, names[4]).why and "its turn" in the_want(b, names[5]).why
        )
        assert fetching(b) == set(names[:4])
        b.p.wants.cancel(the_want(b, names[0]).id)
        await until(lambda: names[5] in fetching(b))  # younger, but of a higher class
        assert "its turn" in the_want(b, names[4]).why
        getter.gate.set()
        await until(lambda: all(each.state == "done" for each in b.p.wants.list()))


async def test_small_ones_do_not_wait_for_each_other_and_keep_no_large_one_away(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b, _, names = await many(made, PLACES + 1, size=40_000)
        large = "registry.example/team/large:v1"
        a.add(large, [layer(1, SMALL_BYTES)])
        await announced(a, large)
        for name in names[:PLACES]:
            b.p.wants.add(name)
        await until(lambda: fetching(b) == set(names[:PLACES]))
        made.time.advance(1)
        b.p.wants.add(large)
        made.time.advance(1)
        b.p.wants.add(names[PLACES])
        for number in range(LARGE_PLACES):
            await until(lambda: "its turn" in the_want(b, names[PLACES]).why)
            assert fetching(b) == set(names[number:PLACES])
            b.p.wants.cancel(the_want(b, names[number]).id)
            await calm(b)
        await until(lambda: fetching(b) == {large, *names[LARGE_PLACES:PLACES]})
        b.p.wants.cancel(the_want(b, large).id)
        await until(lambda: names[PLACES] in fetching(b))


async def test_a_critical_want_does_not_wait_behind_bulk(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b, getter, names = await many(made, 6)
        b.p.wants.add(names[0], TransferClass.NORMAL)
        for name in names[1:4]:
            made.time.advance(1)
            b.p.wants.add(name, TransferClass.BULK)
        await until(lambda: len(fetching(b)) == 4)
        b.p.wants.add(names[4], TransferClass.CRITICAL)
        await until(lambda: names[4] in fetching(b))
        assert fetching(b) == {*names[:3], names[4]}  # the youngest of the lowest class made way
        assert the_want(b, names[3]).state == "waiting"
        getter.gate.set()
        await until(lambda: all(each.state == "done" for each in b.p.wants.list()))
        assert len(b.p.transfers.all()) == 6


async def test_the_class_of_a_waiting_want_can_be_raised(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b, _, names = await many(made, 5)
        for name in names[:4]:
            b.p.wants.add(name, TransferClass.LOW)
        await until(lambda: len(fetching(b)) == 4)
        want = b.p.wants.add(names[4], TransferClass.LOW)
        await until(lambda: "its turn" in the_want(b, names[4]).why)
        b.p.wants.set_class(want.id, TransferClass.HIGH)
        await until(lambda: names[4] in fetching(b))


async def test_cancelling_ends_the_transfer(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b, _, names = await many(made, 1)
        want = b.p.wants.add(names[0])
        await until(lambda: fetching(b) == {names[0]})
        transfer = b.p.transfers.get(the_want(b, names[0]).transfer_id)
        answer = b.p.wants.cancel(want.id)
        assert answer.why == "it was cancelled"
        await until(lambda: transfer.state.value == "cancelled")
        assert b.p.wants.list() == []
        assert b.p.state.wants() == []


async def test_a_transfer_that_is_cancelled_alone_is_not_begun_at_once(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b, _, names = await many(made, 1)
        b.p.wants.add(names[0])
        await until(lambda: fetching(b) == {names[0]})
        b.p.transfers.cancel(the_want(b, names[0]).transfer_id)
        await until(lambda: "was cancelled" in the_want(b, names[0]).why)
        assert len(b.p.transfers.all()) == 1
        await until(lambda: any(each > 50 for each in made.time.due))
        assert len(b.p.transfers.all()) == 1
        made.time.advance(61)
        await until(lambda: fetching(b) == {names[0]})


async def test_a_holder_that_fails_is_followed_by_another(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        getters: dict[str, Held] = {}
        a, b = await made.node("a"), await made.node("b")
        c = await made.node("c", getter_of=held(getters, "c"))
        for node in (a, b):
            node.add(REF, [layer(1)])
            await announced(node, REF)
        made.link(a, c)
        made.link(b, c)
        getters["c"].errors = [PeerUnavailable("gone")]
        getters["c"].gate.set()
        c.p.wants.add(REF)
        await wanted(c, REF, "done")
        assert len(set(getters["c"].peers)) == 2


async def test_what_a_name_means_by_now_is_fetched_when_a_fetch_has_failed(tmp_path: Path) -> None:
    """The name got another content while the old one was fetched; after that nothing else happens."""
    async with mesh(tmp_path) as made:
        getters: dict[str, Held] = {}
        a, c = await made.node("a"), await made.node("c", getter_of=held(getters, "c"))
        a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, c)
        c.p.wants.add(REF)
        await wanted(c, REF, "fetching")
        await until(lambda: len(getters["c"].fetches) == 1)
        newer = a.add(REF, [layer(2)])
        key = f"a:{REF}-amd64"
        await until(lambda: str(newer.collection) in str(c.document(key)))
        await calm(c)
        getters["c"].errors = [NotFound("it has another version by now")]
        await until(lambda: len(getters["c"].fetches) == 2)
        getters["c"].gate.set()
        await wanted(c, REF, "done")
        assert getters["c"].fetches[1] == newer.collection


async def test_back_off_grows_and_is_forgiven_when_the_peer_comes_back(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        getters: dict[str, Held] = {}
        a, b = await made.node("a"), await made.node("b", getter_of=held(getters, "b"))
        a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, b)
        getter = getters["b"]
        getter.errors = [PeerUnavailable("gone") for _ in range(20)]
        b.p.wants.add(REF)
        waits = []
        for tries in range(1, 6):
            await until(lambda tries=tries: len(getter.fetches) == tries and bool(made.time.due))  # type: ignore[misc]
            await until(lambda: not fetching(b) and bool(made.time.due))
            waits.append(min(made.time.due))
            made.time.advance(min(made.time.due) + 0.01)
        for tries, wait in enumerate(waits):
            assert 0.5 * 2**tries <= wait <= 2**tries, "with jitter"
        assert len({wait / 2**tries for tries, wait in enumerate(waits)}) > 1
        getter.errors.clear()
        getter.gate.set()
        b.peers.change(a.address, True)
        await wanted(b, REF, "done")


async def test_wrong_bytes_from_all_wait_for_something_new(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        getters: dict[str, Held] = {}
        a, b = await made.node("a"), await made.node("b", getter_of=held(getters, "b"))
        a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, b)
        getter = getters["b"]
        getter.errors = [IntegrityError("from peer a: wrong")]
        getter.gate.set()
        b.p.wants.add(REF)
        await wanted(b, REF, "failed")
        assert "wrong" in the_want(b).why
        b.peers.change(a.address, True)  # coming back does not make bytes right
        await until(lambda: the_want(b).state == "failed")
        assert len(getter.fetches) == 1
        assert not made.time.due
        document = a.document(f"a:{REF}-amd64")
        a.p.records.put("packages", f"a:{REF}-amd64", document | {"version": "new"})
        await wanted(b, REF, "done")


async def test_more_than_the_record_says_is_refused(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        package = a.add(REF, [layer(1)])
        await announced(a, REF)
        document: dict[str, Any] = a.document(f"a:{REF}-amd64")
        a.p.announcer._known = dict  # type: ignore[method-assign]  # it would put it right
        for lie in ({"bytes": package.bytes - 1}, {"blobs": len(package.blobs) - 1}):
            wrong = document | {"content": document["content"] | lie}
            a.p.records.put("packages", f"a:{REF}-amd64", wrong)
            made.link(a, b)
            b.p.wants.add(REF)
            await wanted(b, REF, "failed")
            assert "were announced" in the_want(b).why
            assert b.content(REF) is None
            b.p.wants.cancel(the_want(b).id)
        a.p.records.put("packages", f"a:{REF}-amd64", document)
        b.p.wants.add(REF)
        await wanted(b, REF, "done")


async def test_no_room_is_said_and_tried_again_later_or_when_there_is_some(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        getters: dict[str, Held] = {}
        a, b = await made.node("a"), await made.node("b", getter_of=held(getters, "b"))
        a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, b)
        getter = getters["b"]
        getter.errors = [StoreFull("no room for 5 bytes"), StoreFull("no room for 5 bytes")]
        getter.gate.set()
        b.p.wants.add(REF)
        await until(lambda: "no room" in the_want(b).why and bool(made.time.due))
        assert min(made.time.due) == 60
        made.time.advance(61)
        await until(
            lambda: len(getter.fetches) == 2 and not fetching(b) and min(made.time.due, default=0) > 119
        )
        other = b.add("registry.example/other:v1", [layer(5)])
        b.p.store.remove_package(other.root.digest)
        await wanted(b, REF, "done")
        assert b.p.state.wants()[0].done


async def test_a_silent_holder_is_left_for_another(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        getters: dict[str, Held] = {}
        a, b = await made.node("a"), await made.node("b")
        c = await made.node("c", getter_of=held(getters, "c"))
        for node in (a, b):
            node.add(REF, [layer(1)])
            await announced(node, REF)
        made.link(a, c)
        c.p.wants.add(REF)
        await wanted(c, REF, "fetching")
        getter = getters["c"]
        for _ in range(40):  # alone it is given all the time that the getter gives it
            await until(lambda: 1.0 in made.time.due)
            made.time.advance(1)
        assert getter.peers == [a.id]
        made.link(b, c)
        await until(lambda: the_want(c).providers == 2)
        made.time.advance(1)
        await until(lambda: len(getter.peers) == 2)
        assert getter.peers == [a.id, b.id]
        getter.gate.set()
        await wanted(c, REF, "done")


async def test_a_holder_whose_session_ends_is_left_for_another(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        getters: dict[str, Held] = {}
        a, b = await made.node("a"), await made.node("b")
        c = await made.node("c", getter_of=held(getters, "c"))
        for node in (a, b):
            node.add(REF, [layer(1)])
            await announced(node, REF)
        made.link(a, c)
        made.link(b, c)
        c.p.wants.add(REF)
        await wanted(c, REF, "fetching")
        getter = getters["c"]
        getter.moves = True
        await until(lambda: len(getter.peers) == 1)
        first = a if getter.peers == [a.id] else b
        made.unlink(first, c)
        for _ in range(10):  # others may bring it
            await until(lambda: 1.0 in made.time.due)
            made.time.advance(1)
        assert len(getter.peers) == 1
        getter.moves = False
        for _ in range(5):
            await until(lambda: 1.0 in made.time.due or len(getter.peers) == 2)
            made.time.advance(1)
        await until(lambda: len(getter.peers) == 2)
        assert set(getter.peers) == {a.id, b.id}


async def test_a_dial_that_takes_long_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A session with another holder begins while the first one is dialled; that one is not blamed for it."""
    async with mesh(tmp_path) as made:
        a, b, c = await made.node("a"), await made.node("b"), await made.node("c")
        for node in (a, b):
            node.add(REF, [layer(1)])
            await announced(node, REF)
        made.link(a, c)
        made.link(b, c)
        await until(lambda: bool(c.document(f"a:{REF}-amd64") and c.document(f"b:{REF}-amd64")))
        for node in (a, b):
            made.unlink(node, c)
        dialled: list[EndpointId] = []
        reach = c.peers.reach

        async def reach_slowly(peer: EndpointId) -> PeerAddress:
            if peer not in c.peers.linked:
                dialled.append(peer)
                await asyncio.Event().wait()
            return await reach(peer)

        c.peers.reach = reach_slowly  # type: ignore[method-assign]
        c.p.wants.add(REF)
        await until(lambda: bool(dialled))
        made.link(b if dialled == [a.id] else a, c)
        await until(lambda: 1.0 in made.time.due)
        made.time.advance(1)
        await wanted(c, REF, "done")


async def test_partial_holders_help_when_nobody_has_all(tmp_path: Path) -> None:
    """B has announced what it has of a package and A is gone: C gets that, and the rest when A is back."""
    async with mesh(tmp_path) as made:
        a, b, c = await made.node("a"), await made.node("b"), await made.node("c")
        big, small = layer(1, 200_000), layer(2)
        package = a.add(REF, [big, small])
        await announced(a, REF)
        made.link(a, b)
        made.link(b, c)
        made.unlink(a, b)
        document: dict[str, Any] = a.document(f"a:{REF}-amd64")
        partial = document | {"agent_id": "b", "origin": "a"}
        partial["content"] = document["content"] | {"state": "partial"}
        b.p.announcer._known = dict  # type: ignore[method-assign]
        sequence = content(a.p.store, package.collection)
        b.p.store.put(sequence)
        lacking = a.p.store.put(big).hash
        for blob in parse_hash_sequence(sequence):
            if blob != lacking:
                b.p.store.put(content(a.p.store, blob))
        b.p.records.put("packages", f"b:{REF}-amd64", partial)
        c.p.wants.add(REF)
        await until(lambda: c.p.store.find(a.p.store.put(small).hash) is not None)
        await until(lambda: not fetching(c))
        assert c.content(REF) is None
        made.link(a, c)
        await wanted(c, REF, "done")


async def test_a_quote(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        package = a.add(REF, [layer(1), layer(2, 200_000)])
        await announced(a, REF)
        nothing = b.p.wants.quote(REF)
        assert (nothing.root, nothing.total_bytes, nothing.providers) == (None, 0, ())
        made.link(a, b)
        quote = b.p.wants.quote(REF)
        assert (quote.root, quote.collection) == (package.root.digest, package.collection)
        assert quote.total_bytes == quote.missing_bytes == package.bytes
        (provider,) = quote.providers
        assert (provider.endpoint_id, provider.agent_id, provider.state, provider.connected) == (
            a.id,
            "a",
            "complete",
            True,
        )
        assert quote.rate == quote.eta_seconds == 0.0
        b.p.wants.add(REF)
        await wanted(b, REF, "done")
        assert b.p.wants.quote(REF).missing_bytes == 0
        other = "registry.example/team/other:v1"
        more = a.add(other, [layer(1), layer(3, 100_000)])
        await until(lambda: b.p.wants.quote(other).root == more.root.digest)
        known = b.p.wants.quote(other)
        assert known.rate > 0
        assert known.eta_seconds == pytest.approx(known.missing_bytes / known.rate)
        assert known.free_bytes > 0
        assert b.p.wants.quote(other, 10.0).eta_seconds == pytest.approx(known.missing_bytes / 10)
        assert b.p.wants.quote(other, 1e15).eta_seconds == pytest.approx(known.eta_seconds)


async def test_a_quote_counts_what_each_who_is_connected_has_brought(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        one, other, b = [await made.node(name) for name in ("a", "c", "b")]
        package = one.add(REF, [layer(1, 8_000_000)])
        other.add(REF, [layer(1, 8_000_000)])
        await announced(one, REF)
        await announced(other, REF)
        made.link(one, b)
        made.link(other, b)
        b.p.wants.add(REF)
        await wanted(b, REF, "done")
        (transfer,) = b.p.transfers.all()
        brought = {peer: source.done_bytes for peer, source in transfer.progress.sources.items()}
        assert min(brought[each.id] for each in (one, other)) >= 1 << 16
        assert sum(brought.values()) >= package.bytes - 10_000
        seconds = transfer.elapsed_seconds
        assert b.p.wants.quote(REF).rate == pytest.approx(sum(brought.values()) / seconds)
        made.unlink(other, b)
        assert b.p.wants.quote(REF).rate == pytest.approx(brought[one.id] / seconds)


async def test_done_wants_are_forgotten_in_the_end(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        b = await made.node("b")
        await b.stop()
        with State.open(b.directory / "state.db") as state:
            for number in range(150):
                state.put_want(
                    WantRow(f"{number:016x}", f"n{number}", TransferClass.LOW, "user", number, done=True)
                )
        await b.start()
        b.p.wants.add(REF)
        b.add(REF, [layer(1)])
        await wanted(b, REF, "done")
        await until(lambda: len(b.p.state.wants()) == 100)
        assert len(b.p.wants.list()) == 100


async def test_expired_wants_are_forgotten_in_the_end(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        b = await made.node("b")
        for number in range(130):
            b.p.wants.add(f"registry.example/team/app:v{number}", deadline_seconds=60)
        await until(lambda: bool(made.time.due))
        made.time.advance(61)
        await until(lambda: len(b.p.state.wants()) == 100)
        assert {each.state for each in b.p.wants.list()} == {"failed"}


async def test_trouble_of_the_records_does_not_end_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, b)
        find = b.p.records.find
        broken: list[Exception] = [StoreFull("no room"), RuntimeError("unforeseen")]

        def fails(path: str, value: str) -> Any:
            if broken:
                raise broken.pop(0)
            return find(path, value)

        monkeypatch.setattr(b.p.records, "find", fails)
        b.p.wants.add(REF)
        await until(lambda: len(broken) == 1 and bool(made.time.due))
        made.time.advance(31)
        await until(lambda: not broken and bool(made.time.due))
        made.time.advance(31)
        await wanted(b, REF, "done")


async def test_a_reference_that_its_source_writes_without_the_registry(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        made.link(a, b)
        b.p.wants.add(REF)
        seen = PulledPackage("registry.example", "app", "team/app:v1", "amd64", listed_as=REF)
        a.p.announcer.set_pulled("agent", [seen])
        package = a.add(REF, [layer(1)])
        await wanted(b, REF, "done")
        got = b.content(REF)
        assert got is not None
        assert got.root == package.root


async def test_a_roster_that_lets_another_decide(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        trusted: set[str] = set()
        b.p.trust.decides = lambda document: document.owner in trusted  # type: ignore[method-assign]
        a.add(REF, [layer(1)])
        await announced(a, REF)
        made.link(a, b)
        b.p.wants.add(REF)
        await calm(b)
        assert "not known in the formation" in the_want(b).why
        trusted.add("a")
        b.p.replicator._trust_changed(None)
        await wanted(b, REF, "done")


async def test_a_change_that_is_about_something_else_costs_no_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        made.link(a, b)
        b.p.wants.add(REF)
        await calm(b)
        looked: list[str] = []
        resolve = b.p.offers.resolve

        def counted(name: str, **more: Any) -> Any:
            looked.append(name)
            return resolve(name, **more)

        monkeypatch.setattr(b.p.offers, "resolve", counted)
        for number in range(20):
            a.p.records.put("packages", f"a:other{number}", {"reference": f"other{number}"})
            a.p.records.put("notes", "one", {"number": number})
        await until(lambda: b.p.records.get("packages", "a:other19") is not None)
        await calm(b)
        assert looked == []
        a.add(REF, [layer(1)])
        await wanted(b, REF, "done")
