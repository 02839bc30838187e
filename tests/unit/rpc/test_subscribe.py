"""Subscriptions: nothing is lost between snapshot and live, and who does not keep up is dropped."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, cast

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from peat_sidecar.ids import EndpointId
from peat_sidecar.records import Change, Document, Records
from peat_sidecar.rpc import subscriptions as tested
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.subscriptions import SUBSCRIPTIONS_LIMIT, Subscriptions
from tests.support.nodes import bounded, until

SIGNER = EndpointId(bytes(32))
Listener = Callable[[Sequence[Change]], None]


class Shelf:
    """Documents in memory, with a hook for what happens while they are read."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], Document] = {}
        self.listeners: list[Listener] = []
        self.before_read: Callable[[str, str], None] = lambda collection, doc_id: None
        self.after_list: Callable[[], None] = lambda: None

    def put(self, collection: str, doc_id: str, **fields: Any) -> None:
        document = Document(collection, doc_id, fields, 0, (SIGNER,))
        self.held[collection, doc_id] = document
        self._tell(Change(collection, doc_id, document))

    def delete(self, collection: str, doc_id: str) -> None:
        del self.held[collection, doc_id]
        self._tell(Change(collection, doc_id, None))

    def _tell(self, change: Change) -> None:
        for listener in self.listeners:
            listener([change])

    # As `Records` has them.

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def collections(self) -> list[str]:
        found = sorted({collection for collection, _ in self.held})
        self.after_list()
        return found

    def list_ids(self, collection: str, *, after: str = "", limit: int = 1000) -> list[str]:
        found = sorted(doc_id for kept, doc_id in self.held if kept == collection and doc_id > after)
        self.after_list()
        return found[:limit]

    def get(self, collection: str, doc_id: str) -> Document | None:
        self.before_read(collection, doc_id)
        return self.held.get((collection, doc_id))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


class Reader:
    """A subscriber, and what it knows by what it was told."""

    def __init__(self, subscriptions: Subscriptions, *collections: str) -> None:
        self.changes = cast(AsyncGenerator[pb.DocumentChange, None], subscriptions.changes(collections))
        self.told: list[tuple[str, str, Any]] = []
        self.known: dict[tuple[str, str], Any] = {}

    async def next(self) -> tuple[str, str, Any]:
        change = await bounded(anext(self.changes))
        value = json.loads(change.json_data) if change.json_data else None
        assert (change.change_type is pb.ChangeType.DELETE) == (value is None)
        name = (change.collection, change.doc_id)
        self.known.pop(name, None)
        if value is not None:
            self.known[name] = value
        self.told.append((*name, value))
        return self.told[-1]

    async def read(self, count: int) -> list[tuple[str, str, Any]]:
        return [await self.next() for _ in range(count)]

    async def close(self) -> None:
        await self.changes.aclose()


def subscriptions_of(shelf: Shelf) -> Subscriptions:
    return Subscriptions(cast(Records, shelf))


async def test_snapshot_then_live(shelf: Shelf) -> None:
    shelf.put("notes", "b", n=1)
    shelf.put("notes", "a", n=2)
    shelf.put("other", "c", n=3)
    subscriptions = subscriptions_of(shelf)
    reader = Reader(subscriptions, "notes")
    assert await reader.read(2) == [("notes", "a", {"n": 2}), ("notes", "b", {"n": 1})]
    waiting = asyncio.create_task(reader.next())
    await until(lambda: all(each.is_live for each in subscriptions))
    shelf.put("other", "d", n=4)
    shelf.put("notes", "a", n=5)
    shelf.put("notes", "a", n=6)
    shelf.delete("notes", "b")
    assert await waiting == ("notes", "a", {"n": 5})
    assert await reader.read(2) == [("notes", "a", {"n": 6}), ("notes", "b", None)]
    await reader.close()
    assert not shelf.listeners


async def test_all_collections_new_ones_as_well(shelf: Shelf) -> None:
    shelf.put("notes", "a", n=1)
    reader = Reader(subscriptions_of(shelf))
    once = iter([True])

    def meanwhile() -> None:
        if next(once, False):
            shelf.put("aaa", "x", n=2)  # sorts before what is being read
            shelf.put("zzz", "y", n=3)

    shelf.after_list = meanwhile
    await reader.read(3)
    assert reader.known == {("notes", "a"): {"n": 1}, ("aaa", "x"): {"n": 2}, ("zzz", "y"): {"n": 3}}
    await reader.close()


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("changed", range(6))
async def test_a_change_at_any_moment_of_the_snapshot(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, at: int, changed: int
) -> None:
    """Of a document behind, at and ahead of the one that is read then; in pages of one and of many."""
    for size, ids in ((0, 500), (1 << 20, 500), (1 << 20, 2)):
        monkeypatch.setattr(tested, "_PAGE_BYTES", size)
        monkeypatch.setattr(tested, "_PAGE_IDS", ids)
        for number in range(6):
            shelf.put("notes", str(number), n=0)
        step = 0

        def meanwhile(collection: str, doc_id: str) -> None:
            nonlocal step
            if step == at:
                shelf.put("notes", str(changed), n=1)
                shelf.put("notes", str(changed), n=2)
                shelf.delete("notes", str((changed + 1) % 6))
                shelf.put("notes", "new", n=3)
            step += 1

        shelf.before_read = meanwhile
        reader = Reader(subscriptions_of(shelf), "notes")
        expected = {("notes", str(number)): {"n": 0} for number in range(6)}
        expected["notes", str(changed)] = {"n": 2}
        expected["notes", "new"] = {"n": 3}
        del expected["notes", str((changed + 1) % 6)]
        shelf_end = asyncio.create_task(_until_known(reader, expected))
        await bounded(shelf_end)
        for before, after in zip(reader.told, reader.told[1:], strict=False):
            if before[:2] == after[:2] and before[2] and after[2]:
                assert before[2]["n"] <= after[2]["n"]
        shelf.before_read = lambda collection, doc_id: None
        shelf.put("notes", "last", n=4)
        assert (await reader.next())[1] == "last"
        await reader.close()
        shelf.held.clear()


