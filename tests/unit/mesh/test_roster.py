"""Rosters: signed, read back, altered, and wrong in every way that a file or a peer can bring."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.errors import ConfigError, IntegrityError, NotFound, PeatError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh import (
    Draft,
    Entry,
    Role,
    Roster,
    encode_signed,
    init_draft,
    parse_entry,
    parse_signed,
    read_draft,
    read_roster,
    sign_draft,
    write_draft,
)
from peat_sidecar.mesh.roster import sign_roster
from peat_sidecar.mesh.roster_draft import load_key
from peat_sidecar.records import Signer, sign_record

ADMIN = Signer(bytes([99]) * 32)
STRANGER = Signer(bytes([98]) * 32)
ONE, TWO, THREE = (Signer(bytes([number]) * 32).id for number in (1, 2, 3))
SHIP, BARGE = Entry("ship", Role.PUBLISHER), Entry("barge", Role.CARRIER)
NOW = 1_790_000_000.0
CLOCK = int(NOW * 1000) << 16


def roster_of(*members: tuple[EndpointId, Entry], sequence: int = CLOCK, app_id: str = "fleet") -> Roster:
    return sign_roster(ADMIN, app_id, members, sequence=sequence, clock=CLOCK)


def signed_fields(fields: Mapping[str, Any], signer: Signer = ADMIN) -> Any:
    """Whatever a signer may say in place of a roster."""
    return sign_record(signer, "roster", "fleet", fields, sequence=CLOCK, clock=CLOCK)


def test_signed_and_read_back() -> None:
    roster = roster_of((ONE, SHIP), (TWO, BARGE))
    read = Roster.parse(parse_signed(encode_signed(roster.signed)), ADMIN.id)
    assert read == roster
    assert dict(read.entries) == {TWO: BARGE, ONE: SHIP}
    assert (read.app_id, read.admin, read.sequence) == ("fleet", ADMIN.id, CLOCK)
    assert abs(read.signed_at - NOW) < 0.001


def test_an_empty_roster() -> None:
    assert dict(roster_of().entries) == {}


def test_a_large_fleet_fits_and_a_larger_one_says_so() -> None:
    members = [
        (EndpointId(each.to_bytes(32)), Entry(f"agent-{each}", Role.CARRIER)) for each in range(10_000)
    ]
    assert len(roster_of(*members[:8000]).entries) == 8000
    with pytest.raises(ConfigError, match="10000 members"):
        roster_of(*members)


def test_the_newer_one_is_newer() -> None:
    old, new = roster_of((ONE, SHIP), sequence=5), roster_of((ONE, SHIP), sequence=6)
    assert new.is_newer_than(old)
    assert not old.is_newer_than(new)
    assert not old.is_newer_than(old)
    twin = roster_of((TWO, SHIP), sequence=5)
    assert twin.is_newer_than(old) != old.is_newer_than(twin)


@pytest.mark.parametrize(
    "members",
    [
        [(ONE, SHIP), (ONE, BARGE)],
        [(ONE, SHIP), (TWO, Entry("ship", Role.CONSUMER))],
        [(ADMIN.id, SHIP)],
    ],
    ids=["id twice", "agent id twice", "the admin itself"],
)
def test_what_is_never_signed(members: list[tuple[EndpointId, Entry]]) -> None:
    with pytest.raises(ConfigError):
        roster_of(*members)


@pytest.mark.parametrize(
    "fields",
    [
        {str(id): {"agent_id": "ship", "role": "publisher"} for id in (ONE, TWO)},
        {str(ADMIN.id): {"agent_id": "ship", "role": "publisher"}},
        {str(ONE).upper(): {"agent_id": "ship", "role": "publisher"}},
        {"nobody": {"agent_id": "ship", "role": "publisher"}},
        {str(ONE): {"agent_id": "ship", "role": "captain"}},
        {str(ONE): {"agent_id": "sh:ip", "role": "publisher"}},
        {str(ONE): {"agent_id": "", "role": "publisher"}},
        {str(ONE): {"agent_id": " ship", "role": "publisher"}},
        {str(ONE): {"agent_id": "ship\x1b[2J", "role": "publisher"}},
        {str(ONE): {"agent_id": "s" * 129, "role": "publisher"}},
        {str(ONE): {"agent_id": 7, "role": "publisher"}},
        {str(ONE): {"agent_id": "ship", "role": ["publisher"]}},
        {str(ONE): {"agent_id": "ship"}},
        {str(ONE): {"agent_id": "ship", "role": "publisher", "more": 1}},
        {str(ONE): "ship"},
        {str(ONE): None},
        {"app_id": "fleet"},
    ],
)
def test_what_is_refused_though_the_admin_signed_it(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Roster.parse(signed_fields(fields), ADMIN.id)


def test_another_signer_is_no_admin() -> None:
    signed = signed_fields({str(ONE): {"agent_id": "ship", "role": "publisher"}}, STRANGER)
    with pytest.raises(IntegrityError, match="not by the admin"):
        Roster.parse(signed, ADMIN.id)


def test_another_document_of_the_admin_is_no_roster() -> None:
    signed = sign_record(ADMIN, "notes", "fleet", {}, sequence=CLOCK, clock=CLOCK)
    with pytest.raises(ConfigError, match="no roster"):
        Roster.parse(signed, ADMIN.id)


@pytest.mark.parametrize("part", ["body", "signature"])
def test_one_changed_byte_anywhere_is_noticed(part: str) -> None:
    text = json.loads(encode_signed(roster_of((ONE, SHIP)).signed))
    raw = text["body"].encode() if part == "body" else base64.b64decode(text["signature"])
    for position in range(0, len(raw), 7):
        changed = bytearray(raw)
        changed[position] ^= 1
        altered = bytes(changed)
        document = text | {part: altered.decode() if part == "body" else base64.b64encode(altered).decode()}
        with pytest.raises(PeatError):
            Roster.parse(parse_signed(json.dumps(document)), ADMIN.id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        "{" * 100_000,
        "[" * 100_000,
        '{"body": "x"}',
        '{"body": 1, "signature": "AAAA"}',
        '{"body": "x", "signature": 1}',
        '{"body": "x", "signature": "no base64"}',
        '{"body": "x", "signature": "AAAA"}',
        '{"body": "\\ud800", "signature": "AAAA"}',
        '{"body": "x", "signature": "AAAA", "more": 1}',
        '{"body": "x", "signature": ' + "9" * 5000 + "}",
        b"\xff\xfe\x00",
        "x" * (5 << 20),
    ],
)
def test_what_is_no_signed_roster(text: str | bytes) -> None:
    with pytest.raises(PeatError):
        Roster.parse(parse_signed(text), ADMIN.id)


def test_a_signed_text_cut_anywhere() -> None:
    text = encode_signed(roster_of((ONE, SHIP)).signed).rstrip()
    for length in range(len(text)):
        with pytest.raises(PeatError):
            Roster.parse(parse_signed(text[:length]), ADMIN.id)


# ---- the list that is edited


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "admin.pem"


@pytest.fixture
def draft(tmp_path: Path, key: Path) -> Path:
    path = tmp_path / "fleet.json"
    init_draft(path, key, "fleet")
    return path


def test_the_list_and_back() -> None:
    draft = Draft("fleet", ADMIN.id, 7, ((ONE, SHIP), (TWO, BARGE)))
    assert Draft.parse(draft.text) == draft


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"members": None}, "needs app_id and members"),
        ({"app_id": ""}, "app id"),
        ({"app_id": 3}, "needs app_id"),
        ({"admin": "x"}, "endpoint id"),
        ({"sequence": -1}, "sequence"),
        ({"sequence": 1 << 64}, "sequence"),
        ({"sequence": "1"}, "sequence"),
        ({"sequence": True}, "sequence"),
        ({"more": 1}, "'more'"),
        ({"members": [{"id": str(ONE), "agent_id": "ship"}]}, "a member has"),
        ({"members": ["x"]}, "a member has"),
        ({"members": [{"id": "x", "agent_id": "ship", "role": "carrier"}]}, "endpoint id"),
        ({"members": [{"id": str(ONE), "agent_id": "ship", "role": "x"}]}, "publisher, carrier, consumer"),
        ({"members": [{"id": str(ONE), "agent_id": str(n), "role": "carrier"} for n in (1, 2)]}, "twice"),
        ({"members": [{"id": str(id), "agent_id": "x", "role": "carrier"} for id in (ONE, TWO)]}, "its own"),
    ],
)
def test_a_list_that_was_edited_wrongly(change: dict[str, Any], said: str) -> None:
    right = json.loads(Draft("fleet", ADMIN.id).text)
    with pytest.raises(ConfigError, match=said):
        Draft.parse(json.dumps(right | change))


def test_each_signing_is_newer_even_where_the_clock_went_back(draft: Path, key: Path) -> None:
    path, first = sign_draft(draft, key, NOW)
    _, second = sign_draft(draft, key, NOW)
    _, third = sign_draft(draft, key, NOW - 1e6)
    assert first.sequence == CLOCK
    assert [second.sequence, third.sequence] == [CLOCK + 1, CLOCK + 2]
    assert third.is_newer_than(second)
    assert read_roster(path) == third
    assert read_draft(draft).sequence == third.sequence


def test_another_key_does_not_sign(draft: Path, tmp_path: Path) -> None:
    init_draft(tmp_path / "other.json", tmp_path / "other.pem", "fleet")
    with pytest.raises(ConfigError, match="name the key"):
        sign_draft(draft, tmp_path / "other.pem", NOW)


def test_members_come_and_go(draft: Path) -> None:
    write_draft(draft, read_draft(draft).add(ONE, SHIP).add(TWO, BARGE))
    write_draft(draft, read_draft(draft).remove(ONE))
    assert read_draft(draft).members == ((TWO, BARGE),)
    with pytest.raises(NotFound):
        read_draft(draft).remove(ONE)
    with pytest.raises(ConfigError, match="twice"):
        read_draft(draft).add(TWO, SHIP)


@pytest.mark.parametrize(
    "text", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key(text: bytes, key: Path) -> None:
    key.write_bytes(text)
    key.chmod(0o600)
    with pytest.raises(ConfigError, match="no PEM key"):
        load_key(key)


def test_a_key_of_another_kind(key: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    for encryption, said in ((NoEncryption(), "no ed25519"), (BestAvailableEncryption(b"x"), "password")):
        other = generate_private_key(SECP256R1())
        key.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        key.chmod(0o600)
        with pytest.raises(ConfigError, match=said):
            load_key(key)


def test_a_key_that_others_can_read(draft: Path, key: Path) -> None:
    key.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_key(key)


def test_entries() -> None:
    assert parse_entry("ship", "publisher") == SHIP
