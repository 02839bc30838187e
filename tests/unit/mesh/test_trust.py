"""Who may join and whose documents decide: without a roster, with one, and with those that are refused."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.errors import ConfigError, IntegrityError, Refused
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh import BAN_WITHOUT_ROSTER, Entry, Role, Roster, Trust, encode_signed
from peat_sidecar.mesh.roster import sign_roster
from peat_sidecar.records import Batch, Document, FaultKind, Records, SignedRecord, Signer, sign_record

NOW = 1_790_000_000.0
CLOCK = int(NOW * 1000) << 16
ADMIN, OTHER_ADMIN, OWN, ONE, TWO, THREE = (Signer(bytes([number]) * 32) for number in range(1, 7))
PUBLISHER, CARRIER = Entry("ship", Role.PUBLISHER), Entry("barge", Role.CARRIER)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    opened = Records.open(tmp_path / "records.db", OWN, now=lambda: NOW)
    yield opened
    opened.close()


@pytest.fixture
def trust(records: Records) -> Iterator[Trust]:
    made = Trust(records, ADMIN.id, "fleet")
    yield made
    made.close()


def roster_of(
    *members: tuple[EndpointId, Entry],
    sequence: int = CLOCK,
    signer: Signer = ADMIN,
    app_id: str = "fleet",
    clock: int = CLOCK,
) -> SignedRecord:
    return sign_roster(signer, app_id, members, sequence=sequence, clock=clock).signed


def told(records: Records, signer: Signer, collection: str, doc_id: str, fields: dict[str, Any]) -> Any:
    """A peer brings a record; what the merge says."""
    signed = sign_record(signer, collection, doc_id, fields, sequence=CLOCK, clock=CLOCK)
    return arrives(records, signed)


def arrives(records: Records, signed: SignedRecord, after: int = 0) -> Any:
    record = signed.record
    return records.merge([Batch(record.signer, after, record.sequence, (signed,))], source=THREE.id)


def document(records: Records, collection: str, doc_id: str) -> Document:
    found = records.get(collection, doc_id)
    assert found is not None
    return found


# ---- the key alone


def test_without_an_admin_the_owner_decides(records: Records) -> None:
    trust = Trust(records, None, "fleet")
    told(records, ONE, "packages", "ship:app-amd64", {"by": "one"})
    told(records, TWO, "packages", "ship:app-amd64", {"by": "two"})
    told(records, TWO, "notes", "x", {"by": "two"})
    assert trust.may_join(THREE.id)
    assert not trust.waits_for_roster
    assert trust.ban_note == BAN_WITHOUT_ROSTER
    assert document(records, "packages", "ship:app-amd64").fields == {"by": "one"}
    assert trust.decides(document(records, "packages", "ship:app-amd64"))
    assert trust.decides(document(records, "notes", "x"))
    foreign = Document("packages", "ship:app-amd64", {"by": "two"}, CLOCK, (TWO.id,))
    unowned = Document("packages", "nobody:app-amd64", {}, CLOCK, (TWO.id,))
    assert not trust.decides(foreign)
    assert not trust.decides(unowned)
    with pytest.raises(Refused, match="roster_admin"):
        trust.load(roster_of((ONE.id, PUBLISHER)))


# ---- the roster


def test_until_there_is_a_roster_nobody_joins(records: Records, trust: Trust) -> None:
    assert trust.waits_for_roster
    assert not trust.may_join(ONE.id)
    assert FaultKind.STRANGER in {
        fault.kind for fault in told(records, ONE, "packages", "ship:app-amd64", {"by": "one"}).faults
    }
    trust.load(roster_of((ONE.id, PUBLISHER)))
    assert not trust.waits_for_roster
    assert trust.may_join(ONE.id)
    assert not trust.may_join(TWO.id)
    assert not trust.may_join(ADMIN.id)
    assert trust.entry(ONE.id) == PUBLISHER
    assert trust.entry(TWO.id) is None
    assert trust.ban_note != BAN_WITHOUT_ROSTER


def test_only_publishers_decide(records: Records, trust: Trust) -> None:
    trust.load(roster_of((ONE.id, PUBLISHER), (TWO.id, CARRIER)))
    for signer, agent_id in ((ONE, "ship"), (TWO, "barge")):
        told(records, signer, "packages", f"{agent_id}:app-amd64", {"by": agent_id})
        told(records, signer, "notes", f"of-{agent_id}", {"by": agent_id})
    assert trust.decides(document(records, "packages", "ship:app-amd64"))
    assert not trust.decides(document(records, "packages", "barge:app-amd64"))
    assert trust.decides(document(records, "notes", "of-ship"))
    assert not trust.decides(document(records, "notes", "of-barge"))
    both = Document("notes", "x", {}, CLOCK, (ONE.id, TWO.id))
    assert not trust.decides(both)


def test_agent_ids_are_what_the_roster_says(records: Records, trust: Trust) -> None:
    """Two is listed, and says something as the agent that is One's before One does."""
    trust.load(roster_of((ONE.id, PUBLISHER), (TWO.id, Entry("barge", Role.PUBLISHER))))
    merged = told(records, TWO, "packages", "ship:app-amd64", {"by": "two"})
    assert FaultKind.FOREIGN in {fault.kind for fault in merged.faults}
    assert records.get("packages", "ship:app-amd64") is None
    told(records, ONE, "packages", "ship:app-amd64", {"by": "one"})
    assert document(records, "packages", "ship:app-amd64").fields == {"by": "one"}
    assert not trust.decides(Document("packages", "ship:app-amd64", {}, CLOCK, (TWO.id,)))


