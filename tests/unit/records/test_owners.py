"""Whose records count: owners, rosters, bans; and that documents follow at once, and after a restart."""

from pathlib import Path

import pytest
from tests.support.signed_records import NOW, Time, deliver, everything, node, said, signer, view

from peat_sidecar.errors import ConfigError, Refused
from peat_sidecar.records import FaultKind, Merged, Records

A, B, C = signer("a"), signer("b"), signer("c")


def kinds(merged: Merged) -> list[FaultKind]:
    return [fault.kind for fault in merged.faults]


def test_the_first_that_claims_owns(one: Records) -> None:
    assert one.owner_of("ship") is None
    assert kinds(deliver(one, [said(A, "packages", "ship:app", {"by": "a"})])) == []
    merged = deliver(
        one, [said(B, "packages", "ship:app", {"by": "b"}, at=NOW + 9), said(B, "nodes", "ship", {})]
    )
    assert kinds(merged) == [FaultKind.FOREIGN] * 2
    assert merged.new == 2
    assert one.owner_of("ship") == A.id
    assert view(one) == {("packages", "ship:app"): {"by": "a"}}
    assert len(everything(one)) == 3
    deliver(one, [said(A, "nodes", "ship", {"by": "a"}, at=NOW + 1)])
    assert view(one)["nodes", "ship"] == {"by": "a"}


def test_a_foreign_delete_decides_nothing(one: Records) -> None:
    deliver(one, [said(A, "packages", "ship:app", {"by": "a"})])
    later = said(B, "packages", "ship:app", {}, at=NOW + 5, deleted=said(A, "x", "y", {}).record.clock + 1)
    assert kinds(deliver(one, [later])) == [FaultKind.FOREIGN]
    assert view(one) == {("packages", "ship:app"): {"by": "a"}}


def test_ownership_outlives_a_restart(tmp_path: Path) -> None:
    records = node(tmp_path, "one")
    deliver(records, [said(A, "packages", "ship:app", {"by": "a"})])
    deliver(records, [said(B, "packages", "ship:app", {"by": "b"}, at=NOW + 9)])
    records.close()
    records = node(tmp_path, "one")
    assert records.owner_of("ship") == A.id
    deliver(records, [said(B, "packages", "ship:more", {"by": "b"}, at=NOW + 10)])
    assert view(records) == {("packages", "ship:app"): {"by": "a"}}
    records.close()


def test_an_endpoint_id_as_agent_id_belongs_to_itself(one: Records) -> None:
    doc_id = f"{A.id}:app"
    assert kinds(deliver(one, [said(B, "packages", doc_id, {"by": "b"})])) == [FaultKind.FOREIGN]
    assert view(one) == {}
    deliver(one, [said(A, "packages", doc_id, {"by": "a"})])
    assert view(one) == {("packages", doc_id): {"by": "a"}}
    assert one.owner_of(str(B.id)) == B.id


def test_a_documents_without_an_agent_belongs_to_nobody(one: Records) -> None:
    assert kinds(deliver(one, [said(A, "packages", ":app", {}), said(A, "nodes", "x", {}, count=1)])) == [
        FaultKind.FOREIGN
    ]
    assert one.owner_of("") is None
    assert one.collections() == ["nodes"]


def test_this_nodes_own_agent_id(one: Records) -> None:
    deliver(one, [said(A, "packages", "ship:app", {"by": "a"})])
    with pytest.raises(Refused):
        one.put("packages", "ship:app", {"by": "one"})
    one.claim("ship")
    assert one.owner_of("ship") == one.id
    assert view(one) == {}
    assert one.put("packages", "ship:app", {"by": "one"})
    merged = deliver(one, [said(A, "packages", "ship:app", {"by": "a"}, at=NOW + 9)])
    assert kinds(merged) == [FaultKind.FOREIGN]
    assert view(one) == {("packages", "ship:app"): {"by": "one"}}
    one.set_members({A.id: "ship"})
    assert one.owner_of("ship") == one.id
    for wrong in ("", "a:b", "a\n"):
        with pytest.raises(ConfigError):
            one.claim(wrong)


def test_a_claim_of_an_older_identity_is_no_more(tmp_path: Path) -> None:
    node(tmp_path, "one").close()
    (tmp_path / "one.db").rename(tmp_path / "next.db")
    records = node(tmp_path, "next")
    records.claim("ship")
    records.close()
    (tmp_path / "next.db").rename(tmp_path / "later.db")
    records = node(tmp_path, "later")
    records.set_members({A.id: "ship"})
    assert records.owner_of("ship") == A.id
    records.close()


def test_a_roster_binds_agent_ids(one: Records) -> None:
    deliver(one, [said(A, "packages", "ship:app", {"by": "a"}), said(B, "packages", "ship:app", {"by": "b"})])
    deliver(one, [said(C, "notes", "n", {"c": 1}), said(A, "notes", "n", {"a": 1}, count=1)])
    first = view(one)["packages", "ship:app"]["by"]
    assert view(one)["notes", "n"] == {"a": 1, "c": 1}
    one.set_members({B.id: "ship", A.id: "boat"})
    assert view(one) == {("packages", "ship:app"): {"by": "b"}, ("notes", "n"): {"a": 1}}
    one.set_members({A.id: "ship", B.id: "boat"})
    assert view(one) == {("packages", "ship:app"): {"by": "a"}, ("notes", "n"): {"a": 1}}
    one.set_members({A.id: "boat"}, also=(C.id,))
    assert view(one) == {("notes", "n"): {"a": 1, "c": 1}}
    one.set_members({})
    assert view(one) == {}
    one.set_members(None)
    assert view(one) == {("packages", "ship:app"): {"by": first}, ("notes", "n"): {"a": 1, "c": 1}}


