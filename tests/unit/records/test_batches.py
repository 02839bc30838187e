"""What comes from peers: joined on, proven, kept by sequence; what is wrong is named and changes nothing."""

import dataclasses
from pathlib import Path

import pytest
from tests.support.signed_records import (
    NOW,
    Time,
    batch,
    deliver,
    everything,
    node,
    said,
    signer,
    sync,
    view,
)

from peat_sidecar.ids import EndpointId
from peat_sidecar.records import Batch, FaultKind, Head, Merged, Records, SignedRecord, clock_at
from peat_sidecar.records import bounds as bounds_file
from peat_sidecar.records import receiving as receiving_file

THEM, SOURCE = signer("them"), signer("source").id


def kinds(merged: Merged) -> list[FaultKind]:
    return [fault.kind for fault in merged.faults]


def test_heads_and_digests(one: Records) -> None:
    assert one.heads() == {}
    empty = one.digest()
    first, second = (said(THEM, "notes", name, {"x": 1}, count=number) for number, name in enumerate("ab"))
    assert deliver(one, [first, second]) == Merged(2, frozenset({THEM.id}))
    head = one.heads()[THEM.id]
    assert head.sequence == clock_at(NOW) + 1
    assert head.digest != bytes(16)
    assert one.digest() != empty
    assert len(one.digest()) == 16
    replaced = said(THEM, "notes", "a", {"x": 2}, count=2)
    deliver(one, [replaced])
    newcomer_head = one.heads()[THEM.id]
    assert newcomer_head.digest != head.digest
    assert [each.body for each in everything(one)] == [second.body, replaced.body]


def test_a_digest_is_the_sum_of_hashes(one: Records) -> None:
    import hashlib

    records = [said(THEM, "notes", str(number), {}, count=number) for number in range(5)]
    deliver(one, records)
    total = sum(int.from_bytes(hashlib.sha256(each.body).digest()[:16], "big") for each in records)
    assert one.heads()[THEM.id] == Head(clock_at(NOW) + 4, (total % 2**128).to_bytes(16, "big"))


def test_batches_come_in_pieces(one: Records, other: Records) -> None:
    for number in range(30):
        one.put("notes", str(number), {"x": "y" * 1000})
    after, parts = 0, 0
    while (part := one.since(one.id, after, limit_bytes=5000)) is not None:
        assert part.after == after
        assert part.upto == part.records[-1].record.sequence
        assert sum(len(each.body) + 64 for each in part.records) <= 5000
        assert other.merge([part]).new == len(part.records)
        after, parts = part.upto, parts + 1
    assert parts > 5
    assert view(one) == view(other)
    whole = one.since(one.id, 0, limit_bytes=1)
    assert whole is not None
    assert len(whole.records) == 1
    assert one.since(one.id, after) is None
    assert one.since(THEM.id, 0) is None
    for number in (2**63, 2**64, 2**200):
        assert one.since(one.id, number) is None
    assert one.since(one.id, -5) == one.since(one.id, 0)


def test_a_gap_is_not_jumped(one: Records) -> None:
    first, second, third = (said(THEM, "notes", name, {}, count=number) for number, name in enumerate("abc"))
    late = batch(third, after=second.record.sequence)
    assert one.merge([late], SOURCE) == Merged(gaps=frozenset({THEM.id}))
    assert one.heads() == {}
    assert one.merge([batch(first, second), late]).new == 3
    assert one.merge([late]) == Merged()
    assert one.merge([Batch(THEM.id, 2**64, 2**64 + 1, (third,))]).gaps == {THEM.id}


def test_twice_is_once(one: Records) -> None:
    records = [said(THEM, "notes", str(number), {"x": number}, count=number) for number in range(4)]
    deliver(one, records)
    before = one.heads(), view(one), one.status()
    assert one.merge([batch(*records), batch(*records)], SOURCE) == Merged()
    assert (one.heads(), view(one), one.status()) == before
    assert one.merge([batch(*records[:1])]) == Merged()


