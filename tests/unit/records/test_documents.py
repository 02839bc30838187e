"""Documents as one node writes and reads them, and as two do."""

from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest
from tests.support.signed_records import Time, everything, node, signer, sync, view

from peat_sidecar.errors import ConfigError, Refused
from peat_sidecar.records import BODY_LIMIT_BYTES, Document, Records


def fields(records: Records, collection: str, doc_id: str) -> dict[str, Any] | None:
    document = records.get(collection, doc_id)
    return document.fields if document is not None else None


def test_there_and_gone(one: Records) -> None:
    assert one.get("notes", "a") is None
    assert one.put("notes", "a", {"x": 1})
    document = one.get("notes", "a")
    assert document is not None
    assert (document.fields, document.signers, document.json) == ({"x": 1}, (one.id,), '{"x":1}')
    assert one.delete("notes", "a")
    assert one.get("notes", "a") is None
    assert not one.delete("notes", "a")
    assert not one.delete("notes", "never")
    assert one.put("notes", "a", {"y": 2})
    assert fields(one, "notes", "a") == {"y": 2}


def test_after_a_restart_all_is_as_it_was(tmp_path: Path, time: Time) -> None:
    records = node(tmp_path, "one", time)
    records.put("notes", "a", {"x": 1})
    records.put("packages", "one:app", {"content": {"root": "sha256:1"}})
    records.put("notes", "b", {"x": 1})
    records.delete("notes", "b")
    before = records.heads(), records.digest(), view(records), records.status()
    records.close()
    again = node(tmp_path, "one", time)
    assert (again.heads(), again.digest(), view(again), again.status()) == before
    assert again.find("content.root", "sha256:1") == [again.get("packages", "one:app")]
    assert again.put("notes", "a", {"x": 2})
    assert again.heads()[again.id].sequence > before[0][again.id].sequence
    again.close()


def test_nothing_is_written_when_nothing_differs(one: Records) -> None:
    document = {"x": 1, "y": {"z": [1.5, None]}, "t": "é"}
    assert one.put("notes", "a", document)
    before = one.heads()
    assert not one.put("notes", "a", dict(reversed(document.items())))
    assert one.heads() == before
    assert one.put("notes", "a", {**document, "x": True})
    assert one.heads() != before


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"": ""},
        {"five": 5, "half": 0.5, "tiny": 5e-324, "large": 1.7976931348623157e308, "e21": 1e21},
        {"ends": [9007199254740991, -9007199254740991], "zero": [0], "true": True, "none": None},
        {"text": '"\\/\b\f\n\r\t\u0000\u001f\u007f\u2028é\uffee\U0001f6a2', "\U0001f6a2": 1, "\uffee": 2},
        {"deep": [[[[{"a": {"b": [1, "2", [3]]}}]]]]},
    ],
)
def test_json_comes_back_as_it_went_in(one: Records, other: Records, document: dict[str, Any]) -> None:
    one.put("notes", "a", document)
    sync(one, other)
    for records in (one, other):
        found = records.get("notes", "a")
        assert found is not None
        assert repr(sorted(found.fields.items())) == repr(sorted(document.items()))
        assert found == Document("notes", "a", document, found.clock, (one.id,))
        assert found.json == Document("notes", "a", document, 0, ()).json


