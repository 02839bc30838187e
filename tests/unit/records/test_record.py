"""A record to bytes and back: one body for one record, and an IntegrityError for all other bytes."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785
from tests.support.signed_records import NOW, said, signer

from peat_sidecar.errors import ConfigError, IntegrityError
from peat_sidecar.records import (
    BODY_LIMIT_BYTES,
    CLEARED,
    Field,
    Record,
    SignedRecord,
    clock_at,
    parse_record,
    sign_record,
)
from peat_sidecar.records.record import encode_record, seal

ONE = signer("one")
CLOCK = clock_at(NOW)
RECORD = Record(
    ONE.id,
    "notes",
    "a/ü",
    CLOCK + 9,
    CLOCK + 5,
    {
        "text": Field(CLOCK + 5, "é\U0001f6a2"),
        "list": Field(CLOCK + 2, [1, 2.5, -0.25, None, True, {"x": {}}]),
        "more": Field(CLOCK + 2, "same clock"),
        "gone": Field(CLOCK + 3, CLEARED),
        "also": Field(CLOCK + 3, CLEARED),
    },
    CLOCK + 1,
)


def altered(change: Callable[[dict[str, Any]], None]) -> bytes:
    """The body of the record after a change, in canonical form."""
    content = json.loads(encode_record(RECORD))
    change(content)
    return rfc8785.dumps(content)


def test_there_and_back() -> None:
    body = encode_record(RECORD)
    assert parse_record(body) == RECORD
    assert encode_record(parse_record(body)) == body == rfc8785.dumps(json.loads(body))


def test_parts_that_are_empty_are_left_out() -> None:
    record = Record(ONE.id, "notes", "a", CLOCK, CLOCK)
    assert set(json.loads(encode_record(record))) == {"signer", "collection", "doc_id", "sequence", "clock"}
    assert parse_record(encode_record(record)) == record


def test_fields_of_one_time_share_a_clock() -> None:
    signed = said(ONE, "packages", "x:y", {f"field{number}": number for number in range(10)})
    assert signed.body.count(f"{CLOCK:016x}".encode()) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("clock"),
        lambda content: content.update(more=1),
        lambda content: content.update(signer="AB" * 32),
        lambda content: content.update(signer="ab" * 31),
        lambda content: content.update(signer=7),
        lambda content: content.update(collection=""),
        lambda content: content.update(collection="x" * 129),
        lambda content: content.update(doc_id="line\nbreak"),
        lambda content: content.update(doc_id="x" * 1025),
        lambda content: content.update(doc_id=["x"]),
        lambda content: content.update(clock=5),
        lambda content: content.update(clock="8" + "0" * 15),
        lambda content: content.update(clock="7" + "F" * 15),
        lambda content: content.update(clock="0x7" + "0" * 13),
        lambda content: content.update(clock=f"{CLOCK:016x}\n"),
        lambda content: content.update(sequence=f"{CLOCK:x}"),
        lambda content: content.update(clock=f"{CLOCK:016x}"),
        lambda content: content.update(deleted=f"{CLOCK + 9:016x}"),
        lambda content: content.update(deleted=f"{CLOCK + 3:016x}"),
        lambda content: content.update(deleted=None),
        lambda content: content.update(fields={}),
        lambda content: content.update(fields=[]),
        lambda content: content.update(fields=None),
        lambda content: content["fields"].update({f"{CLOCK + 2:016x}": {}}),
        lambda content: content["fields"].update({f"{CLOCK + 2:016x}": ["x"]}),
        lambda content: content["fields"].update({f"{CLOCK + 6:016x}": {"late": 1}}),
        lambda content: content["fields"].update({f"{CLOCK + 4:016x}": {"text": 1}}),
        lambda content: content.update(cleared={}),
        lambda content: content["cleared"].update({f"{CLOCK + 3:016x}": []}),
        lambda content: content["cleared"].update({f"{CLOCK + 3:016x}": ["gone", "also"]}),
        lambda content: content["cleared"].update({f"{CLOCK + 3:016x}": ["also", "also"]}),
        lambda content: content["cleared"].update({f"{CLOCK + 3:016x}": ["also", 7]}),
        lambda content: content["cleared"].update({f"{CLOCK + 3:016x}": ["text"]}),
        lambda content: content["fields"][f"{CLOCK + 2:016x}"].update(big=2.0**53),
    ],
)
def test_other_parts(change: Callable[[dict[str, Any]], None]) -> None:
    try:
        body = altered(change)
    except rfc8785.CanonicalizationError:  # what cannot even be written
        body = json.dumps(json.loads(encode_record(RECORD)) | {"more": 1}).encode()
    assert parse_record(altered(lambda _: None)) == RECORD
    with pytest.raises(IntegrityError):
        parse_record(body)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"list"', b' "list"'),
        (b"2.5", b"2.50"),
        (b"2.5", b"25e-1"),
        (b"2.5", b"2.0"),
        (b"2.5", b"NaN"),
        (b"2.5", b"-Infinity"),
        (b"2.5", b"1e400"),
        (b"[1,", b"[-0,"),
        (b"[1,", b"[9007199254740992,"),
        (b"[1,", b"[-9007199254740992,"),
        (b"[1,", b"[18446744073709551616,"),
        (b"[1,", b"[" + b"9" * 5000 + b","),
        (b"[1,", b"[01,"),
        ("é".encode(), b"\\u00e9"),
        ("é".encode(), b"\\ud800"),
        ("é".encode(), b"\xe9"),
        (b'"more":', b'"more":1,"more":'),
        (b"\xf0", b"\xff"),
        (b"}", b"},"),
    ],
)
def test_other_spellings(before: bytes, after: bytes) -> None:
    body = encode_record(RECORD)
    assert before in body
    with pytest.raises(IntegrityError):
        parse_record(body.replace(before, after, 1))


def test_the_order_of_names_is_that_of_utf_16() -> None:
    """Where the quick way to prove a body would have another one."""
    fields = {"\uffee": Field(CLOCK, 1), "\U0001f6a2": Field(CLOCK, 2)}
    body = encode_record(Record(ONE.id, "notes", "a", CLOCK, CLOCK, fields))
    assert body.index("\U0001f6a2".encode()) < body.index("\uffee".encode())
    assert parse_record(body).fields == fields
    simple = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert simple.encode() != body
    with pytest.raises(IntegrityError, match="canonical"):
        parse_record(simple.encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"7", b"null", b'"x"', b"{", b"\xff", b"\x00", b" {}"])
def test_no_record(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_record(data)


def test_cut_at_every_length() -> None:
    body = encode_record(RECORD)
    for length in range(len(body)):
        with pytest.raises(IntegrityError):
            parse_record(body[:length])


def test_depth_and_size() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return value

    def body(value: Any) -> bytes:
        fields = {"x": Field(CLOCK, value), "many": Field(CLOCK, [[]] * 70)}
        return encode_record(Record(ONE.id, "notes", "a", CLOCK, CLOCK, fields))

    assert parse_record(body(nested(61)))
    with pytest.raises(IntegrityError, match="64 levels"):
        parse_record(body(nested(62)))
    room = BODY_LIMIT_BYTES - len(body(""))
    assert parse_record(body("x" * room))
    with pytest.raises(IntegrityError, match="limit"):
        parse_record(body("x" * (room + 1)))


def test_signatures() -> None:
    signed = said(ONE, "notes", "a", {"x": 1})
    assert signed.verify() == signed.record
    other = said(signer("other"), "notes", "a", {"x": 1})
    for wrong in (
        SignedRecord(signed.body, other.signature),
        SignedRecord(signed.body, bytes(64)),
        SignedRecord(signed.body, b""),
        SignedRecord(signed.body, signed.signature + b"\0"),
        SignedRecord(signed.body.replace(b'"x":1', b'"x":2'), signed.signature),
        SignedRecord(
            signed.body.replace(str(ONE.id).encode(), str(signer("other").id).encode()), signed.signature
        ),
    ):
        with pytest.raises(IntegrityError, match="not signed"):
            wrong.verify()


def test_a_signature_is_for_records_only() -> None:
    """Without the prefix the same bytes are signed by the same key to no avail."""
    signed = said(ONE, "notes", "a", {"x": 1})
    with pytest.raises(IntegrityError, match="not signed"):
        SignedRecord(signed.body, ONE._key.sign(signed.body)).verify()


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32, b"\x01" + bytes(31)])
def test_keys_that_are_none(key: bytes) -> None:
    body = said(ONE, "notes", "a", {}).body.replace(str(ONE.id).encode(), key.hex().encode())
    with pytest.raises(IntegrityError, match="not signed"):
        SignedRecord(body, b"\x07" * 64).verify()


def test_what_cannot_be_signed() -> None:
    with pytest.raises(ConfigError, match="limit"):
        seal(Record(ONE.id, "notes", "a", CLOCK, CLOCK, {"x": Field(CLOCK, "x" * BODY_LIMIT_BYTES)}), ONE)
    with pytest.raises(ConfigError, match="nan"):
        sign_record(ONE, "notes", "a", {"x": float("nan")}, sequence=CLOCK, clock=CLOCK)
    with pytest.raises(ConfigError, match="32 bytes"):
        type(ONE)(b"short")
