"""Signers that are not heard of any more: their records go, do not come back, and come back with them."""

from pathlib import Path

from tests.support.signed_records import DAY, NOW, Time, deliver, everything, node, said, signer, sync, view

from peat_sidecar.records import Records, clock_at

A, B = signer("a"), signer("b")


def test_dropped_and_kept(one: Records, time: Time) -> None:
    deliver(one, [said(A, "notes", "n", {"x": 1}), said(A, "packages", "ship:app", {}, count=1)])
    one.put("notes", "mine", {})
    time.now += 100 * DAY
    deliver(one, [said(B, "notes", "b", {})])
    told: list[object] = []
    one.subscribe(told.extend)
    head = one.heads()[A.id]
    assert one.forget_unheard(NOW) == 0
    assert one.forget_unheard(NOW + 1) == 2
    assert len(told) == 2
    assert view(one) == {("notes", "mine"): {}, ("notes", "b"): {}}
    assert one.heads()[A.id] == head
    assert one.owner_of("ship") is None
    assert one.status().records == 2
    assert one.forget_unheard(NOW + 1) == 0


def test_nobody_brings_them_back(one: Records, other: Records, time: Time) -> None:
    records = [said(A, "notes", str(number), {}, count=number) for number in range(5)]
    for node_records in (one, other):
        deliver(node_records, records)
    one.forget_unheard(NOW + 1)
    assert one.digest() == other.digest()
    for _ in range(2):
        sync(one, other)
        deliver(one, records)
        deliver(one, records[:2])
    assert view(one) == {}
    assert len(view(other)) == 5
    assert one.since(A.id, 0) is None


def test_something_new_brings_all_back(one: Records, other: Records) -> None:
    records = [said(A, "notes", str(number), {}, count=number) for number in range(5)]
    for node_records in (one, other):
        deliver(node_records, records)
    one.forget_unheard(NOW + 1)
    deliver(other, [said(A, "notes", "new", {}, at=NOW + 9)])
    sync(one, other)
    assert view(one) == view(other)
    assert len(view(one)) == 6
    assert one.heads() == other.heads()


def test_the_signer_itself_brings_all_back(one: Records, other: Records, tmp_path: Path, time: Time) -> None:
    """It has said nothing new, but it is there."""
    back = node(tmp_path, "back", time)
    back.put("notes", "n", {"x": 1})
    sync(one, back)
    one.forget_unheard(NOW + 1)
    assert view(one) == {}
    sync(one, back)
    assert view(one) == {}
    one.heard(back.id)
    sync(one, back)
    assert view(one) == {("notes", "n"): {"x": 1}}
    back.close()


def test_an_old_batch_with_rubbish_at_its_end_does_not(one: Records) -> None:
    from peat_sidecar.records import Batch, SignedRecord

    old = said(A, "notes", "n", {})
    deliver(one, [old])
    one.forget_unheard(NOW + 1)
    new = said(A, "notes", "m", {}, at=NOW + 9)
    forged = SignedRecord(new.body, bytes(64))
    merged = one.merge([Batch(A.id, 0, new.record.sequence, (old, forged))])
    assert merged.new == 0
    assert view(one) == {}


def test_deletes_stay(one: Records, other: Records, tmp_path: Path, time: Time) -> None:
    """A newcomer learns of them, too."""
    deliver(one, [said(B, "notes", "n", {"x": 1}), said(B, "notes", "m", {"y": 1}, count=1)])
    clock = clock_at(NOW) + 5
    deliver(
        one,
        [
            said(A, "notes", "n", {}, deleted=clock, count=5),
            said(A, "notes", "m", {"z": 1}, deleted=clock, count=6),
            said(A, "packages", "ship:app", {}, deleted=clock + 2, count=7),
        ],
    )
    time.now += 100 * DAY
    one.heard(B.id)
    assert one.forget_unheard(time.now - DAY) == 3
    assert view(one) == {}
    assert len([each for each in everything(one) if each.record.signer == A.id]) == 2
    assert one.forget_unheard(time.now - DAY) == 0
    newcomer = node(tmp_path, "newcomer", time)
    sync(one, newcomer)
    assert ("notes", "n") not in view(newcomer)
    newcomer.close()
    deliver(one, [said(A, "notes", "new", {}, at=NOW + 60)])
    assert view(one) == {("notes", "m"): {"z": 1}, ("notes", "new"): {}}


def test_being_heard(one: Records, time: Time, tmp_path: Path) -> None:
    deliver(one, [said(A, "notes", "n", {})])
    time.now += 10 * DAY
    one.heard(A.id)
    one.heard(signer("unknown").id)
    assert one.forget_unheard(time.now - DAY) == 0
    one.close()
    again = node(tmp_path, "one", time)
    assert again.forget_unheard(time.now - DAY) == 0
    assert again.forget_unheard(time.now + 1) == 1
    again.close()


def test_who_is_never_forgotten(one: Records) -> None:
    admin, member = signer("admin"), signer("member")
    deliver(one, [said(admin, "roster", "fleet", {"x": 1}), said(member, "notes", "n", {})])
    one.put("notes", "mine", {})
    one.set_members({member.id: "ship"}, also=(admin.id,))
    assert one.forget_unheard(NOW + 1000 * DAY) == 1
    assert view(one) == {("roster", "fleet"): {"x": 1}, ("notes", "mine"): {}}
