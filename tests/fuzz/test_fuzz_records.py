"""Nearly right bytes as records: a record with exactly these bytes, or an IntegrityError; and whatever they
are, a node that is given them goes on.

PEAT_FUZZ_ROUNDS=1000000 .venv/bin/pytest tests/fuzz goes on for longer, and PEAT_FUZZ_SEED elsewhere.
"""

import os
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from peat_sidecar.errors import IntegrityError
from peat_sidecar.records import (
    BODY_LIMIT_BYTES,
    Batch,
    FaultKind,
    Records,
    SignedRecord,
    parse_record,
)
from peat_sidecar.records.record import encode_record
from tests.fuzz.mutations import mutated, seeds
from tests.support.signed_records import Time, everything, said, signer, sync, view

ROUNDS = int(os.environ.get("PEAT_FUZZ_ROUNDS") or 4000)
SEED = int(os.environ.get("PEAT_FUZZ_SEED") or 1)
ONE = signer("one")


@pytest.fixture
def records() -> Iterator[Records]:
    opened = Records.open(Path(":memory:"), signer("reader"), now=Time())
    yield opened
    opened.close()


def parsed(body: bytes) -> bool:
    """Whether it is a record, which then has one body only."""
    try:
        record = parse_record(body)
    except IntegrityError:
        return False
    assert encode_record(record) == body
    return True


def test_bodies() -> None:
    good = sum(parsed(body) for body in mutated(seeds("records"), ROUNDS, seed=SEED))
    assert good > len(seeds("records"))


def test_numbers_and_texts_in_place_of_others() -> None:
    """Small changes that JSON bears, where canonical form, integers and clocks have their edges."""
    (body,) = (seed for seed in seeds("records") if b'"x":[9007199254740991' in seed)
    for text in (
        b"9007199254740992",
        b"-9007199254740992",
        b"9223372036854775808",
        b"18446744073709551616",
        b"1" + b"0" * 400,
        b"1" * 100_000,
        b"1.0",
        b"1e0",
        b"1E400",
        b"-0",
        b"-0.0",
        b"00",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"0x1",
        b"+1",
        b".5",
        b"true1",
        b"nul",
        b"'x'",
        b'"\\ud800"',
        b'"\\u0041"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b'"\xf5\x80\x80\x80"',
        b'"\n"',
        b'"\\x41"',
        b"{}{}",
        b"[1,]",
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b"/**/1",
        b" 1",
        b"\xef\xbb\xbf1",
        b"\x00",
    ):
        assert not parsed(body.replace(b"9007199254740991", text, 1)), text
    assert parsed(body.replace(b"9007199254740991", b"9007199254740990", 1))


@pytest.mark.parametrize("opening", [b"[", b'{"x":', b'[{"x":', b"[[],", b'{"":[],"x":'])
def test_depth_of_a_hundred_thousand(records: Records, opening: bytes) -> None:
    for levels in (62, 65, 500, 1000, 5000, 100_000):
        for closed in (b"", b"]" * levels):
            for body in (opening * levels + closed, _around(opening * levels + closed)):
                assert not parsed(body)
                signed = SignedRecord(body, ONE.sign(body))
                merged = records.merge([Batch(ONE.id, 0, 1, (signed,))])
                assert [fault.kind for fault in merged.faults] == [FaultKind.MALFORMED]


def test_what_an_error_says_is_short() -> None:
    for body in (b"x" * 100_000, _around(b"1" * 5000), b'{"%s":1}' % (b"k" * 100_000), b"[" * 100_000):
        with pytest.raises(IntegrityError) as caught:
            parse_record(body)
        assert len(str(caught.value)) < 300


def test_cut_at_every_length() -> None:
    for seed in seeds("records"):
        for length in range(len(seed)):
            assert not parsed(seed[:length])
            assert not parsed(seed[length:] if length else b"")


def test_too_long() -> None:
    """Refused by the length alone."""
    body = _around(b'"' + b"x" * (64 << 20) + b'"')
    tracemalloc.start()
    began = time.process_time()
    assert not parsed(body)
    assert time.process_time() - began < 1
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_what_fits_and_is_dear() -> None:
    """The largest bodies of the smallest parts: within some memory and time."""
    for part in (b"[]", b"0", b'{"":{}}'):
        body = _around(b"[" + b",".join([part] * ((BODY_LIMIT_BYTES - 400) // (len(part) + 1))) + b"]")
        assert len(body) <= BODY_LIMIT_BYTES
        tracemalloc.start()
        parse_record(body)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
        tracemalloc.stop()


def test_signed_rubbish_in_a_node(records: Records) -> None:
    """Signed as its author would: what is no record is refused, what is one is stored and passed on."""
    other = Records.open(Path(":memory:"), signer("other"), now=Time())
    good = said(ONE, "notes", "kept", {"x": 1})
    records.merge([Batch(ONE.id, 0, good.record.sequence, (good,))])
    stored = 0
    for body in mutated(seeds("records"), ROUNDS // 4, seed=SEED):
        signed = SignedRecord(body, ONE.sign(body))
        try:
            upto = signed.record.sequence
        except IntegrityError:
            upto = good.record.sequence
        stored += records.merge([Batch(ONE.id, 0, upto, (signed,))], ONE.id).new
    assert stored > 0
    assert view(records)["notes", "kept"] == {"x": 1}
    assert len(records.faults()) <= 256
    for each in everything(records):
        each.verify()
    sync(records, other)
    assert view(records) == view(other)
    assert records.digest() == other.digest()
    assert records.put("notes", "kept", {"x": 2})
    other.close()


def test_any_batch(records: Records) -> None:
    """Numbers, lengths and signatures that no honest peer sends."""
    good = said(ONE, "notes", "a", {})
    last = good.record.sequence
    for after in (-1, 0, 1, last, 2**63, 2**64, 2**200):
        for upto in (-1, 0, last, 2**63, 2**64, 2**200):
            for brought in ((), (good,), (good, good)):
                merged = records.merge([Batch(ONE.id, after, upto, brought)], ONE.id)
                assert merged.new <= 1
    for signature in (b"", bytes(63), bytes(64), bytes(65), good.signature[:-1], good.signature * 2):
        signed = SignedRecord(said(ONE, "notes", "b", {}, count=1).body, signature)
        assert records.merge([Batch(ONE.id, 0, last + 1, (signed,))]).new == 0
    assert view(records) == {("notes", "a"): {}}


def _around(value: bytes) -> bytes:
    """A record with a field of these bytes."""
    return said(ONE, "notes", "a", {"x": "VALUE"}).body.replace(b'"VALUE"', value)