async def _until_known(reader: Reader, expected: dict[tuple[str, str], Any]) -> None:
    while reader.known != expected:
        await reader.next()


async def test_while_the_snapshot_is_taken_slowly(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many changes of few documents, and of those yet to come, do not fill the queue."""
    monkeypatch.setattr(tested, "_PAGE_BYTES", 0)
    monkeypatch.setattr(tested, "QUEUE_LIMIT_BYTES", 4000)
    for number in range(4):
        shelf.put("notes", str(number), n=0)
    reader = Reader(subscriptions_of(shelf), "notes")
    await reader.read(1)
    for n in range(1, 100):
        for number in range(4):
            shelf.put("notes", str(number), n=n)
    while len(reader.known) < 4 or {each["n"] for each in reader.known.values()} != {99}:
        await reader.next()
    assert len(reader.told) < 10
    await reader.close()


async def test_who_does_not_keep_up_is_dropped(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "QUEUE_LIMIT_BYTES", 10_000)
    subscriptions = subscriptions_of(shelf)
    slow, quick = Reader(subscriptions, "notes"), Reader(subscriptions, "notes")
    shelf.put("notes", "a", n=0)
    await slow.next()
    await quick.next()
    taking = [asyncio.create_task(each.next()) for each in (slow, quick)]
    await until(lambda: all(each.is_live for each in subscriptions))
    shelf.put("notes", "a", n=0)
    await asyncio.gather(*taking)
    for n in range(1, 50):
        shelf.put("notes", "a", n=n)
        assert await quick.next() == ("notes", "a", {"n": n})
    with pytest.raises(ConnectError, match="subscribe again") as dropped:
        await slow.read(50)
    assert dropped.value.code is Code.RESOURCE_EXHAUSTED
    assert len(shelf.listeners) == 1
    shelf.put("notes", "a", n=50)
    assert await quick.next() == ("notes", "a", {"n": 50})
    again = Reader(subscriptions, "notes")
    assert await again.next() == ("notes", "a", {"n": 50})
    await quick.close()
    await again.close()


async def test_a_document_that_is_too_large_for_a_message(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tested, "DOCUMENT_LIMIT_BYTES", 100)
    shelf.put("notes", "large", text="x" * 100)
    shelf.put("notes", "small", text="x")
    changes = subscriptions_of(shelf).changes(["notes"])
    large, small = await bounded(anext(changes)), await bounded(anext(changes))
    assert (large.doc_id, large.change_type, large.has_field("json_data")) == (
        "large",
        pb.ChangeType.UPSERT,
        False,
    )
    assert small.json_data == '{"text":"x"}'
    await cast(AsyncGenerator[Any, None], changes).aclose()


async def test_there_are_only_so_many(shelf: Shelf) -> None:
    subscriptions = subscriptions_of(shelf)
    shelf.put("notes", "a", n=0)
    readers = [Reader(subscriptions, "notes") for _ in range(SUBSCRIPTIONS_LIMIT)]
    for reader in readers:
        await reader.next()
    with pytest.raises(ConnectError, match="subscriptions already"):
        await Reader(subscriptions, "notes").next()
    await readers[0].close()
    one_more = Reader(subscriptions, "notes")
    await one_more.next()
    for reader in (*readers, one_more):
        await reader.close()


async def test_they_end_when_the_daemon_stops(shelf: Shelf) -> None:
    subscriptions = subscriptions_of(shelf)
    shelf.put("notes", "a", n=0)
    reader = Reader(subscriptions, "notes")
    await reader.next()
    waiting = asyncio.create_task(reader.next())
    await asyncio.sleep(0)
    subscriptions.close()
    with pytest.raises(ConnectError) as ended:
        await waiting
    assert ended.value.code is Code.UNAVAILABLE
    with pytest.raises(ConnectError, match="stopping"):
        await Reader(subscriptions, "notes").next()
    assert not shelf.listeners
