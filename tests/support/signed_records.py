"""Signers, records and databases of records for tests; time is what the test says."""

import hashlib
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from peat_sidecar.ids import EndpointId
from peat_sidecar.records import (
    Batch,
    Field,
    Head,
    Merged,
    Record,
    Records,
    SignedRecord,
    Signer,
    clock_at,
)
from peat_sidecar.records.record import seal

NOW = 1_790_000_000.0
"""Unix seconds at which most tests begin."""
DAY = 86_400.0
YEAR = 365 * DAY


class Time:
    """What a node takes for the time."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def signer(name: str) -> Signer:
    """Always the same for a name."""
    return Signer(hashlib.sha256(name.encode()).digest())


def node(path: Path, name: str, time: Time | None = None) -> Records:
    """The records of the node with that name, in `<name>.db`."""
    return Records.open(path / f"{name}.db", signer(name), now=time or Time())


def said(
    who: Signer,
    collection: str,
    doc_id: str,
    fields: Mapping[str, Any],
    *,
    at: float = NOW,
    count: int = 0,
    deleted: int | None = None,
) -> SignedRecord:
    """A record of that time; `count` tells apart those of one time. Of a delete the time is `deleted`, as a
    clock, and fields are later.
    """
    clock = clock_at(at) + count
    values = {name: Field(clock, value) for name, value in fields.items()}
    return seal(Record(who.id, collection, doc_id, clock, clock, values, deleted), who)


def batch(*records: SignedRecord, after: int = 0) -> Batch:
    """Of one signer, in order."""
    last = records[-1].record
    return Batch(last.signer, after, last.sequence, records)


def deliver(records: Records, brought: Iterable[SignedRecord], source: EndpointId | None = None) -> Merged:
    """As one call, a batch for each signer."""
    ordered = sorted(brought, key=lambda each: (each.record.signer, each.record.sequence))
    groups = groupby(ordered, key=lambda each: each.record.signer)
    return records.merge([batch(*group) for _, group in groups], source)


def everything(records: Records) -> list[SignedRecord]:
    """All current records."""
    found: list[SignedRecord] = []
    for who in records.heads():
        after = 0
        while (part := records.since(who, after)) is not None:
            found += part.records
            after = part.upto
    return found


def sync(one: Records, other: Records) -> None:
    """Both ways, by heads, until neither has anything new; then what only a digest shows."""
    for whole in (False, True):
        for to, source in ((one, other), (other, one)):
            for who, head in source.heads().items():
                known = to.heads().get(who, Head(0, bytes(16)))
                if whole and known.sequence == head.sequence and known.digest != head.digest:
                    after = 0
                else:
                    after = known.sequence
                while (part := source.since(who, after)) is not None:
                    to.merge([part], source.id)
                    after = part.upto


def view(records: Records) -> dict[tuple[str, str], dict[str, Any]]:
    """Every document."""
    return {
        (collection, document.doc_id): document.fields
        for collection in records.collections()
        for document in records.documents(collection)
    }
