"""The same records give the same documents: in any order, however often, in whatever pieces; and whoever says
two things at once, or forgets what it said, harms nobody else.
"""

import random
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.support.signed_records import NOW, Time, batch, deliver, everything, node, said, signer, sync, view

from peat_sidecar.records import (
    CLEARED,
    FaultKind,
    Field,
    Head,
    Record,
    Records,
    SignedRecord,
    clock_at,
    parse_record,
)
from peat_sidecar.records.merging import merge_records
from peat_sidecar.records.record import encode_record, seal

MEMORY = Path(":memory:")
"""SQLite's own: no test waits for the disk."""
SIGNERS = [signer(name) for name in ("one", "two", "three")]
FAULTY = signer("faulty")
CLOCK = clock_at(NOW)

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
numbers = st.one_of(
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not 2**53 <= abs(x) < 1e21),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
clocks = st.integers(0, 9)
names = st.sampled_from(["x", "y", "z"])


@st.composite
def records(draw: st.DrawFn) -> SignedRecord:
    """Of few signers, documents, clocks and sequences, so that everything collides."""
    who = draw(st.sampled_from([*SIGNERS, FAULTY]))
    deleted = draw(st.none() | clocks)
    fields = {
        name: Field(CLOCK + draw(clocks), draw(st.integers(0, 2) | st.just(CLEARED)))
        for name in draw(st.sets(names))
    }
    if deleted is not None:
        fields = {name: each for name, each in fields.items() if each.clock > CLOCK + deleted}
    clock = max([CLOCK + draw(clocks), CLOCK + (deleted or 0), *(each.clock for each in fields.values())])
    collection, doc_id = draw(
        st.sampled_from(
            [("notes", "a"), ("notes", "b"), ("packages", f"{SIGNERS[0].id}:a"), ("nodes", str(FAULTY.id))]
        )
    )
    sequence = CLOCK + draw(clocks)
    record = Record(
        who.id,
        collection,
        doc_id,
        sequence,
        clock,
        fields,
        None if deleted is None else CLOCK + deleted,
    )
    return seal(record, who)


def open_node(name: str = "reader", time: Time | None = None) -> Records:
    return Records.open(MEMORY, signer(name), now=time or Time())


def state(of: Records) -> tuple[Any, ...]:
    """All that nodes with the same records agree on."""
    documents = {
        (collection, each.doc_id): (each.json, each.clock, each.signers)
        for collection in of.collections()
        for each in of.documents(collection)
    }
    return documents, of.digest(), of.heads(), {each.body for each in everything(of)}


def in_pieces(of: Records, brought: list[SignedRecord], chance: random.Random) -> None:
    """In any order, some of it more than once, one or several batches a call."""
    brought = [*brought, *chance.choices(brought, k=chance.randint(0, len(brought)))] if brought else []
    chance.shuffle(brought)
    while brought:
        count = chance.randint(1, len(brought))
        part, brought = brought[:count], brought[count:]
        if chance.random() < 0.5:
            deliver(of, part)
        else:
            of.merge([batch(each) for each in part])


@given(st.lists(records(), max_size=14), st.integers(0, 2**32))
def test_any_order_any_duplication_any_partition(brought: list[SignedRecord], seed: int) -> None:
    chance = random.Random(seed)
    one, other = open_node(), open_node()
    deliver(one, brought)
    in_pieces(other, brought, chance)
    assert state(one) == state(other)
    in_pieces(other, brought, chance)
    assert state(one) == state(other)
    third = open_node()
    sync(third, one)
    sync(third, other)
    assert {each.body for each in everything(third)} == {each.body for each in everything(one)}
    assert view(third) == view(one)
    for each in (one, other, third):
        each.close()