def test_forged_and_altered(one: Records) -> None:
    good = said(THEM, "notes", "a", {"x": 1})
    forged = SignedRecord(said(THEM, "notes", "b", {"x": 1}, count=1).body, good.signature)
    altered = SignedRecord(good.body.replace(b'"x":1', b'"x":2'), good.signature)
    after = said(THEM, "notes", "c", {}, count=2)
    for wrong in (forged, altered, dataclasses.replace(good, signature=b"short")):
        merged = one.merge([batch(wrong)], SOURCE)
        assert kinds(merged) == [FaultKind.FORGED]
        assert merged.new == 0
    merged = one.merge([batch(good, forged, after)], SOURCE)
    assert (merged.new, kinds(merged)) == (1, [FaultKind.FORGED])
    assert view(one) == {("notes", "a"): {"x": 1}}
    assert one.heads()[THEM.id].sequence == good.record.sequence
    ((fault),) = one.faults()
    assert (fault.kind, fault.source, fault.count, fault.seen_at) == (FaultKind.FORGED, SOURCE, 4, NOW)
    assert fault.signer == THEM.id


def test_batches_that_are_not_what_they_say(one: Records) -> None:
    first, second, third = (said(THEM, "notes", name, {}, count=number) for number, name in enumerate("abc"))
    foreign = said(signer("another"), "notes", "x", {}, count=5)
    end = third.record.sequence
    for wrong in (
        Batch(THEM.id, 0, end, ()),
        Batch(THEM.id, 0, end + 1, (first, third)),
        Batch(THEM.id, 0, 0, (first, third)),
        Batch(THEM.id, 0, second.record.sequence, (third, second)),
        Batch(THEM.id, 0, foreign.record.sequence, (foreign,)),
        Batch(THEM.id, 0, end, (SignedRecord(b"{}", bytes(64)),)),
        Batch(THEM.id, 0, 5, (SignedRecord(b"[" * 100_000, bytes(64)),)),
    ):
        merged = one.merge([wrong], SOURCE)
        assert FaultKind.MALFORMED in kinds(merged)
        assert first.record.sequence not in (head.sequence for head in one.heads().values() if not merged.new)
    assert [fault.source for fault in one.faults()] == [SOURCE]
    assert one.fault_counts()[FaultKind.MALFORMED] == 7


def test_a_batch_is_taken_up_to_what_is_wrong(one: Records) -> None:
    first, second, third = (said(THEM, "notes", name, {}, count=number) for number, name in enumerate("abc"))
    broken = SignedRecord(second.body[:-1], second.signature)
    merged = one.merge([Batch(THEM.id, 0, third.record.sequence, (first, broken, third))], SOURCE)
    assert (merged.new, kinds(merged)) == (1, [FaultKind.MALFORMED])
    assert one.heads()[THEM.id].sequence == first.record.sequence
    assert one.merge([batch(second, third, after=first.record.sequence)]).new == 2


def test_older_records_change_nothing(one: Records) -> None:
    old, new = said(THEM, "notes", "a", {"x": "old"}), said(THEM, "notes", "a", {"x": "new"}, at=NOW + 1)
    deliver(one, [new])
    merged = one.merge([batch(old)], SOURCE)
    assert (merged.new, kinds(merged)) == (0, [FaultKind.OLDER])
    assert view(one) == {("notes", "a"): {"x": "new"}}
    assert one.merge([batch(old, new)]).new == 0


def test_older_records_of_other_documents_fill_holes(one: Records) -> None:
    """A peer left one out; the digest shows it, and it is taken though the head is further on."""
    hidden, told = said(THEM, "notes", "a", {}), said(THEM, "notes", "b", {}, count=1)
    deliver(one, [told])
    assert deliver(one, [hidden, told]).new == 1
    assert len(view(one)) == 2


