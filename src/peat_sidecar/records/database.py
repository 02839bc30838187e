"""The database file: its schema, its connection, its transactions.

SQLite in WAL mode with synchronous=FULL: a transaction that has returned is on the disk, and one that has not
is not there at all after a kill or a loss of power. One connection, one lock; other processes are locked out,
which keeps SQLite from needing shared memory (that fails badly on a full disk). Nothing is scanned at start.
"""

import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from peat_sidecar.errors import ConfigError, PeatError, StoreFailed
from peat_sidecar.records.failures import damaged, translated

_VERSION = 1
_APPLICATION_ID = 0x70656174
_CACHE_KIB = 24 << 10
_WAL_PAGES = 4000
"""16 MiB: a newcomer's first sync touches the same pages of the indices again and again."""
_SCHEMA = f"""
CREATE TABLE signers (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, head INTEGER NOT NULL, digest BLOB NOT NULL,
    records INTEGER NOT NULL, bytes INTEGER NOT NULL, clock INTEGER NOT NULL, heard REAL NOT NULL,
    banned INTEGER NOT NULL, forgotten INTEGER NOT NULL
);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, collection TEXT NOT NULL, doc_id TEXT NOT NULL, clock INTEGER NOT NULL,
    signers TEXT NOT NULL, json TEXT
);
CREATE UNIQUE INDEX documents_names ON documents(collection, doc_id);
CREATE TABLE records (
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL, signer INTEGER NOT NULL, sequence INTEGER NOT NULL,
    clock INTEGER NOT NULL, deleted INTEGER, state INTEGER NOT NULL, size INTEGER NOT NULL,
    signature BLOB NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX records_of_documents ON records(document, signer);
CREATE INDEX records_of_signers ON records(signer, sequence);
CREATE INDEX records_ahead ON records(clock) WHERE state = 1;
CREATE TABLE content (key INTEGER NOT NULL, document INTEGER NOT NULL, PRIMARY KEY (key, document))
    WITHOUT ROWID;
CREATE TABLE owners (agent_id TEXT PRIMARY KEY, key BLOB NOT NULL, claimed INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX owners_keys ON owners(key);
CREATE TABLE members (key BLOB PRIMARY KEY, agent_id TEXT, also INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE stale (document INTEGER PRIMARY KEY);
CREATE TABLE totals (documents INTEGER NOT NULL, has_roster INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
"""

Row = tuple[Any, ...]


class Database:
    """Thread-safe. StoreFull when the disk is, StoreFailed when SQLite cannot go on."""

    def __init__(self, path: Path) -> None:
        """ConfigError when the file is another version's or another program's."""
        self.path = path
        self.lock = threading.RLock()
        with translated(path):
            self._connection = _connect(path)

    def close(self) -> None:
        with self.lock, suppress(sqlite3.Error):
            self._connection.close()

    def rows(self, query: str, values: Iterable[Any] = ()) -> list[Row]:
        """All of them."""
        with self.lock, translated(self.path):
            return self._connection.execute(query, tuple(values)).fetchall()

    def each(self, query: str, values: Iterable[Any] = ()) -> Generator[Row, None, None]:
        """One after another, for large ones; the lock is held until the iterator ends."""
        with self.lock, translated(self.path):
            cursor = self._connection.execute(query, tuple(values))
            try:
                yield from cursor
            finally:
                cursor.close()

    def fetch(self, query: str, values: tuple[Any, ...] = ()) -> list[Row]:
        """As `rows`, within a transaction."""
        return self._connection.execute(query, values).fetchall()

    def execute(self, query: str, values: Iterable[Any] = ()) -> int:
        """Within a transaction; how many rows it changed."""
        return self._connection.execute(query, tuple(values)).rowcount

    def execute_many(self, query: str, values: Sequence[Row]) -> None:
        """Within a transaction."""
        if values:
            self._connection.executemany(query, values)

    def fold(self) -> None:
        """Moves what the log holds into the file, so that no commit has to; nothing to do where it is empty.
        Where that fails the log keeps all of it. Outside of transactions.
        """
        with suppress(PeatError):
            self.rows("PRAGMA wal_checkpoint(PASSIVE)")

    def damaged(self, what: str) -> StoreFailed:
        """The error for content that this program cannot have written."""
        return damaged(self.path, what)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Durable when it ends; undone when it raises."""
        with self.lock, translated(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled back already
                    self._connection.execute("ROLLBACK")
                raise


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(
        path, timeout=1, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        for setting in (
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            "synchronous = FULL",
            f"cache_size = -{_CACHE_KIB}",
            f"wal_autocheckpoint = {_WAL_PAGES}",
            f"journal_size_limit = {_WAL_PAGES * 4096}",
            "cell_size_check = ON",
        ):
            database.execute(f"PRAGMA {setting}")
        ((version,),) = database.execute("PRAGMA user_version").fetchall()
        ((application,),) = database.execute("PRAGMA application_id").fetchall()
        if (version, application) == (_VERSION, _APPLICATION_ID):
            return database
        if version or application or database.execute("SELECT 1 FROM sqlite_schema").fetchone():
            raise ConfigError(
                f"{path} was written by another version ({version}) or program;"
                " start the one that wrote it, or move the file away"
            )
        database.executescript("BEGIN IMMEDIATE;" + _SCHEMA + "COMMIT;")
        return database
    except BaseException:
        database.close()
        raise