@given(st.lists(records(), max_size=14))
def test_the_database_does_what_the_definition_says(brought: list[SignedRecord]) -> None:
    """Per signer and document the greatest (sequence, body); then the merge as a function; owners alone."""
    current: dict[tuple[Any, ...], tuple[int, bytes]] = {}
    for each in brought:
        record = each.record
        key = record.collection, record.doc_id, record.signer
        current[key] = max(current.get(key, (0, b"")), (record.sequence, each.body))
    expected = {}
    for collection, doc_id in {key[:2] for key in current}:
        of_document = [
            parse_record(body) for key, (_, body) in current.items() if key[:2] == (collection, doc_id)
        ]
        if collection != "notes":
            owner = doc_id.partition(":")[0]
            of_document = [record for record in of_document if str(record.signer) == owner]
        merge = merge_records(of_document)
        if merge.exists:
            expected[collection, doc_id] = merge.values
    reader = open_node()
    in_pieces(reader, brought, random.Random(len(brought)))
    assert view(reader) == expected
    assert {each.body for each in everything(reader)} == {body for _, body in current.values()}
    assert reader.status().records == len(current)
    reader.close()


@given(st.lists(records(), max_size=14), st.integers(0, 2**32))
def test_one_that_says_two_things_harms_only_itself(brought: list[SignedRecord], seed: int) -> None:
    """Documents that it never wrote are as if it were not there, and so are all when it is banned."""
    without, with_it = open_node(), open_node()
    deliver(without, [each for each in brought if each.record.signer != FAULTY.id])
    in_pieces(with_it, brought, random.Random(seed))
    touched = {
        (each.record.collection, each.record.doc_id) for each in brought if each.record.signer == FAULTY.id
    }
    untouched = {name: fields for name, fields in view(with_it).items() if name not in touched}
    assert untouched == {name: fields for name, fields in view(without).items() if name not in touched}
    for who, head in without.heads().items():
        assert with_it.heads()[who] == head
    with_it.ban(FAULTY.id)
    assert view(with_it) == view(without)
    with_it.unban(FAULTY.id)
    again = open_node()
    deliver(again, brought)
    assert state(with_it)[0] == state(again)[0]
    for each in (without, with_it, again):
        each.close()


@given(st.lists(records(), max_size=14), st.integers(0, 2**32))
def test_bans_and_rosters_come_and_go(brought: list[SignedRecord], seed: int) -> None:
    """What counts depends on who is trusted now, not on when that was said."""
    chance = random.Random(seed)
    before, after = open_node(), open_node()
    members = {who.id: str(who.id) for who in chance.sample([*SIGNERS, FAULTY], k=2)}
    banned = chance.choice([*SIGNERS, FAULTY]).id
    before.set_members(members)
    before.ban(banned)
    in_pieces(before, brought, chance)
    in_pieces(after, brought, chance)
    after.ban(banned)
    after.set_members(members)
    assert state(before) == state(after)
    before.unban(banned)
    before.set_members(None)
    plain = open_node()
    deliver(plain, brought)
    assert state(before) == state(plain)
    for each in (before, after, plain):
        each.close()


@given(st.lists(records(), max_size=10), st.integers(0, 2**32))
def test_deletes_never_come_back(brought: list[SignedRecord], seed: int) -> None:
    """A delete that is later than all that was written is the last word, whatever comes again afterwards."""
    deleter = signer("deleter")
    gone = [
        said(deleter, "notes", doc_id, {}, count=20 + number, deleted=CLOCK + 20 + number)
        for number, doc_id in enumerate("ab")
    ]
    reader = open_node()
    in_pieces(reader, [*brought, *gone], random.Random(seed))
    assert reader.list_ids("notes") == []
    in_pieces(reader, brought, random.Random(seed + 1))
    assert reader.list_ids("notes") == []
    reader.forget_unheard(NOW + 1)
    assert reader.list_ids("notes") == []
    in_pieces(reader, brought, random.Random(seed + 2))
    assert reader.list_ids("notes") == []
    reader.close()


