"""The state's face: a few tables, read and written as rows.

Each write is one transaction. A row that cannot be understood (a damaged file was carried over) is left out.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import BlobHash, Digest, EndpointId
from peat_sidecar.state.database import open_database, translated
from peat_sidecar.state.rows import Ban, ExportRow, Pin, RememberedPeer, ReplicaRow, WantRow

T = TypeVar("T")
_VERSION = 1
_SCHEMA = """
CREATE TABLE peers (
    id BLOB PRIMARY KEY, addresses TEXT NOT NULL, disconnected INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE bans (id BLOB PRIMARY KEY, reason TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE wants (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, class TEXT NOT NULL, origin TEXT NOT NULL,
    created_at REAL NOT NULL, arch TEXT NOT NULL, export_to TEXT NOT NULL, reference TEXT NOT NULL,
    done INTEGER NOT NULL, last_error TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE exports (
    id TEXT PRIMARY KEY, root TEXT NOT NULL, target TEXT NOT NULL, created_at REAL NOT NULL,
    done INTEGER NOT NULL, attempts INTEGER NOT NULL, last_error TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE replicas (
    collection BLOB PRIMARY KEY, root TEXT NOT NULL, reference TEXT NOT NULL, arch TEXT NOT NULL,
    agent_id TEXT NOT NULL, origin TEXT NOT NULL, unwanted_by TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_LATER_SCHEMA = """
CREATE TABLE IF NOT EXISTS pins (name TEXT PRIMARY KEY, created_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (root TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
"""
"""Tables that files of earlier programs lack."""
_ADDED = {
    "wants": {
        "approved": "INTEGER NOT NULL DEFAULT 0",
        "deadline": "REAL NOT NULL DEFAULT 0",
        "expired": "INTEGER NOT NULL DEFAULT 0",
    }
}
_COLUMNS = {
    "bans": "id, reason, at",
    "peers": "id, addresses, disconnected",
    "wants": "id, name, class, origin, created_at, arch, export_to, reference, done, last_error, approved,"
    " deadline, expired",
    "exports": "id, root, target, created_at, done, attempts, last_error",
    "replicas": "collection, root, reference, arch, agent_id, origin, unwanted_by",
    "facts": "key, value",
    "pins": "name, created_at",
    "uses": "root, at",
}


class State:
    """Synchronous and thread-safe. Every call raises `StoreFull` when the disk is, and `StoreFailed` when
    it cannot go on; what was written before stays as it was.
    """

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Makes the file where it is missing. `ConfigError` when another process has it."""
        return cls(path, open_database(path, _SCHEMA, _VERSION, _COLUMNS, _ADDED, _LATER_SCHEMA))

    def close(self) -> None:
        """Closing again does nothing."""
        with self._lock, suppress(sqlite3.Error):
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # peers

    def peers(self) -> list[RememberedPeer]:
        """In the order of their ids."""
        return self._all("peers", _peer)

    def remember_peer(self, id: EndpointId, addresses: Iterable[str], *, disconnected: bool = False) -> None:
        """Replaces what was known of it."""
        self._put("peers", (id.value, "\n".join(addresses), disconnected))

    def forget_peer(self, id: EndpointId) -> bool:
        """Whether it was known."""
        return self._remove("peers", "id", id.value)

    # bans

    def bans(self) -> list[Ban]:
        """In the order of the ids."""
        return self._all("bans", lambda row: Ban(EndpointId(row[0]), row[1], row[2]))

    def ban(self, id: EndpointId, reason: str, at: float) -> None:
        """Replaces an earlier one."""
        self._put("bans", (id.value, reason, at))

    def unban(self, id: EndpointId) -> bool:
        """Whether it was banned."""
        return self._remove("bans", "id", id.value)

    # wants

    def wants(self) -> list[WantRow]:
        """The oldest first."""
        return sorted(self._all("wants", _want), key=lambda row: (row.created_at, row.id))

    def put_want(self, row: WantRow) -> None:
        """Adds it, or replaces the one of that id."""
        self._put(
            "wants",
            (
                row.id,
                row.name,
                row.transfer_class.value,
                row.origin,
                row.created_at,
                row.arch,
                row.export_to,
                row.reference,
                row.done,
                row.last_error,
                row.approved,
                row.deadline,
                row.expired,
            ),
        )

    def remove_want(self, id: str) -> bool:
        """Whether there was one."""
        return self._remove("wants", "id", id)

    # exports

    def exports(self) -> list[ExportRow]:
        """The oldest first."""
        return sorted(self._all("exports", _export), key=lambda row: (row.created_at, row.id))

    def put_export(self, row: ExportRow) -> None:
        """Adds it, or replaces the one of that id."""
        self._put(
            "exports",
            (row.id, str(row.root), row.target, row.created_at, row.done, row.attempts, row.last_error),
        )

    def remove_export(self, id: str) -> bool:
        """Whether there was one."""
        return self._remove("exports", "id", id)

    # replicas

    def replicas(self) -> list[ReplicaRow]:
        """In the order of their collections."""
        return self._all("replicas", _replica)

    def replica(self, collection: BlobHash) -> ReplicaRow | None:
        """None for none that is known."""
        return next(iter(self._all("replicas", _replica, "collection = ?", collection.value)), None)

    def put_replica(self, row: ReplicaRow) -> None:
        """Adds it, or replaces the one of that collection."""
        self._put(
            "replicas",
            (
                row.collection.value,
                str(row.root),
                row.reference,
                row.arch,
                row.agent_id,
                row.origin,
                row.unwanted_by,
            ),
        )

    def remove_replica(self, collection: BlobHash) -> bool:
        """Whether there was one."""
        return self._remove("replicas", "collection", collection.value)

    # pins

    def pins(self) -> list[Pin]:
        """In the order of their names."""
        return self._all("pins", lambda row: Pin(row[0], float(row[1])))

    def put_pin(self, pin: Pin) -> None:
        """Adds it, or replaces the one of that name."""
        self._put("pins", (pin.name, pin.created_at))

    def remove_pin(self, name: str) -> bool:
        """Whether there was one."""
        return self._remove("pins", "name", name)

    # last uses of packages

    def uses(self) -> dict[Digest, float]:
        """Unix seconds, by the roots of packages."""
        return dict(self._all("uses", lambda row: (Digest.parse(row[0]), float(row[1]))))

    def put_uses(self, fresh: Mapping[Digest, float], gone: Iterable[Digest]) -> None:
        """Adds or replaces some and forgets others, in one transaction."""
        with self._lock, translated(self._path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                rows = [(str(root), at) for root, at in fresh.items()]
                self._database.executemany("INSERT OR REPLACE INTO uses (root, at) VALUES (?, ?)", rows)
                self._database.executemany("DELETE FROM uses WHERE root = ?", [(str(each),) for each in gone])
                self._database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled back already
                    self._database.execute("ROLLBACK")
                raise

    # facts

    def get(self, key: str) -> str | None:
        """A small fact."""
        with self._lock, translated(self._path):
            row = self._database.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def set(self, key: str, value: str | None) -> None:
        """None forgets it."""
        if value is None:
            self._remove("facts", "key", key)
        else:
            self._put("facts", (key, value))

    # SQLite

    def _all(
        self, table: str, read: Callable[[tuple[Any, ...]], T], where: str = "1", *values: Any
    ) -> list[T]:
        query = f"SELECT {_COLUMNS[table]} FROM {table} WHERE {where} ORDER BY 1"
        with self._lock, translated(self._path):
            rows = self._database.execute(query, values).fetchall()
        found = []
        for row in rows:
            with suppress(ConfigError, ValueError, TypeError, AttributeError):
                found.append(read(row))
        return found

    def _put(self, table: str, values: tuple[Any, ...]) -> None:
        marks = ",".join("?" * len(values))
        with self._lock, translated(self._path):
            self._database.execute(
                f"INSERT OR REPLACE INTO {table} ({_COLUMNS[table]}) VALUES ({marks})", values
            )

    def _remove(self, table: str, column: str, value: Any) -> bool:
        with self._lock, translated(self._path):
            return self._database.execute(f"DELETE FROM {table} WHERE {column} = ?", (value,)).rowcount > 0


def _peer(row: tuple[Any, ...]) -> RememberedPeer:
    return RememberedPeer(EndpointId(row[0]), tuple(row[1].split("\n")) if row[1] else (), bool(row[2]))


def _want(row: tuple[Any, ...]) -> WantRow:
    id, name, transfer_class, origin, created_at, arch, export_to, reference, done, error = row[:10]
    approved, deadline, expired = row[10:]
    return WantRow(
        id,
        name,
        TransferClass(transfer_class),
        _origin(origin),
        float(created_at),
        arch,
        export_to,
        reference,
        bool(done),
        error,
        bool(approved),
        deadline=float(deadline),
        expired=bool(expired),
    )


def _export(row: tuple[Any, ...]) -> ExportRow:
    id, root, target, created_at, done, attempts, error = row
    return ExportRow(id, Digest.parse(root), target, float(created_at), bool(done), int(attempts), error)


def _replica(row: tuple[Any, ...]) -> ReplicaRow:
    collection, root, reference, arch, agent_id, origin, unwanted_by = row
    return ReplicaRow(
        BlobHash(collection), Digest.parse(root), reference, arch, agent_id, _origin(origin), unwanted_by
    )


def _origin(text: str) -> Any:
    if text not in ("user", "policy", "client"):
        raise ValueError(text)
    return text
