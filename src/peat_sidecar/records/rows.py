"""Rows of documents and records as one transaction has them, and what is to be written of documents."""

import zlib
from dataclasses import dataclass, field
from enum import IntEnum

from peat_sidecar.records.canonical import parse_rendered
from peat_sidecar.records.database import Database
from peat_sidecar.records.record import Record

INDEXED = ("content.collection", "content.root", "content.manifest", "reference")
"""What documents of `packages` are found by; `keys_of` names the same."""


class State(IntEnum):
    """What of a stored record counts."""

    COUNTS = 0
    AHEAD = 1
    """Nothing yet: its clock is more than a day ahead."""
    TOMBSTONE = 2
    """Its delete only: its signer was not heard of for too long."""


STATES = tuple(State)


@dataclass(slots=True)
class RecordRow:
    """A stored record without its body."""

    sequence: int
    clock: int
    deleted: int | None
    state: State
    size: int
    record: Record | None = None
    """When it is at hand."""


@dataclass(slots=True)
class DocumentRow:
    """A document and whose records there are of it."""

    id: int
    collection: str
    doc_id: str
    json: str | None = None
    """None: deleted, or nothing of it counts."""
    clock: int = 0
    signers: str = ""
    """Ids of rows of signers, with commas."""
    is_new: bool = False
    records: dict[int, RecordRow] = field(default_factory=dict)
    """By the id of the signer's row."""


@dataclass(slots=True)
class Todo:
    """What is to be written of documents."""

    new: list[tuple[object, ...]] = field(default_factory=list)
    changed: list[tuple[object, ...]] = field(default_factory=list)
    gone: list[tuple[int]] = field(default_factory=list)
    added_keys: list[tuple[int, int]] = field(default_factory=list)
    removed_keys: list[tuple[int, int]] = field(default_factory=list)
    more_documents: int = 0

    def change(self, row: DocumentRow, before: tuple[str | None, str, int]) -> None:
        """What it says, its signers and its clock were those before."""
        if not row.records:
            self.gone.append((row.id,))
        elif row.is_new:
            self.new.append((row.id, row.collection, row.doc_id, row.clock, row.signers, row.json))
        elif before != (row.json, row.signers, row.clock):
            self.changed.append((row.clock, row.signers, row.json, row.id))
        if before[0] != row.json:
            self.more_documents += (row.json is not None) - (before[0] is not None)

    def change_keys(self, document: int, old: set[int], now: set[int]) -> None:
        self.removed_keys += [(key, document) for key in old - now]
        self.added_keys += [(key, document) for key in now - old]

    def write(self, database: Database) -> None:
        database.execute_many("INSERT INTO documents VALUES (?,?,?,?,?,?)", self.new)
        database.execute_many(
            "UPDATE documents SET clock = ?, signers = ?, json = ? WHERE id = ?", self.changed
        )
        database.execute_many("DELETE FROM documents WHERE id = ?", self.gone)
        database.execute_many("DELETE FROM content WHERE key = ? AND document = ?", self.removed_keys)
        # In order: each page of the index is touched once, which halves the cost of a newcomer's first sync.
        database.execute_many("INSERT OR IGNORE INTO content VALUES (?,?)", sorted(self.added_keys))
        if self.more_documents:
            database.execute("UPDATE totals SET documents = documents + ?", (self.more_documents,))


def content_key(value: str) -> int:
    """What a value is found by: 32 bits, which several values may share; whoever finds compares."""
    return zlib.crc32(value.encode(errors="replace"))


def value_at(fields: object, path: str) -> object:
    """What lies at a dotted path of names; None: nothing."""
    for name in path.split("."):
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields


def keys_of(fields: dict[str, object]) -> set[int]:
    """What a document of `packages` is found by."""
    content = fields.get("content")
    values = [fields.get("reference")]
    if isinstance(content, dict):
        values += [content.get("collection"), content.get("root"), content.get("manifest")]
    return {content_key(value) for value in values if isinstance(value, str)}


def keys_of_text(text: str | None) -> set[int]:
    """As `keys_of`, of the document in this text."""
    return keys_of(parse_rendered(text)) if text is not None else set()