def test_strangers_are_stored_and_decide_nothing(one: Records) -> None:
    one.set_members({A.id: "ship"})
    merged = deliver(one, [said(B, "notes", "n", {"b": 1}), said(B, "packages", "ship:app", {}, count=1)])
    assert (merged.new, kinds(merged)) == (2, [FaultKind.STRANGER] * 2)
    assert view(one) == {}
    assert one.owner_of("ship") == A.id
    assert kinds(deliver(one, [said(A, "packages", "boat:app", {})])) == [FaultKind.FOREIGN]
    with pytest.raises(Refused, match="nobody in the roster"):
        one.put("packages", "own:app", {})
    one.claim("own")
    assert one.put("packages", "own:app", {})
    assert one.put("notes", "mine", {})


def test_a_roster_outlives_a_restart(tmp_path: Path) -> None:
    records = node(tmp_path, "one")
    deliver(records, [said(who, "notes", "n", {who.id.short: 1}) for who in (A, B, C)])
    records.set_members({A.id: "ship"}, also=(C.id,))
    before = view(records)
    told: list[object] = []
    records.close()
    records = node(tmp_path, "one")
    records.subscribe(told.append)
    records.set_members({A.id: "ship"}, also=(C.id,))
    assert told == []
    assert view(records) == before == {("notes", "n"): {A.id.short: 1, C.id.short: 1}}
    deliver(records, [said(B, "notes", "m", {})])
    assert ("notes", "m") not in view(records)
    records.close()


def test_a_ban_takes_what_was_said(one: Records, tmp_path: Path) -> None:
    deliver(one, [said(A, "notes", "n", {"x": "a"}, at=NOW + 5), said(B, "notes", "n", {"x": "b", "y": "b"})])
    deliver(one, [said(A, "packages", "ship:app", {"by": "a"}, at=NOW + 6)])
    deliver(one, [said(A, "notes", "gone", {}, at=NOW + 7), said(A, "notes", "m", {}, at=NOW + 8)])
    before = view(one)
    one.ban(A.id)
    one.ban(A.id)
    assert one.banned() == {A.id}
    assert view(one) == {("notes", "n"): {"x": "b", "y": "b"}}
    merged = deliver(one, [said(A, "notes", "more", {}, at=NOW + 9)])
    assert (merged.new, kinds(merged)) == (1, [FaultKind.BANNED])
    assert view(one) == {("notes", "n"): {"x": "b", "y": "b"}}
    one.unban(A.id)
    assert one.banned() == frozenset()
    assert view(one) == before | {("notes", "more"): {}}
    with pytest.raises(ConfigError):
        one.ban(one.id)


def test_a_ban_undoes_a_delete(one: Records) -> None:
    deliver(one, [said(B, "notes", "n", {"x": 1})])
    deleted = said(B, "notes", "n", {}).record.clock + 1
    deliver(one, [said(A, "notes", "n", {}, count=1, deleted=deleted)])
    assert view(one) == {}
    one.ban(A.id)
    assert view(one) == {("notes", "n"): {"x": 1}}


def test_a_ban_frees_agent_ids(one: Records) -> None:
    """A squatter is banned: the agent id goes to the other who speaks of it, and to nobody else."""
    deliver(one, [said(A, "packages", "ship:app", {"by": "a"})])
    deliver(one, [said(C, "packages", "ship:app", {"by": "c"}, at=NOW + 2)])
    deliver(
        one, [said(B, "packages", "ship:app", {"by": "b"}, at=NOW + 1), said(B, "nodes", "ship", {"by": "b"})]
    )
    one.ban(A.id)
    assert one.owner_of("ship") == B.id
    assert view(one) == {("packages", "ship:app"): {"by": "b"}, ("nodes", "ship"): {"by": "b"}}
    one.unban(A.id)
    assert one.owner_of("ship") == B.id


def test_a_ban_outlives_a_restart(tmp_path: Path, time: Time) -> None:
    records = node(tmp_path, "one", time)
    deliver(records, [said(A, "notes", "n", {"x": 1})])
    records.ban(A.id)
    records.ban(C.id)
    records.close()
    records = node(tmp_path, "one", time)
    assert records.banned() == {A.id, C.id}
    assert view(records) == {}
    assert C.id not in records.heads()
    records.close()


def test_a_kill_in_the_middle_of_a_ban(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ban is stored with the list of what it changes; the next start does the rest."""
    from peat_sidecar.records import upkeep as upkeep_file

    records = node(tmp_path, "one")
    deliver(records, [said(A, "notes", str(number), {}, count=number) for number in range(50)])
    monkeypatch.setattr(upkeep_file, "_CHUNK", 7)
    calls = []

    class Killed(BaseException):
        pass

    def dying(self: object, writing: object, *, real: object = upkeep_file.Upkeep.refresh) -> int:
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return real(self, writing)  # type: ignore[no-any-return, operator]

    with monkeypatch.context() as dies:
        dies.setattr(upkeep_file.Upkeep, "refresh", dying)
        with pytest.raises(Killed):
            records.ban(A.id)
    assert len(records.list_ids("notes")) == 50 - 14
    records.close()
    records = node(tmp_path, "one")
    assert records.list_ids("notes") == []
    assert records.status().documents == 0
    records.unban(A.id)
    assert len(records.list_ids("notes")) == records.status().documents == 50
    records.close()