def test_equivocation_in_one_document(tmp_path: Path) -> None:
    """Both were said with one sequence: the greater body is kept, whichever came first."""
    first, second = said(THEM, "notes", "a", {"x": "b"}), said(THEM, "notes", "a", {"x": "c"})
    assert first.record.sequence == second.record.sequence
    ends = []
    for name, order in (("one", (first, second)), ("other", (second, first))):
        records = node(tmp_path, name)
        assert kinds(one := deliver(records, order[:1])) == []
        assert one.new == 1
        merged = deliver(records, order[1:], SOURCE)
        assert kinds(merged) == [FaultKind.EQUIVOCATION]
        assert merged.faults[0].signer == THEM.id
        ends.append((view(records), records.digest()))
        records.close()
    assert ends[0] == ends[1]
    assert ends[0][0] == {("notes", "a"): {"x": "c"}}


def test_equivocation_over_two_documents(one: Records, other: Records) -> None:
    first, second = said(THEM, "notes", "a", {}), said(THEM, "notes", "b", {})
    assert kinds(deliver(one, [first, second])) == [FaultKind.EQUIVOCATION]
    deliver(other, [second])
    assert kinds(deliver(other, [first])) == [FaultKind.EQUIVOCATION]
    assert one.digest() == other.digest()
    assert view(one) == view(other)


def test_records_of_one_sequence_stay_together(one: Records, other: Records) -> None:
    deliver(one, [said(THEM, "notes", str(number), {"x": "y" * 100}) for number in range(6)])
    part = one.since(THEM.id, 0, limit_bytes=1600)
    assert part is not None
    assert len(part.records) == 6
    assert other.merge([part]).new == 6


def test_a_signer_that_lost_its_state(tmp_path: Path, time: Time, other: Records) -> None:
    """It starts anew, is heard at once, and gets back what it had said."""
    records = node(tmp_path, "one", time)
    records.put("notes", "a", {"x": 1})
    records.put("notes", "b", {"x": 1})
    records.delete("notes", "b")
    records.put("packages", "ship:app", {"x": 1})
    sync(records, other)
    records.close()
    for path in tmp_path.glob("one.db*"):
        path.unlink()
    time.now += 60
    again = node(tmp_path, "one", time)
    again.put("notes", "a", {"x": 2})
    assert again.heads()[again.id].sequence > other.heads()[again.id].sequence
    sync(again, other)
    assert (
        view(again)
        == view(other)
        == {
            ("notes", "a"): {"x": 2},
            ("packages", "ship:app"): {"x": 1},
        }
    )
    assert again.digest() == other.digest()
    again.close()


def test_state_lost_and_a_clock_that_stood_still(tmp_path: Path, time: Time, other: Records) -> None:
    """The same sequence twice for different things: it loses one of them, is reported, and goes on."""
    records = node(tmp_path, "one", time)
    records.put("notes", "a", {"x": 1})
    sync(records, other)
    other.put("notes", "mine", {"x": "untouched"})
    records.close()
    for path in tmp_path.glob("one.db*"):
        path.unlink()
    again = node(tmp_path, "one", time)
    again.put("notes", "a", {"x": 2})
    sync(again, other)
    assert view(again) == view(other)
    assert view(other)["notes", "mine"] == {"x": "untouched"}
    assert FaultKind.EQUIVOCATION in {fault.kind for fault in [*again.faults(), *other.faults()]}
    assert again.put("notes", "a", {"x": 3})
    sync(again, other)
    assert view(again) == view(other)
    assert view(other)["notes", "a"] == {"x": 3}
    again.close()


def test_own_records_come_back_with_a_higher_sequence(tmp_path: Path, one: Records) -> None:
    deliver(one, [said(signer("one"), "notes", "a", {"x": 1}, at=NOW + 3600)])
    assert view(one) == {("notes", "a"): {"x": 1}}
    one.put("notes", "a", {"x": 2})
    assert one.heads()[one.id].sequence == clock_at(NOW + 3600) + 1
    assert view(one) == {("notes", "a"): {"x": 2}}