class Formation:
    """Three nodes that write, meet, lose their state, and have clocks of their own."""

    def __init__(self) -> None:
        self.times = [Time(NOW + 60 * number) for number in range(3)]
        self.nodes = [
            open_node(who, time) for who, time in zip(("one", "two", "three"), self.times, strict=True)
        ]

    def act(self, action: tuple[str, int, int, int]) -> None:
        what, which, other, number = action
        records, time = self.nodes[which], self.times[which]
        match what:
            case "put":
                records.put("notes", str(number % 3), {f"f{other}": number, "same": which})
            case "own":
                records.put("packages", f"{records.id}:{number % 3}", {"x": number})
            case "delete":
                records.delete("notes", str(number % 3))
            case "meet":
                sync(records, self.nodes[other])
            case "wait":
                time.now += number
            case "lose":
                records.close()
                self.nodes[which] = open_node(("one", "two", "three")[which], time)

    def all_meet(self) -> None:
        for _ in range(2):
            for one, other in ((0, 1), (1, 2), (0, 2)):
                sync(self.nodes[one], self.nodes[other])

    def close(self) -> None:
        for records in self.nodes:
            records.close()


actions = st.tuples(
    st.sampled_from(["put", "put", "own", "delete", "meet", "meet", "wait", "lose"]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 9),
)


@given(st.lists(actions, max_size=25))
def test_a_formation_comes_together(taken: list[tuple[str, int, int, int]]) -> None:
    formation = Formation()
    for action in taken:
        formation.act(action)
    formation.all_meet()
    one, *others = map(state, formation.nodes)
    for other in others:
        assert other == one
    formation.nodes[0].put("notes", "last", {"x": 1})
    for doc_id in formation.nodes[1].list_ids("notes"):
        formation.nodes[1].delete("notes", doc_id)
    formation.all_meet()
    for records in formation.nodes:
        assert [doc_id for doc_id in records.list_ids("notes") if doc_id != "last"] == []
    formation.close()


@given(st.lists(actions.filter(lambda action: action[0] != "lose"), max_size=25))
def test_nodes_that_keep_their_state_give_no_cause(taken: list[tuple[str, int, int, int]]) -> None:
    """No equivocation, nothing forged, nothing foreign; and a write is what its writer then reads."""
    formation = Formation()
    for action in taken:
        formation.act(action)
        if action[0] == "put":
            found = formation.nodes[action[1]].get("notes", str(action[3] % 3))
            assert found is not None
            assert found.fields == {f"f{action[2]}": action[3], "same": action[1]}
    formation.all_meet()
    for records in formation.nodes:
        assert {fault.kind for fault in records.faults()} <= {FaultKind.OLDER}
    formation.close()


@given(st.dictionaries(texts, values, max_size=5), st.dictionaries(texts, values, max_size=5))
def test_documents_come_back_as_they_went_in(first: dict[str, Any], second: dict[str, Any]) -> None:
    one, other = open_node("one"), open_node("other")
    for document in (first, second):
        one.put("notes", "n", document)
        sync(one, other)
        for records in (one, other):
            found = records.get("notes", "n")
            assert found is not None
            assert found.fields == document
        assert not one.put("notes", "n", document)
        assert not other.put("notes", "n", document)
    one.close()
    other.close()


@given(records())
def test_a_record_there_and_back(signed: SignedRecord) -> None:
    assert encode_record(parse_record(signed.body)) == signed.body
    assert signed.verify() == parse_record(signed.body)


def test_heads_say_what_is_missing(tmp_path: Path) -> None:
    """The database on disk, once: as the one in memory."""
    on_disk, in_memory = node(tmp_path, "reader"), open_node()
    brought = [said(who, "notes", str(number), {}, count=number) for number in range(4) for who in SIGNERS]
    for each in (on_disk, in_memory):
        deliver(each, brought)
    assert state(on_disk) == state(in_memory)
    assert all(isinstance(head, Head) for head in on_disk.heads().values())
    on_disk.close()
    in_memory.close()
