"""Who listens is told after the commit, in the order of commits, whatever other listeners do."""

import threading
from collections.abc import Sequence

import pytest
from tests.support.signed_records import NOW, deliver, said, signer

from peat_sidecar.errors import StoreFailed
from peat_sidecar.ids import EndpointId
from peat_sidecar.records import Change, Records

A = signer("a")


def test_changes(one: Records) -> None:
    told: list[Change] = []
    end = one.subscribe(told.extend)
    one.put("notes", "n", {"x": 1})
    one.put("notes", "n", {"x": 1})
    one.delete("notes", "n")
    deliver(one, [said(A, "notes", "n", {"x": 2}, at=NOW + 9), said(A, "notes", "m", {}, count=1)])
    deliver(one, [said(A, "notes", "m", {}, at=NOW + 10)])
    end()
    end()
    one.put("notes", "n", {"x": 3})
    seen = [(change.doc_id, change.document.fields if change.document else None) for change in told]
    assert seen[:2] == [("n", {"x": 1}), ("n", None)]
    assert sorted(seen[2:], key=str) == [("m", {}), ("n", {"x": 2})]


def test_it_is_stored_when_it_is_told(one: Records) -> None:
    found: list[object] = []
    one.subscribe(lambda changes: found.extend(one.get("notes", change.doc_id) for change in changes))
    one.put("notes", "n", {"x": 1})
    assert found == [one.get("notes", "n")]


def test_signers_with_news(one: Records) -> None:
    told: list[frozenset[EndpointId]] = []
    one.on_advanced(told.append)
    one.put("notes", "n", {"x": 1})
    one.put("notes", "n", {"x": 1})
    deliver(one, [said(A, "notes", "n", {}), said(signer("b"), "notes", "n", {})])
    deliver(one, [said(A, "notes", "n", {})])
    one.ban(A.id)
    assert told == [frozenset({one.id}), frozenset({A.id, signer("b").id})]


def test_a_listener_may_write(one: Records) -> None:
    """What it writes is told to all after what they are being told of."""
    first: list[str] = []
    second: list[str] = []

    def copies(changes: Sequence[Change]) -> None:
        for change in changes:
            first.append(change.doc_id)
            if change.collection == "notes":
                assert one.put("copies", f"copy of {change.doc_id}", {})

    one.subscribe(copies)
    one.subscribe(lambda changes: second.extend(change.doc_id for change in changes))
    one.put("notes", "n", {})
    deliver(one, [said(A, "notes", "m", {})])
    assert first == second == ["n", "copy of n", "m", "copy of m"]


def test_a_listener_that_fails(one: Records) -> None:
    told: list[int] = []

    def fails(_: object) -> None:
        raise RuntimeError("a listener's own fault")

    one.subscribe(fails)
    one.subscribe(lambda changes: told.append(len(changes)))
    assert one.put("notes", "n", {"x": 1})
    assert one.get("notes", "n") is not None
    assert told == [1]


def test_a_listener_that_ends_another(one: Records) -> None:
    told: list[object] = []
    ends = [one.subscribe(lambda _: ends[1]())]
    ends.append(one.subscribe(told.append))
    one.put("notes", "n", {})
    assert told == []


def test_many_threads(one: Records) -> None:
    """Each sees its own writes, and the changes come in the order of sequences."""
    clocks: list[int] = []
    failures: list[BaseException] = []

    def hears(changes: Sequence[Change]) -> None:
        clocks.extend(change.document.clock for change in changes if change.document)

    def writes(name: str) -> None:
        try:
            for number in range(25):
                assert one.put("notes", name, {"x": number})
                found = one.get("notes", name)
                assert found is not None
                assert found.fields == {"x": number}
                one.heads()
                one.digest()
                one.since(one.id, 0)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failures.append(error)

    one.subscribe(hears)
    threads = [threading.Thread(target=writes, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(clocks) == 100
    assert clocks == sorted(clocks)
    assert one.status().records == 4


def test_after_closing(one: Records) -> None:
    one.put("notes", "n", {})
    one.close()
    one.close()
    for call in (lambda: one.get("notes", "n"), lambda: one.put("notes", "n", {"x": 1}), one.status):
        with pytest.raises(StoreFailed, match=r"one\.db"):
            call()
