"""Clocks that are wrong, others' and this node's own: they win nothing, lose nothing, and are mended."""

from pathlib import Path

from tests.support.signed_records import (
    DAY,
    NOW,
    YEAR,
    Time,
    deliver,
    everything,
    node,
    said,
    signer,
    sync,
    view,
)

from peat_sidecar.records import FaultKind, Records, clock_at

A, B = signer("a"), signer("b")


def test_a_day_ahead_is_borne(one: Records) -> None:
    assert deliver(one, [said(A, "notes", "n", {"x": 1}, at=NOW + DAY)]).faults == ()
    assert view(one) == {("notes", "n"): {"x": 1}}
    one.put("notes", "n", {"x": 2})
    assert view(one) == {("notes", "n"): {"x": 2}}


def test_more_than_a_day_ahead_is_set_aside(one: Records, other: Records, time: Time) -> None:
    deliver(one, [said(B, "notes", "n", {"x": "b"})])
    merged = deliver(one, [said(A, "notes", "n", {"x": "a"}, at=NOW + DAY + 60)])
    assert [fault.kind for fault in merged.faults] == [FaultKind.FUTURE]
    assert merged.new == 1
    assert view(one) == {("notes", "n"): {"x": "b"}}
    assert one.status().ahead == 1
    sync(one, other)
    assert len(everything(other)) == 2
    assert other.digest() == one.digest()
    assert one.review() == 0
    time.now += 120
    told: list[object] = []
    one.subscribe(told.extend)
    assert one.review() == 1
    assert view(one) == {("notes", "n"): {"x": "a"}}
    assert len(told) == 1
    assert one.status().ahead == 0
    assert one.review() == 0


def test_it_moves_no_clock(one: Records) -> None:
    deliver(one, [said(A, "notes", "n", {"x": "a"}, at=NOW + YEAR)])
    one.put("notes", "m", {"x": 1})
    document = one.get("notes", "m")
    assert document is not None
    assert document.clock == clock_at(NOW)


def test_it_claims_nothing_until_its_time(one: Records, time: Time) -> None:
    deliver(one, [said(A, "packages", "ship:app", {"by": "a"}, at=NOW + 2 * DAY)])
    assert one.owner_of("ship") is None
    deliver(one, [said(A, "packages", "boat:app", {"by": "a"}, at=NOW + 2 * DAY + 1)])
    deliver(one, [said(B, "packages", "ship:app", {"by": "b"})])
    assert one.owner_of("ship") == B.id
    time.now += 3 * DAY
    assert one.review() == 2
    assert one.owner_of("ship") == B.id
    assert one.owner_of("boat") == A.id
    assert view(one) == {("packages", "ship:app"): {"by": "b"}, ("packages", "boat:app"): {"by": "a"}}


def test_this_node_was_a_year_ahead(one: Records, other: Records, time: Time, tmp_path: Path) -> None:
    """What it said then is set aside by the others, and said again when its clock is right."""
    wrong = Time(NOW + YEAR)
    records = node(tmp_path, "wrong", wrong)
    other.put("notes", "shared", {"x": "right", "y": 1})
    other.put("notes", "doomed", {"x": 1})
    sync(records, other)
    records.put("notes", "shared", {"x": "wrong", "y": 1})
    records.delete("notes", "doomed")
    records.put("notes", "own", {"x": 1})
    records.put("notes", "twice", {"x": 1})
    records.delete("notes", "twice")
    records.put("packages", "ship:app", {"x": 1})
    sync(records, other)
    assert view(other) == {("notes", "shared"): {"x": "right", "y": 1}, ("notes", "doomed"): {"x": 1}}
    assert FaultKind.FUTURE in {fault.kind for fault in other.faults()}
    wrong.now = time.now = NOW + 60
    told: list[object] = []
    records.on_advanced(told.append)
    assert records.review() == 5
    assert told == [frozenset({records.id})]
    assert records.review() == 0
    sync(records, other)
    assert (
        view(records)
        == view(other)
        == {
            ("notes", "shared"): {"x": "wrong", "y": 1},
            ("notes", "own"): {"x": 1},
            ("packages", "ship:app"): {"x": 1},
        }
    )
    assert other.status().ahead == 0
    time.now += 1
    other.put("notes", "shared", {"x": "right again", "y": 1})
    sync(records, other)
    assert view(records)["notes", "shared"]["x"] == "right again"
    records.close()