def test_whoever_is_taken_off_decides_nothing_any_more(records: Records, trust: Trust) -> None:
    trust.load(roster_of((ONE.id, PUBLISHER), (TWO.id, CARRIER)))
    told(records, ONE, "packages", "ship:app-amd64", {"by": "one"})
    trust.load(roster_of((TWO.id, CARRIER), sequence=CLOCK + 1))
    assert not trust.may_join(ONE.id)
    assert records.get("packages", "ship:app-amd64") is None
    trust.load(roster_of((ONE.id, PUBLISHER), sequence=CLOCK + 2))
    assert document(records, "packages", "ship:app-amd64").fields == {"by": "one"}


def test_it_spreads_as_a_record(records: Records, trust: Trust, tmp_path: Path) -> None:
    trust.load(roster_of((ONE.id, PUBLISHER)))
    batch = records.since(ADMIN.id, 0)
    assert batch is not None
    other = Records.open(tmp_path / "other.db", ONE, now=lambda: NOW)
    reached = Trust(other, ADMIN.id, "fleet")
    heard: list[Roster] = []
    reached.on_change(heard.append)
    other.merge([batch], source=OWN.id)
    assert reached.roster == trust.roster
    assert heard == [trust.roster]
    assert reached.may_join(ONE.id)
    other.close()


def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    for turn in range(2):
        records = Records.open(tmp_path / "records.db", OWN, now=lambda: NOW)
        trust = Trust(records, ADMIN.id, "fleet")
        assert trust.may_join(ONE.id) == bool(turn)
        if not turn:
            trust.load(roster_of((ONE.id, PUBLISHER)))
        records.close()


def test_the_same_one_again_changes_nothing(trust: Trust) -> None:
    heard: list[Roster] = []
    end = trust.on_change(heard.append)
    trust.load(roster_of((ONE.id, PUBLISHER)))
    trust.load(roster_of((ONE.id, PUBLISHER)))
    assert len(heard) == 1
    end()
    trust.load(roster_of((TWO.id, CARRIER), sequence=CLOCK + 1))
    assert len(heard) == 1
    assert trust.refused == 0


def test_an_older_one_is_refused_and_reported(records: Records, trust: Trust) -> None:
    new = roster_of((TWO.id, CARRIER), sequence=CLOCK + 1)
    old = roster_of((ONE.id, PUBLISHER))
    trust.load(new)
    with pytest.raises(Refused, match="older"):
        trust.load(old)
    assert (trust.refused, "older" in trust.last_refusal) == (1, True)
    merged = arrives(records, old)
    assert FaultKind.OLDER in {fault.kind for fault in merged.faults}
    assert trust.may_join(TWO.id)
    assert not trust.may_join(ONE.id)
    assert trust.roster is not None
    assert trust.roster.signed == new


def test_the_file_of_the_settings(trust: Trust, tmp_path: Path) -> None:
    """Read at each start, so one that is older by now is no fault; anything else that is wrong is."""
    file = tmp_path / "fleet.signed.json"
    for sequence, wanted in ((CLOCK + 1, CLOCK + 1), (CLOCK, CLOCK + 1), (CLOCK + 2, CLOCK + 2)):
        file.write_text(encode_signed(roster_of((ONE.id, PUBLISHER), sequence=sequence)))
        trust.load_file(file)
        assert trust.roster is not None
        assert trust.roster.sequence == wanted
    assert trust.refused == 0
    for text in (
        "x",
        encode_signed(roster_of(signer=OTHER_ADMIN)),
        encode_signed(roster_of(app_id="elsewhere")),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"fleet\.signed\.json"):
            trust.load_file(file)
    with pytest.raises(ConfigError, match="does not exist"):
        trust.load_file(tmp_path / "not-there.json")