def test_what_python_calls_otherwise(one: Records) -> None:
    class Colour(StrEnum):
        RED = "red"

    class Size(IntEnum):
        LARGE = 3

    assert one.put("notes", "a", {"tuple": (1, 2), "text": Colour.RED, "number": Size.LARGE, "whole": 5.0})
    assert fields(one, "notes", "a") == {"tuple": [1, 2], "text": "red", "number": 3, "whole": 5}
    assert '"whole":5}' in (one.get("notes", "a") or Document("", "", {}, 0, ())).json


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"x": 2**53}, "beyond 2\\^53"),
        ({"x": -(2**63) - 1}, "beyond 2\\^53"),
        ({"x": [{"y": 10**4000}]}, "'x.y' is an integer"),
        ({"x": 1e17}, "beyond 2\\^53"),
        ({"x": float("nan")}, "nan"),
        ({"x": float("inf")}, "inf"),
        ({"x": "\ud800"}, "surrogate"),
        ({"\udc00": 1}, "surrogate"),
        ({1: 2}, "names are texts"),
        ({"x": {None: 2}}, "names are texts"),
        ({"x": b"bytes"}, "bytes"),
        ({"x": {1, 2}}, "set"),
        ({"x": object}, "type"),
        ([1], "object"),
        ("x", "object"),
        (None, "object"),
        ({"x": "x" * BODY_LIMIT_BYTES}, "limit"),
    ],
)
def test_what_no_document_can_be(one: Records, document: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        one.put("notes", "a", document)
    assert one.get("notes", "a") is None
    assert one.put("notes", "a", {"x": 1})


def test_depth(one: Records, other: Records) -> None:
    def nested(levels: int) -> Any:
        value: Any = {}
        for _ in range(levels - 1):
            value = {"x": value} if levels % 2 else [value]
        return value

    assert one.put("notes", "a", {"x": nested(61), "y": nested(60)})
    sync(one, other)
    assert fields(other, "notes", "a") == {"x": nested(61), "y": nested(60)}
    for levels in (62, 500, 100_000):
        with pytest.raises(ConfigError, match="deeper than 61 levels"):
            one.put("notes", "a", {"x": nested(levels)})


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "a\0b", "\ud800", "a\u202eb"])
def test_names_of_collections(one: Records, name: str) -> None:
    for call in (one.put, one.delete):
        with pytest.raises(ConfigError, match="collection"):
            call(name, "a", *([{}] if call == one.put else []))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "x" * 1025, "a\nb"])
def test_names_of_documents(one: Records, name: str) -> None:
    with pytest.raises(ConfigError, match="document id"):
        one.put("notes", name, {})
    with pytest.raises(ConfigError, match="agent id"):
        one.put("packages", ":x", {})


def test_lists(one: Records) -> None:
    ids = [f"{number:03d}" for number in range(25)]
    for doc_id in reversed(ids):
        one.put("notes", doc_id, {"id": doc_id})
    one.put("other", "x", {})
    one.put("gone", "x", {})
    one.delete("gone", "x")
    one.delete("notes", "007")
    ids.remove("007")
    assert one.list_ids("notes") == ids
    assert one.list_ids("notes", after="005", limit=3) == ["006", "008", "009"]
    assert [document.doc_id for document in one.documents("notes", after="005", limit=3)] == [
        "006",
        "008",
        "009",
    ]
    assert one.list_ids("notes", after="024") == []
    assert len(one.list_ids("notes", limit=-5)) == 1
    assert one.collections() == ["notes", "other"]
    assert one.documents("none") == []
    status = one.status()
    assert (status.documents, status.records, status.signers, status.ahead) == (25, 27, 1, 0)
    assert status.bytes == sum(len(each.body) for each in everything(one))


def test_packages_are_found_by_content(one: Records, other: Records) -> None:
    def package(number: int, **more: Any) -> dict[str, Any]:
        content = {"root": f"r{number}", "manifest": f"m{number}", "collection": f"c{number}"}
        return {"reference": f"ref{number}", "content": {**content, **more}}

    one.put("packages", "one:a", package(1))
    one.put("packages", "one:b", package(1, manifest="r1"))
    other.put("packages", "other:a", package(1))
    one.put("notes", "one:a", package(1))
    sync(one, other)
    for records in (one, other):
        assert [found.doc_id for found in records.find("content.root", "r1")] == ["one:a", "one:b", "other:a"]
        assert [found.doc_id for found in records.find("content.manifest", "m1")] == ["one:a", "other:a"]
        assert [found.doc_id for found in records.find("content.collection", "c1")] == [
            "one:a",
            "one:b",
            "other:a",
        ]
        assert len(records.find("reference", "ref1")) == 3
        assert records.find("reference", "r1") == []
    one.put("packages", "one:a", package(2))
    one.put("packages", "one:b", {"reference": ["odd"], "content": "odd"})
    other.delete("packages", "other:a")
    sync(one, other)
    for records in (one, other):
        assert records.find("content.root", "r1") == []
        assert [found.doc_id for found in records.find("content.root", "r2")] == ["one:a"]
    with pytest.raises(ConfigError, match="reference"):
        one.find("content.size", "1")


