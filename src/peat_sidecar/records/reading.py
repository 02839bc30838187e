"""Questions to the database: documents by name and by content, batches for peers, figures."""

from contextlib import closing

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId
from peat_sidecar.records.bounds import NUMBER_LIMIT
from peat_sidecar.records.database import Database
from peat_sidecar.records.record import SignedRecord
from peat_sidecar.records.rows import INDEXED, content_key, value_at
from peat_sidecar.records.signers import Signers
from peat_sidecar.records.values import Batch, Document, RecordsStatus
from peat_sidecar.records.writing import make_document

PAGE_LIMIT = 10_000
_COLUMNS = "collection, doc_id, json, clock, signers"


class Reader:
    """Thread-safe, by the database's lock."""

    def __init__(self, database: Database, signers: Signers) -> None:
        self._database = database
        self._signers = signers

    def get(self, collection: str, doc_id: str) -> Document | None:
        where = "collection = ? AND doc_id = ? AND json IS NOT NULL"
        found = self._documents(where, (collection, doc_id))
        return found[0] if found else None

    def text(self, collection: str, doc_id: str) -> str | None:
        """The document's JSON as it is stored."""
        rows = self._database.rows(
            "SELECT json FROM documents WHERE collection = ? AND doc_id = ?", (collection, doc_id)
        )
        return rows[0][0] if rows else None

    def list_ids(self, collection: str, after: str, limit: int) -> list[str]:
        rows = self._database.rows(
            """SELECT doc_id FROM documents WHERE collection = ? AND doc_id > ? AND json IS NOT NULL
            ORDER BY doc_id LIMIT ?""",
            (collection, after, _page(limit)),
        )
        return [doc_id for (doc_id,) in rows]

    def documents(self, collection: str, after: str, limit: int) -> list[Document]:
        where = "collection = ? AND doc_id > ? AND json IS NOT NULL ORDER BY doc_id LIMIT ?"
        return self._documents(where, (collection, after, _page(limit)))

    def collections(self) -> list[str]:
        """Each is looked up by itself, which costs their number and not that of the documents."""
        found: list[str] = []
        last = ""
        with self._database.lock:
            while len(found) < PAGE_LIMIT:
                rows = self._database.rows(
                    "SELECT collection FROM documents WHERE collection > ? ORDER BY collection LIMIT 1",
                    (last,),
                )
                if not rows:
                    break
                last = rows[0][0]
                if self.list_ids(last, "", 1):
                    found.append(last)
        return found

    def find(self, path: str, value: str) -> list[Document]:
        """In `packages`, by what the index has."""
        if path not in INDEXED:
            raise ConfigError(f"packages are not found by {path[:40]!r}, but by {', '.join(INDEXED)}")
        found = self._documents(
            "id IN (SELECT document FROM content WHERE key = ?) AND json IS NOT NULL ORDER BY doc_id LIMIT ?",
            (content_key(value), PAGE_LIMIT),
        )
        return [document for document in found if value_at(document.fields, path) == value]

    def since(self, signer: EndpointId, after: int, limit_bytes: int) -> Batch | None:
        """Records with one sequence, as faulty signers have them, stay together up to twice the limit."""
        records: list[SignedRecord] = []
        size, last = 0, 0
        with self._database.lock:
            row = self._signers.find(signer)
            if row is None or after >= row.head:
                return None
            after = max(after, 0)
            query = (
                "SELECT sequence, signature, body FROM records WHERE signer = ? AND sequence > ?"
                " ORDER BY sequence, document"
            )
            with closing(self._database.each(query, (row.id, min(after, NUMBER_LIMIT)))) as each:
                for sequence, signature, body in each:
                    size += len(body) + len(signature)
                    if records and size > (2 * limit_bytes if sequence == last else limit_bytes):
                        break
                    records.append(SignedRecord(body, signature))
                    last = sequence
        return Batch(signer, after, last, tuple(records)) if records else None

    def status(self) -> RecordsStatus:
        with self._database.lock:
            ((documents,),) = self._database.rows("SELECT documents FROM totals")
            ((ahead,),) = self._database.rows("SELECT count(*) FROM records WHERE state = 1")
            rows = list(self._signers)
        return RecordsStatus(
            documents,
            sum(row.records for row in rows),
            sum(row.records > 0 for row in rows),
            ahead,
            sum(row.size for row in rows),
        )

    def _documents(self, where: str, values: tuple[object, ...]) -> list[Document]:
        with self._database.lock:
            rows = self._database.rows(f"SELECT {_COLUMNS} FROM documents WHERE {where}", values)
            return [
                make_document(self._signers, collection, doc_id, text, clock, signers)
                for collection, doc_id, text, clock, signers in rows
            ]


def _page(limit: int) -> int:
    return max(1, min(limit, PAGE_LIMIT))
