"""The roster: who belongs to the formation, under which agent id and in which role.

It is one signed record of the collection `roster`, so it spreads as every record does. Its signer is an admin
whose key is kept offline. The document is named after the formation's app id, so that a roster of one
formation is none in another and cannot displace it there, even where one admin has several. It has one field
for each member, named by its endpoint id. Pure: no files, no clock, no network.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from peat_sidecar.errors import ConfigError, IntegrityError, PeatError
from peat_sidecar.ids import EndpointId
from peat_sidecar.records import SignedRecord, Signer, sign_record

COLLECTION = "roster"
TEXT_LIMIT_BYTES = 4 << 20
"""Of a roster as text: a record of 1 MiB, were each of its characters escaped."""
AGENT_ID_LIMIT = 128


class Role(StrEnum):
    """What a member's records count for; every member gets and gives content."""

    PUBLISHER = "publisher"
    """Its documents decide what others want."""
    CARRIER = "carrier"
    """Takes content along for others; its documents only say what it holds."""
    CONSUMER = "consumer"
    """Takes content for itself; its documents only say what it holds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the roster says about one member."""

    agent_id: str
    """What its documents begin with."""
    role: Role


@dataclass(frozen=True, slots=True)
class Roster:
    """A roster whose signature was verified."""

    admin: EndpointId
    """Who signed it."""
    app_id: str
    """The formation that it is for."""
    sequence: int
    """Of two rosters the one with the higher sequence counts."""
    entries: Mapping[EndpointId, Entry]
    signed: SignedRecord
    """As it travels."""

    @classmethod
    def parse(cls, signed: SignedRecord, admin: EndpointId) -> Self:
        """`IntegrityError` when it is not signed by that admin, or is altered; `ConfigError` when what was
        signed is no roster, or lists an id or an agent id twice.
        """
        try:
            record = signed.verify()
        except IntegrityError as error:
            raise IntegrityError(
                f"the roster is damaged, or its signature is wrong ({error}); copy it again, or sign it again"
            ) from None
        if record.signer != admin:
            raise IntegrityError(
                f"the roster is signed by {record.signer}, not by the admin {admin};"
                " take a roster of that admin, or mend roster_admin"
            )
        if record.collection != COLLECTION or record.deleted is not None:
            raise ConfigError("what the admin signed is no roster; make one with `peat-sidecar roster sign`")
        members = (_parse_member(name, field.value) for name, field in record.fields.items())
        return cls(admin, record.doc_id, record.sequence, checked_entries(members, admin), signed)

    @property
    def signed_at(self) -> float:
        """About when it was signed, by the admin's clock; Unix seconds."""
        return (self.sequence >> 16) / 1000

    def is_newer_than(self, other: "Roster") -> bool:
        """Two with one sequence, which an admin makes by mistake only, are told apart alike everywhere."""
        return (self.sequence, self.signed.body) > (other.sequence, other.signed.body)


def sign_roster(
    signer: Signer, app_id: str, members: Iterable[tuple[EndpointId, Entry]], *, sequence: int, clock: int
) -> Roster:
    """A roster of those members. `ConfigError` where one is named twice, or there are too many."""
    entries = checked_entries(members, signer.id)
    fields = {
        str(id): {"agent_id": entry.agent_id, "role": entry.role.value} for id, entry in entries.items()
    }
    try:
        signed = sign_record(signer, COLLECTION, app_id, fields, sequence=sequence, clock=clock)
    except ConfigError as error:
        raise ConfigError(f"a roster with {len(entries)} members cannot be signed: {error}") from None
    return Roster.parse(signed, signer.id)


def checked_entries(
    members: Iterable[tuple[EndpointId, Entry]], admin: EndpointId
) -> dict[EndpointId, Entry]:
    """In order of their agent ids. `ConfigError` where one is named twice, or is the admin."""
    entries: dict[EndpointId, Entry] = {}
    owners: dict[str, EndpointId] = {}
    for id, entry in members:
        if id == admin:
            raise ConfigError(
                f"{id} is the roster's admin, whose key is kept offline; list the id of a node instead"
            )
        if id in entries:
            raise ConfigError(f"{id} is in the roster twice; remove it, then add it once")
        if entry.agent_id in owners:
            raise ConfigError(
                f"agent id {entry.agent_id!r} is given to {owners[entry.agent_id]} and to {id};"
                " each member has its own: remove one of them"
            )
        entries[id] = entry
        owners[entry.agent_id] = id
    return dict(sorted(entries.items(), key=lambda item: item[1].agent_id))


def parse_entry(agent_id: object, role: object) -> Entry:
    """`ConfigError` for what is no agent id, or no role."""
    if (
        not isinstance(agent_id, str)
        or not 0 < len(agent_id) <= AGENT_ID_LIMIT
        or ":" in agent_id
        or not agent_id.isprintable()
        or agent_id != agent_id.strip()
    ):
        raise ConfigError(
            f"{_shown(agent_id)} is no agent id; one has 1 to {AGENT_ID_LIMIT} printable characters,"
            " no colon, and no blank at its ends"
        )
    if not isinstance(role, str) or role not in list(Role):
        raise ConfigError(f"{_shown(role)} is no role; there are {', '.join(Role)}")
    return Entry(agent_id, Role(role))


def encode_signed(signed: SignedRecord) -> str:
    """One JSON text, as files and the API have it."""
    document = {"body": signed.body.decode(), "signature": base64.b64encode(signed.signature).decode()}
    return json.dumps(document, ensure_ascii=False) + "\n"


def parse_signed(text: str | bytes) -> SignedRecord:
    """From that text; nothing is verified yet. `ConfigError` for what is no signed roster."""
    document = parse_object(text, "signed roster")
    body, signature = document.get("body"), document.get("signature")
    if set(document) != {"body", "signature"} or not isinstance(body, str) or not isinstance(signature, str):
        raise ConfigError(
            "that is no signed roster, which has a body and a signature; `peat-sidecar roster sign` makes one"
        )
    try:
        return SignedRecord(body.encode(), base64.b64decode(signature, validate=True))
    except (UnicodeEncodeError, binascii.Error, PeatError):
        raise ConfigError("the signed roster is damaged; copy it again, or sign it again") from None


def parse_object(text: str | bytes, what: str) -> dict[str, Any]:
    """A JSON object; `ConfigError` for anything else."""
    if len(text) > TEXT_LIMIT_BYTES:
        raise ConfigError(f"that is no {what}: it has more than {TEXT_LIMIT_BYTES} bytes; name another file")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"that is no {what}: it is no JSON ({error}); name another file") from None
    if not isinstance(document, dict):
        raise ConfigError(f"that is no {what}: it is no JSON object; name another file")
    return document


def _parse_member(name: str, value: object) -> tuple[EndpointId, Entry]:
    """One field of the record; the id has one spelling only, or it could be there twice."""
    try:
        id = EndpointId.parse(name)
    except ConfigError:
        id = None
    if id is None or str(id) != name or not isinstance(value, dict) or set(value) != {"agent_id", "role"}:
        raise ConfigError(
            f"the roster has a part that this version does not know: {_shown(name)};"
            " sign it with the version that the nodes run"
        )
    return id, parse_entry(value["agent_id"], value["role"])


def _shown(value: object) -> str:
    return repr(value)[:80]
