"""The merge as a function: who wins, what a delete hides, what is written."""

from itertools import permutations

from tests.support.signed_records import signer

from peat_sidecar.records import CLEARED, Field, Record
from peat_sidecar.records.bounds import CLEARED_LIMIT
from peat_sidecar.records.merging import merge_records, restamp, write, write_alone

ONE, TWO, THREE = sorted(signer(name).id for name in ("one", "two", "three"))


def record(who: object, clock: int, deleted: int | None = None, **fields: Field) -> Record:
    return Record(who, "notes", "a", clock, clock, fields, deleted)  # type: ignore[arg-type]


def test_different_fields_both_survive() -> None:
    merge = merge_records([record(ONE, 5, x=Field(5, 1)), record(TWO, 6, y=Field(6, 2))])
    assert merge.values == {"x": 1, "y": 2}
    assert merge.signers == (ONE, TWO)
    assert merge.clock == 6


def test_the_same_field_has_one_winner() -> None:
    records = [
        record(ONE, 9, x=Field(5, "early"), y=Field(9, "late")),
        record(TWO, 7, x=Field(7, "late"), y=Field(7, "early")),
        record(THREE, 7, x=Field(7, "late, and the greater signer"), y=Field(6, CLEARED)),
    ]
    for order in permutations(records):
        merge = merge_records(order)
        assert merge.values == {"x": "late, and the greater signer", "y": "late"}
        assert merge.signers == (ONE, THREE)


def test_clearing_wins_or_loses_as_a_value_does() -> None:
    assert merge_records([record(ONE, 5, x=Field(5, 1)), record(TWO, 6, x=Field(6, CLEARED))]).values == {}
    assert merge_records([record(ONE, 7, x=Field(7, 1)), record(TWO, 6, x=Field(6, CLEARED))]).values == {
        "x": 1
    }


def test_a_delete_hides_what_is_not_later() -> None:
    written = record(ONE, 8, x=Field(5, 1), y=Field(8, 2))
    for deleted, values in ((4, {"x": 1, "y": 2}), (5, {"y": 2}), (7, {"y": 2}), (8, {}), (9, {})):
        merge = merge_records([written, record(TWO, deleted, deleted)])
        assert merge.values == values
        assert merge.exists == (deleted < 8)


def test_an_empty_document_is_one() -> None:
    merge = merge_records([record(ONE, 5)])
    assert merge.exists
    assert merge.signers == (ONE,)
    assert not merge_records([record(ONE, 5), record(TWO, 5, 5)]).exists
    assert not merge_records([]).exists


def test_writing_touches_what_differs() -> None:
    own = record(ONE, 5, x=Field(5, 1), y=Field(5, 2))
    other = record(TWO, 6, z=Field(6, 3), y=Field(6, 4))
    merge = merge_records([own, other])
    assert write(own, [other], merge, {"x": 1, "y": 4, "z": 3}, 9) is None
    assert write(own, [other], merge, {"x": 1, "y": 5}, 9) == {
        "x": Field(5, 1),
        "y": Field(9, 5),
        "z": Field(9, CLEARED),
    }


def test_a_number_is_no_truth_value() -> None:
    own = record(ONE, 5, x=Field(5, [1, {"y": 0}]))
    merge = merge_records([own])
    assert write(own, [], merge, {"x": [1, {"y": 0}]}, 9) is None
    assert write(own, [], merge, {"x": [True, {"y": 0}]}, 9) == {"x": Field(9, [True, {"y": 0}])}
    assert write(own, [], merge, {"x": [1, {"y": False}]}, 9) == {"x": Field(9, [1, {"y": False}])}


def test_writing_after_a_delete_leaves_out_what_it_hides() -> None:
    own, delete = record(ONE, 5, x=Field(5, 1), y=Field(5, 2)), record(TWO, 7, 7)
    merge = merge_records([own, delete])
    assert write(own, [delete], merge, {"x": 1}, 9) == {"x": Field(9, 1)}


def test_cleared_names_have_an_end() -> None:
    """They hide values of others that are not known yet; what others are known to have is always hidden."""
    clock, own = 1, record(ONE, 1)
    others = [record(TWO, 1, theirs=Field(1, 0))]
    for number in range(2 * CLEARED_LIMIT):
        clock += 1
        fields = write(own, others, merge_records([own, *others]), {f"name{number}": 1}, clock)
        assert fields is not None
        own = record(ONE, clock, **fields)
    cleared = {name for name, each in own.fields.items() if each.value is CLEARED}
    assert len(cleared) == CLEARED_LIMIT + 1
    assert "theirs" in cleared
    assert f"name{2 * CLEARED_LIMIT - 2}" in cleared
    assert merge_records([own, *others]).values == {f"name{2 * CLEARED_LIMIT - 1}": 1}


def test_an_owner_need_not_say_what_is_cleared() -> None:
    own = record(ONE, 5, x=Field(5, 1), y=Field(5, 2))
    assert write_alone(own, merge_records([own]), {"y": 2, "z": 3}, 9) == {
        "y": Field(5, 2),
        "z": Field(9, 3),
    }
    assert write_alone(own, merge_records([own]), {"y": 2}, 9) == {"y": Field(5, 2)}
    assert write_alone(own, merge_records([own]), {"x": 1, "y": 2}, 9) is None


def test_new_clocks() -> None:
    ahead = record(ONE, 90, 80, x=Field(85, 1), y=Field(90, CLEARED))
    mended = restamp(ahead, 50, 20, 21)
    assert mended.fields == {"x": Field(21, 1), "y": Field(21, CLEARED)}
    assert (mended.clock, mended.deleted, mended.sequence) == (21, 20, 90)
    partly = restamp(record(ONE, 90, 10, x=Field(15, 1), y=Field(90, 2)), 50, 20, 21)
    assert (partly.fields, partly.deleted) == ({"x": Field(15, 1), "y": Field(21, 2)}, 10)


def test_a_delete_with_a_new_clock_is_one_still() -> None:
    mended = restamp(record(ONE, 90, 90), 50, 20, 21)
    assert (mended.clock, mended.deleted) == (20, 20)
    assert not merge_records([mended]).exists