def test_two_with_one_sequence_end_alike_everywhere(tmp_path: Path) -> None:
    twins = [roster_of((ONE.id, PUBLISHER)), roster_of((TWO.id, CARRIER))]
    ends = []
    for order in (twins, twins[::-1]):
        records = Records.open(tmp_path / f"{len(ends)}.db", OWN, now=lambda: NOW)
        trust = Trust(records, ADMIN.id, "fleet")
        for signed in order:
            arrives(records, signed)
        assert trust.roster is not None
        ends.append(trust.roster.signed.body)
        records.close()
        again = Records.open(tmp_path / f"{len(ends) - 1}.db", OWN, now=lambda: NOW)
        assert (roster := Trust(again, ADMIN.id, "fleet").roster) is not None
        assert roster.signed.body == ends[-1]
        again.close()
    assert ends[0] == ends[1]


def test_one_from_an_admin_whose_clock_is_ahead_counts(records: Records, trust: Trust) -> None:
    ahead = CLOCK + ((400 * 86400 * 1000) << 16)
    arrives(records, roster_of((ONE.id, PUBLISHER), sequence=ahead, clock=ahead))
    assert trust.may_join(ONE.id)


def test_another_formation_and_another_admin(records: Records, trust: Trust) -> None:
    trust.load(roster_of((ONE.id, PUBLISHER)))
    elsewhere = roster_of((TWO.id, PUBLISHER), sequence=CLOCK + 5, app_id="elsewhere")
    forged = roster_of((TWO.id, PUBLISHER), sequence=CLOCK + 5, signer=OTHER_ADMIN)
    with pytest.raises(Refused, match="'elsewhere'"):
        trust.load(elsewhere)
    with pytest.raises(IntegrityError, match="not by the admin"):
        trust.load(forged)
    arrives(records, elsewhere)
    arrives(records, forged)
    assert not trust.may_join(TWO.id)
    again = Trust(records, ADMIN.id, "fleet")  # what is stored is not displaced either
    assert again.may_join(ONE.id)
    assert not again.may_join(TWO.id)


def test_what_the_admin_signed_wrongly_leaves_the_old_one(records: Records, trust: Trust) -> None:
    trust.load(roster_of((ONE.id, PUBLISHER)))
    twice = {str(id): {"agent_id": "ship", "role": "publisher"} for id in (ONE.id, TWO.id)}
    wrong = sign_record(ADMIN, "roster", "fleet", twice, sequence=CLOCK + 1, clock=CLOCK)
    with pytest.raises(ConfigError, match="its own"):
        trust.load(wrong)
    arrives(records, wrong)
    assert trust.may_join(ONE.id)
    assert not trust.may_join(TWO.id)
    assert trust.refused == 2


def test_a_member_that_writes_into_the_rosters_document(records: Records, trust: Trust) -> None:
    trust.load(roster_of((ONE.id, PUBLISHER)))
    later = CLOCK + (1000 << 16)
    own = {str(TWO.id): {"agent_id": "barge", "role": "publisher"}}
    arrives(records, sign_record(ONE, "roster", "fleet", own, sequence=later, clock=later))
    assert not trust.may_join(TWO.id)
    assert not Trust(records, ADMIN.id, "fleet").may_join(TWO.id)


def test_an_altered_one_is_refused(records: Records, trust: Trust) -> None:
    signed = roster_of((ONE.id, PUBLISHER))
    altered = SignedRecord(signed.body.replace(b"publisher", b"consumer_"), signed.signature)
    with pytest.raises((IntegrityError, ConfigError)):
        trust.load(altered)
    assert not trust.may_join(ONE.id)


def test_many_threads_end_with_the_newest(records: Records, trust: Trust) -> None:
    """By file and by peers at once; a deadlock would end at the join's time-out."""
    rosters = [
        roster_of((ONE.id, Entry(f"ship-{turn}", Role.PUBLISHER)), sequence=CLOCK + turn)
        for turn in range(24)
    ]

    def load(signed: SignedRecord) -> None:
        with contextlib.suppress(Refused):
            trust.load(signed)

    def hear(signed: SignedRecord) -> None:
        arrives(records, signed)

    threads = [
        threading.Thread(target=load if turn % 2 else hear, args=(signed,))
        for turn, signed in enumerate(rosters)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert trust.roster is not None
    assert trust.roster.sequence == CLOCK + 23
    told(records, ONE, "packages", "ship-23:app-amd64", {"by": "one"})
    assert trust.decides(document(records, "packages", "ship-23:app-amd64"))