def test_fields_that_two_write_at_once(one: Records, other: Records) -> None:
    one.put("notes", "a", {"x": 1, "y": 1})
    sync(one, other)
    one.put("notes", "a", {"x": 2, "y": 1})
    other.put("notes", "a", {"x": 1, "y": 2, "z": 3})
    sync(one, other)
    assert fields(one, "notes", "a") == fields(other, "notes", "a") == {"x": 2, "y": 2, "z": 3}
    one.put("notes", "a", {"x": "one"})
    other.put("notes", "a", {"x": "other"})
    sync(one, other)
    assert fields(one, "notes", "a") == fields(other, "notes", "a")
    assert (fields(one, "notes", "a") or {})["x"] in ("one", "other")
    assert one.digest() == other.digest()


def test_what_was_read_is_overwritten_even_by_a_slow_clock(tmp_path: Path) -> None:
    fast, slow = node(tmp_path, "fast", Time(1_790_000_600.0)), node(tmp_path, "slow", Time(1_790_000_000.0))
    fast.put("notes", "a", {"x": "fast", "y": 1})
    sync(fast, slow)
    slow.put("notes", "a", {"x": "slow"})
    sync(fast, slow)
    assert fields(fast, "notes", "a") == fields(slow, "notes", "a") == {"x": "slow"}
    slow.delete("notes", "a")
    sync(fast, slow)
    assert fast.get("notes", "a") is None
    fast.close()
    slow.close()


def test_deletes_do_not_come_back(one: Records, other: Records, time: Time, tmp_path: Path) -> None:
    one.put("notes", "a", {"x": 1})
    sync(one, other)
    time.now += 5
    other.delete("notes", "a")
    newcomer = node(tmp_path, "newcomer", time)
    sync(one, newcomer)
    assert newcomer.get("notes", "a") is not None
    sync(newcomer, other)
    sync(newcomer, one)
    sync(one, other)
    for records in (one, other, newcomer):
        assert view(records) == {}
    newcomer.close()


def test_only_the_owner_writes(one: Records, other: Records) -> None:
    one.put("packages", "ship:app", {"x": 1})
    sync(one, other)
    for call in (
        lambda: other.put("packages", "ship:app", {}),
        lambda: other.put("packages", "ship:new", {}),
    ):
        with pytest.raises(Refused, match=signer("one").id.short):
            call()
    with pytest.raises(Refused):
        other.delete("packages", "ship:app")
    with pytest.raises(Refused):
        other.put("nodes", "ship", {})
    assert other.put("notes", "ship:app", {})


def test_an_owned_document_keeps_no_past(one: Records) -> None:
    for number in range(50):
        one.put("packages", "ship:app", {f"field{number}": number})
        one.delete("packages", "ship:app")
    one.put("packages", "ship:app", {"x": 1})
    ((signed,),) = [part.records for part in [one.since(one.id, 0)] if part]
    assert set(signed.record.fields) == {"x"}
    assert signed.record.deleted is None


def test_many_updates_do_not_grow(one: Records, tmp_path: Path) -> None:
    document = {"reference": "registry.example/app:v1", "content": {"root": "sha256:1", "bytes": 0}}
    sizes = []
    for number in range(600):
        document["content"] = {"root": f"sha256:{number:04d}", "bytes": number}
        one.put("packages", "ship:app", document)
        sizes.append(one.status().bytes)
    assert max(sizes[10:]) <= max(sizes[:10]) + 4
    one.close()
    assert (tmp_path / "one.db").stat().st_size < 150_000


def test_a_package_record_is_small(one: Records) -> None:
    """Under 1 KiB whatever the number of layers, since they are not in it."""
    one.put(
        "packages",
        "vessel-0042:registry.fleet.example:5000/team/application/service:v1.23.4-amd64",
        {
            "agent_id": "vessel-0042",
            "registry": "registry.fleet.example:5000",
            "package": "team/application/service",
            "reference": "registry.fleet.example:5000/team/application/service:v1.23.4",
            "arch": "amd64",
            "version": "v1.23.4",
            "total_bytes": 146_000_000_000,
            "pull_status": "complete",
            "content": {
                "root": "sha256:" + "a" * 64,
                "manifest": "sha256:" + "b" * 64,
                "collection": "c" * 64,
                "blobs": 1042,
                "bytes": 146_000_000_000,
                "state": "complete",
            },
        },
    )
    batch = one.since(one.id, 0)
    assert batch is not None
    assert len(batch.records[0].body) + len(batch.records[0].signature) < 1024