def test_floods_have_an_end(one: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving_file, "SIGNERS_LIMIT", 3)
    monkeypatch.setattr(receiving_file, "RECORDS_LIMIT", 4)
    monkeypatch.setattr(receiving_file, "SIGNER_LIMIT_BYTES", 2000)
    merged = deliver(one, [said(signer(str(number)), "notes", "a", {}) for number in range(5)], SOURCE)
    assert (merged.new, kinds(merged)) == (3, [FaultKind.FLOOD] * 2)
    known = next(name for name in map(str, range(5)) if signer(name).id in one.heads())
    many = [said(signer(known), "notes", str(number), {}, count=number + 1) for number in range(6)]
    merged = deliver(one, many, SOURCE)
    assert (merged.new, kinds(merged)) == (3, [FaultKind.FLOOD] * 3)
    merged = deliver(one, [said(signer(known), "notes", "0", {"x": 1}, at=NOW + 1)])
    assert merged.new == 1
    merged = deliver(one, [said(signer(known), "notes", "0", {"x": "y" * 2000}, at=NOW + 2)])
    assert kinds(merged) == [FaultKind.FLOOD]


def test_members_find_room_among_strangers(one: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving_file, "SIGNERS_LIMIT", 3)
    one.set_members({THEM.id: "ship"})
    deliver(one, [said(signer(str(number)), "notes", "a", {}) for number in range(5)])
    assert deliver(one, [said(THEM, "notes", "b", {"x": 1})]).new == 1
    assert view(one) == {("notes", "b"): {"x": 1}}


def test_a_document_of_many_signers_has_an_end(
    tmp_path: Path, one: Records, other: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest ones count, the same on every node, and a delete always does."""
    from peat_sidecar.records import writing as writing_file

    monkeypatch.setattr(writing_file, "MERGED_LIMIT_BYTES", 2000)
    records = [
        said(signer(str(number)), "notes", "a", {f"f{number}": "x" * 200}, count=number)
        for number in range(12)
    ]
    deliver(one, records)
    for each in reversed(records):
        deliver(other, [each])
    assert view(one) == view(other)
    assert set(view(one)["notes", "a"]) == {f"f{number}" for number in range(8, 12)}
    deliver(one, [said(THEM, "notes", "a", {}, deleted=clock_at(NOW) + 50, count=50)])
    assert view(one) == {}


def test_large_merges_are_stored_in_parts(one: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    from peat_sidecar.records import writing as writing_file

    monkeypatch.setattr(writing_file, "_LARGE_BYTES", 1000)
    told: list[int] = []
    one.subscribe(lambda changes: told.append(len(changes)))
    records = [said(THEM, "notes", str(number), {"x": "y" * 300}, count=number) for number in range(10)]
    assert deliver(one, records).new == 10
    assert sum(told) == 10
    assert len(told) > 2
    assert len(view(one)) == 10


def test_faults_have_an_end(one: Records) -> None:
    good = said(THEM, "notes", "a", {"x": 1})
    forged = dataclasses.replace(good, signature=bytes(64))
    for number in range(400):
        one.merge([batch(forged)], EndpointId(number.to_bytes(32, "big")))
    assert len(one.faults()) == 256
    assert one.faults()[0].source == EndpointId((399).to_bytes(32, "big"))
    assert one.fault_counts()[FaultKind.FORGED] == 400
    merged = one.merge([batch(forged)] * 300, SOURCE)
    assert len(merged.faults) == 100
    assert one.fault_counts()[FaultKind.FORGED] == 700
    assert one.faults()[0].count == 300


def test_the_bounds_fit_the_frames() -> None:
    """A frame of the mesh has 1 MiB, with the signature and some bytes of its own."""
    assert bounds_file.BODY_LIMIT_BYTES + 64 + 1024 < 1 << 20