def test_writing_mends_too(one: Records, other: Records, time: Time) -> None:
    """Without waiting for a review."""
    time.now = NOW + YEAR
    one.put("notes", "n", {"x": 1, "y": 1})
    time.now = NOW
    one.put("notes", "n", {"x": 2, "y": 1})
    document = one.get("notes", "n")
    assert document is not None
    assert document.clock < clock_at(NOW + 60)
    sync(one, other)
    assert view(other) == {("notes", "n"): {"x": 2, "y": 1}}


def test_others_that_counted_while_this_clock_was_wrong(one: Records, other: Records, time: Time) -> None:
    """Nodes agree again once their clocks do."""
    for number in range(3):
        deliver(one, [said(signer(str(number)), "notes", str(number), {})])
    ahead = said(A, "notes", "n", {"x": "a"}, at=NOW + YEAR)
    time.now = NOW + YEAR
    deliver(one, [ahead])
    assert ("notes", "n") in view(one)
    time.now = NOW
    sync(one, other)
    assert ("notes", "n") not in view(other)
    assert one.review() == 1
    assert view(one) == view(other)
    assert one.status().ahead == other.status().ahead == 1


def test_this_clock_stands_in_the_past(one: Records, time: Time) -> None:
    """As after a start without a battery: nothing that counted is set aside, own words still win."""
    for number in range(3):
        deliver(one, [said(signer(str(number)), "notes", "n", {"x": number}, at=NOW + number)])
    one.put("packages", "ship:app", {"x": 1})
    before = view(one)
    time.now = 1000.0
    assert one.review() == 0
    assert view(one) == before
    one.put("notes", "n", {"x": "mine"})
    one.put("packages", "ship:app", {"x": 2})
    assert view(one) == {("notes", "n"): {"x": "mine"}, ("packages", "ship:app"): {"x": 2}}
    merged = deliver(one, [said(A, "notes", "m", {})])
    assert [fault.kind for fault in merged.faults] == [FaultKind.FUTURE]
    time.now = NOW + 10
    assert one.review() == 1
    assert one.put("notes", "n", {"x": "again"})
    assert view(one)["notes", "n"] == {"x": "again"}


def test_an_own_record_from_a_wrong_time_that_comes_back(one: Records) -> None:
    """State was lost in between: it is said again with a clock of now."""
    deliver(one, [said(signer("one"), "notes", "n", {"x": 1}, at=NOW + YEAR)])
    assert view(one) == {}
    assert one.review() == 1
    assert view(one) == {("notes", "n"): {"x": 1}}
    document = one.get("notes", "n")
    assert document is not None
    assert document.clock == clock_at(NOW) + 1
    assert one.heads()[one.id].sequence == clock_at(NOW + YEAR) + 1


def test_what_was_read_is_overwritten_even_after_a_wrong_time(one: Records, time: Time) -> None:
    """The clock of a wrong time is forgotten, those of others are not."""
    time.now = NOW + YEAR
    one.put("notes", "m", {})
    time.now = NOW
    deliver(one, [said(A, "notes", "n", {"x": "a"}, at=NOW + 3600)])
    deliver(one, [said(B, "notes", "gone", {}, at=NOW + 3600), said(B, "notes", "n", {}, at=NOW - 1)])
    assert one.put("notes", "n", {"x": "mine"})
    assert one.delete("notes", "gone")
    assert view(one)["notes", "n"] == {"x": "mine"}
    assert ("notes", "gone") not in view(one)
