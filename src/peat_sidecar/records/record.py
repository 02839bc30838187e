"""Records, and bytes to records and back. Pure.

The body of a record is canonical JSON (RFC 8785); clocks and sequences are 16 hexadecimal digits:

    {"signer": <64 digits>, "collection": .., "doc_id": .., "sequence": .., "clock": ..,
     "fields": {<clock>: {<name>: <value>}}, "cleared": {<clock>: [<name>]}, "deleted": <clock>}

Fields are grouped by their clock, names that were cleared are sorted, parts that would be empty are left out,
and what the record's own delete hides is not in it. So there is one body for one record.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from peat_sidecar.errors import ConfigError, IntegrityError
from peat_sidecar.ids import EndpointId
from peat_sidecar.records.bounds import (
    BODY_LIMIT_BYTES,
    COLLECTION_LIMIT,
    DOC_ID_LIMIT,
    check_names,
    is_name,
    plain,
)
from peat_sidecar.records.canonical import encode_canonical, parse_canonical
from peat_sidecar.records.signing import Signer, is_signed

_REQUIRED = frozenset({"signer", "collection", "doc_id", "sequence", "clock"})
_PARTS = _REQUIRED | {"fields", "cleared", "deleted"}
_is_number = re.compile(r"[0-7][0-9a-f]{15}").fullmatch
_is_key = re.compile(r"[0-9a-f]{64}").fullmatch


class Cleared:
    """The type of `CLEARED`."""

    def __repr__(self) -> str:
        return "CLEARED"


CLEARED: Final = Cleared()
"""In the place of a value: the field was taken out."""


class Field(NamedTuple):
    """What a signer says of one field."""

    clock: int
    """When it was last changed."""
    value: Any
    """JSON, or CLEARED."""


class Record(NamedTuple):
    """What one signer currently says of one document."""

    signer: EndpointId
    collection: str
    doc_id: str
    sequence: int
    """Strictly rising over all records of the signer."""
    clock: int
    """When the signer last wrote the document: not before any of its fields or its delete."""
    fields: Mapping[str, Field] = MappingProxyType({})
    deleted: int | None = None
    """When the signer last deleted the document: hides every field up to that clock."""


@dataclass(frozen=True)
class SignedRecord:
    """A record as it travels and is stored."""

    body: bytes
    """Canonical JSON, at most BODY_LIMIT_BYTES."""
    signature: bytes
    """64 bytes."""

    @cached_property
    def record(self) -> Record:
        """Parsed, not verified. IntegrityError when it is malformed."""
        return parse_record(self.body)

    def verify(self) -> Record:
        """The record, once its signature is proven; IntegrityError otherwise."""
        if not is_signed(self.body, self.signature, self.record.signer):
            raise IntegrityError(f"the record was not signed by {self.record.signer.short}; drop it")
        return self.record


def sign_record(
    signer: Signer, collection: str, doc_id: str, fields: Mapping[str, Any], *, sequence: int, clock: int
) -> SignedRecord:
    """A record made outside of any database, all of whose fields have one clock. ConfigError for what a
    record cannot hold.
    """
    check_names(collection, doc_id)
    values = {name: Field(clock, value) for name, value in plain(fields).items()}
    return seal(Record(signer.id, collection, doc_id, sequence, clock, values), signer)


def seal(record: Record, signer: Signer) -> SignedRecord:
    """What `record.signer` says, signed by it. ConfigError when it is too large."""
    body = encode_record(record)
    if len(body) > BODY_LIMIT_BYTES:
        raise ConfigError(
            f"{record.collection}/{record.doc_id[:80]} would be a record of {len(body)} bytes;"
            f" {BODY_LIMIT_BYTES} are the limit: make it smaller, or several documents of it"
        )
    return SignedRecord(body, signer.sign(body))


def encode_record(record: Record) -> bytes:
    """The body."""
    fields: dict[str, dict[str, Any]] = {}
    cleared: dict[str, list[str]] = {}
    for name in sorted(record.fields):
        clock, value = record.fields[name]
        if value is CLEARED:
            cleared.setdefault(f"{clock:016x}", []).append(name)
        else:
            fields.setdefault(f"{clock:016x}", {})[name] = value
    body: dict[str, Any] = {
        "signer": str(record.signer),
        "collection": record.collection,
        "doc_id": record.doc_id,
        "sequence": f"{record.sequence:016x}",
        "clock": f"{record.clock:016x}",
    }
    if fields:
        body["fields"] = fields
    if cleared:
        body["cleared"] = cleared
    if record.deleted is not None:
        body["deleted"] = f"{record.deleted:016x}"
    return encode_canonical(body)


def parse_record(body: bytes) -> Record:
    """The record in these bytes. IntegrityError when they are not as this module's docstring says."""
    content = parse_canonical(body)
    if not isinstance(content, dict):
        raise IntegrityError("the record is no JSON object")
    if not _REQUIRED <= content.keys() <= _PARTS:
        wrong = sorted(_REQUIRED - content.keys()) or sorted(content.keys() - _PARTS)
        raise IntegrityError(f"the record lacks a part or has one too many: {wrong[0][:40]!r}")
    signer, collection, doc_id = content["signer"], content["collection"], content["doc_id"]
    if not isinstance(signer, str) or not _is_key(signer):
        raise IntegrityError("the record's signer is no endpoint id")
    if not is_name(collection, COLLECTION_LIMIT) or not is_name(doc_id, DOC_ID_LIMIT):
        raise IntegrityError("the record's collection or document id is no name of one")
    clock = _number(content["clock"])
    deleted = _number(content["deleted"]) if "deleted" in content else None
    fields: dict[str, Field] = {}
    first = 0 if deleted is None else deleted + 1
    for group, values in _groups(content, "fields", dict):
        at = _clock_within(group, first, clock)
        _add(fields, {name: Field(at, value) for name, value in values.items()})
    for group, names in _groups(content, "cleared", list):
        at = _clock_within(group, first, clock)
        _add(fields, {name: Field(at, CLEARED) for name in _sorted_texts(names)})
    if deleted is not None and deleted > clock:
        raise IntegrityError("the record's delete is later than its clock")
    return Record(
        _endpoint_id(signer),
        collection,
        doc_id,
        _number(content["sequence"]),
        clock,
        fields,
        deleted,
    )


