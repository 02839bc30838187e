"""The merge: from the records of one document to what it says, and from a wish to the next record. Pure.

- Per field the highest (clock, signer) wins; a cleared field that wins is not there.
- The latest delete hides every field up to its clock. A document is there when somebody has written it later.
- So the result depends on the set of the records alone, whatever order they came in.
- Writing touches only the fields that differ. A record keeps what its signer said of the other fields, except
  for what a delete hides; so it never grows beyond the document.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from peat_sidecar.ids import EndpointId
from peat_sidecar.records.bounds import CLEARED_LIMIT
from peat_sidecar.records.canonical import render
from peat_sidecar.records.record import CLEARED, Field, Record


@dataclass(slots=True)
class Merge:
    """What the records of one document come to."""

    deleted: int = 0
    """The latest delete; 0: none."""
    winners: dict[str, tuple[Field, EndpointId]] = field(default_factory=dict)
    """Cleared fields included."""
    clock: int = 0
    """When it was last written, if that was after the delete; 0: the document is not there."""
    writers: tuple[EndpointId, ...] = ()
    """Who wrote it after the delete."""

    @property
    def exists(self) -> bool:
        return self.clock > 0

    @property
    def values(self) -> dict[str, Any]:
        """The document."""
        return {name: won.value for name, (won, _) in self.winners.items() if won.value is not CLEARED}

    @property
    def signers(self) -> tuple[EndpointId, ...]:
        """Whose values are seen; of a document without fields, who wrote it."""
        seen = {signer for won, signer in self.winners.values() if won.value is not CLEARED}
        return tuple(sorted(seen or self.writers))


def merge_records(records: Iterable[Record], deleted: int = 0) -> Merge:
    """`deleted`: the latest delete among records that are not given."""
    known = list(records)
    merge = Merge(max([deleted, *(record.deleted for record in known if record.deleted is not None)]))
    winners = merge.winners
    writers = []
    for record in known:
        if record.clock <= merge.deleted:
            continue
        merge.clock = max(merge.clock, record.clock)
        writers.append(record.signer)
        for name, each in record.fields.items():
            if each.clock <= merge.deleted:
                continue
            best = winners.get(name)
            if best is None or (each.clock, record.signer.value) > (best[0].clock, best[1].value):
                winners[name] = each, record.signer
    merge.writers = tuple(writers)
    return merge


def values_of(record: Record, deleted: int) -> dict[str, Any]:
    """The document, where only one record counts: what `merge_records` comes to, at a third of the cost."""
    return {
        name: each.value
        for name, each in record.fields.items()
        if each.clock > deleted and each.value is not CLEARED
    }


def write(
    own: Record | None, others: Collection[Record], merge: Merge, document: Mapping[str, Any], clock: int
) -> dict[str, Field] | None:
    """The fields of the signer's next record, so that the merge is the document. None: it is already.

    `own` and `others` are the records that count and `merge` is what they come to; `clock` is later than all
    of theirs.
    """
    values = merge.values
    fields = {name: each for name, each in (own.fields if own else {}).items() if each.clock > merge.deleted}
    changed = not merge.exists
    for name, value in document.items():
        if name not in values or not same(values[name], value):
            fields[name] = Field(clock, value)
            changed = True
    for name in values.keys() - document.keys():
        fields[name] = Field(clock, CLEARED)
        changed = True
    elsewhere = {name for record in others for name in record.fields}
    return _without_needless(fields, elsewhere) if changed else None


def write_alone(
    own: Record | None, merge: Merge, document: Mapping[str, Any], clock: int
) -> dict[str, Field] | None:
    """As `write`, where nobody else's records ever count: what is not in the document need not be said."""
    fields = write(own, (), merge, document, clock)
    return None if fields is None else {name: each for name, each in fields.items() if name in document}


def restamp(record: Record, horizon: int, first: int, second: int) -> Record:
    """The record with clocks beyond the horizon moved to now: the delete to `first`, the rest to `second`,
    which is later.
    """
    deleted = record.deleted
    if deleted is not None and deleted > horizon:
        deleted = first
    fields = {
        name: each if each.clock <= horizon else Field(second, each.value)
        for name, each in record.fields.items()
    }
    clock = first if record.clock == record.deleted else second  # a deleted document stays deleted
    return record._replace(fields=fields, deleted=deleted, clock=clock)


def same(one: Any, other: Any) -> bool:
    """As JSON: 1 is not true."""
    return one == other and render(one) == render(other)


def _without_needless(fields: dict[str, Field], elsewhere: set[str]) -> dict[str, Field]:
    """Drops the oldest cleared names that nobody else is known to have: they hide nothing, and there would be
    no end of them in a document whose names change.
    """
    needless = sorted(
        (each.clock, name) for name, each in fields.items() if each.value is CLEARED and name not in elsewhere
    )
    for _, name in needless[: max(0, len(needless) - CLEARED_LIMIT)]:
        del fields[name]
    return fields
