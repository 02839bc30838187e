"""One transaction's work on documents: records are placed, then every document they touch is merged anew.

What is read is read once; what is written is written together at the end, which is what makes a newcomer's
first sync as fast as its signatures can be verified.
"""

from collections.abc import Iterator
from typing import Any

from peat_sidecar.errors import IntegrityError
from peat_sidecar.records.bounds import MERGED_LIMIT_BYTES
from peat_sidecar.records.canonical import parse_rendered, render
from peat_sidecar.records.database import Database
from peat_sidecar.records.merging import merge_records, values_of
from peat_sidecar.records.policy import Policy
from peat_sidecar.records.record import Record, SignedRecord, parse_record
from peat_sidecar.records.rows import STATES, DocumentRow, RecordRow, State, Todo, keys_of, keys_of_text
from peat_sidecar.records.signers import SignerRow, Signers
from peat_sidecar.records.values import Change, Document

_INSERT_RECORD = """INSERT INTO records
    (document, signer, sequence, clock, deleted, state, size, signature, body) VALUES (?,?,?,?,?,?,?,?,?)
    ON CONFLICT (document, signer) DO UPDATE SET sequence = excluded.sequence, clock = excluded.clock,
    deleted = excluded.deleted, state = excluded.state, size = excluded.size,
    signature = excluded.signature, body = excluded.body"""
_LARGE_BYTES = 16 << 20