@lru_cache(maxsize=1024)
def _endpoint_id(text: str) -> EndpointId:
    return EndpointId(bytes.fromhex(text))


def _add(fields: dict[str, Field], group: dict[str, Field]) -> None:
    if fields and not fields.keys().isdisjoint(group):
        raise IntegrityError("the record has a field twice")
    fields.update(group)


def _groups(content: dict[str, Any], part: str, kind: type) -> Any:
    """Clock and names of each group; nothing where the part is left out."""
    groups = content.get(part)
    if groups is None and part not in content:
        return ()
    if not isinstance(groups, dict) or not groups:
        raise IntegrityError(f"the record's {part!r} is empty or no object")
    for group in groups.values():
        if not isinstance(group, kind) or not group:
            raise IntegrityError(f"the record's {part!r} has an empty or wrong group")
    return groups.items()


def _clock_within(text: object, first: int, last: int) -> int:
    clock = _number(text)
    if not first <= clock <= last:
        raise IntegrityError("the record has a field that its delete hides or that is later than its clock")
    return clock


def _number(text: object) -> int:
    if not isinstance(text, str) or not _is_number(text):
        raise IntegrityError(
            "the record has a clock or sequence that is not 16 hexadecimal digits below 2^63"
        )
    return int(text, 16)


def _sorted_texts(names: list[Any]) -> list[str]:
    if not all(isinstance(name, str) for name in names):
        raise IntegrityError("the record's 'cleared' holds something else than names")
    if any(one >= other for one, other in itertools.pairwise(names)):
        raise IntegrityError("the record's cleared names are not sorted, each once")
    return names