class Writing:
    """Used within one transaction, under the database's lock; `finish` is its last call."""

    def __init__(self, database: Database, signers: Signers, policy: Policy) -> None:
        self._database = database
        self._signers = signers
        self._policy = policy
        self._touched: dict[tuple[str, str], DocumentRow] = {}
        self._placed: dict[tuple[int, int], tuple[RecordRow, SignedRecord]] = {}
        self._next_id = 0
        self._bytes = 0

    @property
    def is_large(self) -> bool:
        """Whether it is time to finish, and go on with another one: what it has to merge lies in memory."""
        return self._bytes > _LARGE_BYTES

    def find(self, collection: str, doc_id: str) -> DocumentRow:
        """The document with its records' rows; a new one when it is not known. It will be merged anew."""
        known = self._touched.get((collection, doc_id))
        if known is not None:
            return known
        rows = self._database.fetch(
            "SELECT id, json, clock, signers FROM documents WHERE collection = ? AND doc_id = ?",
            (collection, doc_id),
        )
        if rows:
            identity, text, clock, signers = rows[0]
            document = DocumentRow(identity, collection, doc_id, text, clock, signers)
            document.records = self._record_rows(identity)
            self._bytes += min(MERGED_LIMIT_BYTES, sum(row.size for row in document.records.values()))
        else:
            document = DocumentRow(self._new_id(), collection, doc_id, is_new=True)
        self._touched[collection, doc_id] = document
        return document

    def find_by_id(self, identity: int) -> DocumentRow | None:
        """As `find`."""
        rows = self._database.fetch("SELECT collection, doc_id FROM documents WHERE id = ?", (identity,))
        return self.find(*rows[0]) if rows else None

    def record(self, document: DocumentRow, signer: SignerRow) -> Record | None:
        """What the signer says of the document."""
        row = document.records.get(signer.id)
        if row is None:
            return None
        if row.record is None:
            row.record = self._parse(self.signed(document, signer).body)
        return row.record

    def signed(self, document: DocumentRow, signer: SignerRow) -> SignedRecord:
        """The bytes of it, which there must be."""
        placed = self._placed.get((document.id, signer.id))
        if placed is not None:
            return placed[1]
        ((body, signature),) = self._database.fetch(
            "SELECT body, signature FROM records WHERE document = ? AND signer = ?", (document.id, signer.id)
        )
        return SignedRecord(body, signature)

    def place(
        self, document: DocumentRow, signer: SignerRow, record: Record, signed: SignedRecord, state: State
    ) -> None:
        """Takes the place of the signer's record of the document."""
        if signer.id in document.records:
            signer.lose(self.signed(document, signer).body)
        signer.gain(signed.body)
        signer.head = max(signer.head, record.sequence)
        if state is State.COUNTS:
            signer.clock = max(signer.clock, record.clock)
        self._bytes += len(signed.body)
        row = RecordRow(record.sequence, record.clock, record.deleted, state, len(signed.body), record)
        document.records[signer.id] = row
        self._placed[document.id, signer.id] = row, signed

    def drop(self, document: DocumentRow, signer: SignerRow) -> None:
        """The signer's record of the document is no more."""
        signer.lose(self.signed(document, signer).body)
        del document.records[signer.id]
        self._placed.pop((document.id, signer.id), None)
        self._database.execute(
            "DELETE FROM records WHERE document = ? AND signer = ?", (document.id, signer.id)
        )

    def change_state(self, document: DocumentRow, signer: SignerRow, state: State) -> None:
        """Another part of the signer's record counts from now on."""
        row = document.records[signer.id]
        row.state = state
        if state is State.COUNTS:
            signer.clock = max(signer.clock, row.clock)
        self._database.execute(
            "UPDATE records SET state = ? WHERE document = ? AND signer = ?", (state, document.id, signer.id)
        )

    def counting(self, document: DocumentRow, state: State = State.COUNTS) -> Iterator[SignerRow]:
        """Whose records of the document count."""
        owner = self._policy.owner(document.collection, document.doc_id)
        for identity, row in document.records.items():
            signer = self._signers.by_id(identity)
            if row.state == state and self._policy.counts(signer, document.collection, owner):
                yield signer

    def _alive(self, document: DocumentRow) -> tuple[list[SignerRow], int]:
        """Who has written the document after its latest delete, and that delete."""
        rows = document.records
        collection = document.collection
        owner = self._policy.owner(collection, document.doc_id)
        deleted = 0
        counting = []
        for identity, row in rows.items():
            signer = self._signers.by_id(identity)
            if row.state is State.AHEAD or not self._policy.counts(signer, collection, owner):
                continue
            if row.deleted is not None and row.deleted > deleted:
                deleted = row.deleted
            if row.state is State.COUNTS:
                counting.append(signer)
        alive = [signer for signer in counting if rows[signer.id].clock > deleted]
        return self._within_limit(document, alive) if len(alive) > 1 else alive, deleted

    def finish(self, *, want_changes: bool) -> list[Change]:
        """Merges and writes everything. The changes of documents, when somebody wants to hear of them."""
        todo = Todo()
        changes: list[Change] = []
        for document in self._touched.values():
            before = document.json, document.signers
            self._settle(document, todo)
            for row in document.records.values():
                row.record = None  # of many large documents only their texts are kept
            if want_changes and before != (document.json, document.signers):
                changes.append(Change(document.collection, document.doc_id, self.document(document)))
        todo.write(self._database)
        self._write_records()
        self._signers.flush()
        return changes

    def document(self, row: DocumentRow) -> Document | None:
        """As callers see it."""
        if row.json is None:
            return None
        return make_document(self._signers, row.collection, row.doc_id, row.json, row.clock, row.signers)

    def _write_records(self) -> None:
        self._database.execute_many(
            _INSERT_RECORD,
            [
                (
                    document,
                    signer,
                    row.sequence,
                    row.clock,
                    row.deleted,
                    int(row.state),
                    row.size,
                    signed.signature,
                    signed.body,
                )
                for (document, signer), (row, signed) in self._placed.items()
            ],
        )

    def _settle(self, document: DocumentRow, todo: Todo) -> None:
        """Merges one document, and notes what is to be written of it."""
        before = document.json, document.signers, document.clock
        values = self._merge(document)
        document.json = render(values) if values is not None else None
        todo.change(document, before)
        if document.collection == "packages" and before[0] != document.json:
            todo.change_keys(document.id, keys_of_text(before[0]), keys_of(values or {}))

    def _merge(self, document: DocumentRow) -> dict[str, Any] | None:
        """What the document says; None: it is not there. Sets its clock and signers."""
        alive, deleted = self._alive(document)
        records = [record for signer in alive if (record := self.record(document, signer)) is not None]
        if not records:
            document.clock, document.signers = 0, ""
            return None
        if len(records) == 1:
            document.clock, document.signers = records[0].clock, str(alive[0].id)
            return values_of(records[0], deleted)
        merge = merge_records(records, deleted)
        rows = (self._signers.find(signer) for signer in merge.signers)
        document.clock = merge.clock
        document.signers = ",".join(str(row.id) for row in rows if row is not None)
        return merge.values

    def _within_limit(self, document: DocumentRow, alive: list[SignerRow]) -> list[SignerRow]:
        """The latest ones, as many as can be merged at a bearable cost; the same on every node."""
        rows = document.records
        alive.sort(key=lambda signer: (rows[signer.id].clock, signer.key), reverse=True)
        total = 0
        for count, signer in enumerate(alive):
            total += rows[signer.id].size
            if total > MERGED_LIMIT_BYTES:
                return alive[: max(1, count)]
        return alive

    def _record_rows(self, document: int) -> dict[int, RecordRow]:
        rows = self._database.fetch(
            "SELECT signer, sequence, clock, deleted, state, size FROM records WHERE document = ?",
            (document,),
        )
        return {
            signer: RecordRow(sequence, clock, deleted, STATES[state], size)
            for signer, sequence, clock, deleted, state, size in rows
        }

    def _new_id(self) -> int:
        if not self._next_id:
            ((last,),) = self._database.fetch("SELECT max(id) FROM documents")
            self._next_id = (last or 0) + 1
        self._next_id += 1
        return self._next_id - 1

    def _parse(self, body: bytes) -> Record:
        try:
            return parse_record(body)
        except IntegrityError as error:
            raise self._database.damaged(str(error)) from error


def make_document(
    signers: Signers, collection: str, doc_id: str, text: str, clock: int, writers: str
) -> Document:
    """From what the database has of it."""
    keys = tuple(signers.by_id(int(identity)).key for identity in writers.split(",") if identity)
    return Document(collection, doc_id, parse_rendered(text), clock, keys)
