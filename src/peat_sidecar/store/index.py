"""The store's index: an SQLite database (WAL) that answers which blob is which, and which packages there are.

It is a cache of the files: a lost or damaged one is set aside and rebuilt by `recovery`. Its transactions
are durable when a call returns. One connection, one lock; the database is locked for other processes, which
keeps SQLite from needing shared memory (that fails badly on a full disk).
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.store.failures import translated

_VERSION = 1
_SCHEMA = f"""
CREATE TABLE blobs (
    hash BLOB PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, sha512 TEXT UNIQUE, size INTEGER NOT NULL,
    media_type TEXT, linked INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE packages (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, reference TEXT, root TEXT NOT NULL,
    descriptor TEXT NOT NULL, collection BLOB NOT NULL, bytes INTEGER NOT NULL
);
CREATE INDEX packages_root ON packages(root);
CREATE INDEX packages_collection ON packages(collection);
CREATE TABLE package_blobs (
    package INTEGER NOT NULL REFERENCES packages(id) ON DELETE CASCADE, position INTEGER NOT NULL,
    digest TEXT NOT NULL, PRIMARY KEY (package, position)
) WITHOUT ROWID;
CREATE INDEX package_blobs_digest ON package_blobs(digest);
PRAGMA user_version = {_VERSION};
"""
_BLOB_COLUMNS = "hash, sha256, sha512, size, media_type, linked, mtime_ns, inode"
_PACKAGE_COLUMNS = "id, reference, root, descriptor, collection, bytes"


@dataclass(frozen=True, slots=True)
class BlobRow:
    """A complete blob."""

    hash: BlobHash
    sha256: Digest
    sha512: Digest | None
    size: int
    media_type: str | None
    linked: bool
    """The file is shared with someone who may change it: mtime and inode tell whether they did."""
    mtime_ns: int
    inode: int

    @property
    def digests(self) -> tuple[Digest, ...]:
        """All that it is known by."""
        return (self.sha256,) if self.sha512 is None else (self.sha256, self.sha512)


@dataclass(frozen=True, slots=True)
class PackageRow:
    """A package as the index keeps it."""

    reference: str | None
    root: Digest
    descriptor: dict[str, Any]
    """The root's descriptor as JSON."""
    collection: BlobHash
    bytes: int
    blobs: tuple[Digest, ...]

    @property
    def name(self) -> str:
        """What is unique: the reference, or the root of a package without one."""
        return self.reference if self.reference is not None else f"@{self.root}"


class Index:
    """Thread-safe. StoreFull when the disk is, StoreFailed when SQLite cannot go on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._listed: dict[str, PackageRow] | None = None
        """All packages by name, the oldest first; None: to be read."""
        with translated(path):
            self._database = _open(path)

    def reset(self) -> None:
        """Sets the database aside and starts an empty one."""
        with self._lock, translated(self._path):
            self._database.close()
            self._listed = None
            _set_aside(self._path)
            self._database = _connect(self._path)

    def close(self) -> None:
        with self._lock, suppress(sqlite3.Error):
            self._database.close()

    # blobs

    def find(self, name: BlobHash | Digest) -> BlobRow | None:
        column, value = _key(name)
        rows = self._rows(f"SELECT {_BLOB_COLUMNS} FROM blobs WHERE {column} = ?", (value,))
        return _blob(rows[0]) if rows else None

    def blobs(
        self,
        *,
        after: bytes = b"",
        limit: int = -1,
        media_type: str | None = None,
        package: Digest | None = None,
    ) -> list[BlobRow]:
        """In the order of their hashes."""
        where, values = "hash > ?", [after]  # type: tuple[str, list[Any]]
        if media_type is not None:
            where += " AND media_type = ?"
            values.append(media_type)
        if package is not None:
            inside = "SELECT digest FROM package_blobs JOIN packages ON id = package WHERE root = ?"
            where += f" AND (sha256 IN ({inside}) OR sha512 IN ({inside}))"
            values += [str(package), str(package)]
        query = f"SELECT {_BLOB_COLUMNS} FROM blobs WHERE {where} ORDER BY hash LIMIT ?"
        return [_blob(row) for row in self._rows(query, (*values, limit))]

    def find_all(self, hashes: Sequence[BlobHash]) -> list[BlobRow]:
        """Those of them that there are."""
        query = f"SELECT {_BLOB_COLUMNS} FROM blobs WHERE hash IN ({_marks(hashes)})"
        return [_blob(row) for row in self._rows(query, tuple(each.value for each in hashes))]

    def held(self, digests: Sequence[Digest]) -> set[Digest]:
        """Those of them that a package names."""
        query = f"SELECT DISTINCT digest FROM package_blobs WHERE digest IN ({_marks(digests)})"
        return {Digest.parse(digest) for (digest,) in self._rows(query, tuple(map(str, digests)))}

    def blobs_without_package(self, after: bytes, limit: int) -> list[BlobRow]:
        """Those that no package names, in the order of their hashes."""
        held = "EXISTS (SELECT 1 FROM package_blobs WHERE digest IN (sha256, sha512))"
        query = f"SELECT {_BLOB_COLUMNS} FROM blobs WHERE hash > ? AND NOT {held} ORDER BY hash LIMIT ?"
        return [_blob(row) for row in self._rows(query, (after, limit))]

    def sizes(self) -> dict[str, int]:
        """Bytes of every blob, by each of its digests as text."""
        rows = self._rows("SELECT sha256, sha512, size FROM blobs", ())
        return {name: size for *names, size in rows for name in names if name is not None}

    def add_blobs(self, rows: Iterable[BlobRow]) -> None:
        """One transaction; a row of the same name is replaced, a media type that is known is kept."""
        values = [
            (
                row.hash.value,
                str(row.sha256),
                str(row.sha512) if row.sha512 else None,
                row.size,
                row.media_type,
                row.linked,
                row.mtime_ns,
                row.inode,
            )
            for row in rows
        ]
        with self._transaction():
            self._database.executemany(
                f"""INSERT INTO blobs ({_BLOB_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)
                ON CONFLICT (hash) DO UPDATE SET sha512 = coalesce(excluded.sha512, sha512),
                media_type = coalesce(excluded.media_type, media_type), size = excluded.size,
                linked = excluded.linked, mtime_ns = excluded.mtime_ns, inode = excluded.inode""",
                values,
            )

    def remove_blobs(self, hashes: Iterable[BlobHash]) -> None:
        """Not durable by itself: a row that a power loss brings back has no file, and goes at the start."""
        with self._transaction(durable=False):
            self._database.executemany("DELETE FROM blobs WHERE hash = ?", [(each.value,) for each in hashes])

    def totals(self) -> tuple[int, int, int]:
        """Blobs, their bytes, packages."""
        query = "SELECT count(*), coalesce(sum(size), 0), (SELECT count(*) FROM packages) FROM blobs"
        ((blobs, size, packages),) = self._rows(query, ())
        return blobs, size, packages

    # packages

    def add_package(self, package: PackageRow) -> None:
        """Replaces the package of the same reference (or, without one, of the same root)."""
        with self._lock:
            with self._transaction():
                self._database.execute("DELETE FROM packages WHERE name = ?", (package.name,))
                cursor = self._database.execute(
                    "INSERT INTO packages VALUES (NULL,?,?,?,?,?,?)",
                    (
                        package.name,
                        package.reference,
                        str(package.root),
                        json.dumps(package.descriptor),
                        package.collection.value,
                        package.bytes,
                    ),
                )
                self._database.executemany(
                    "INSERT INTO package_blobs VALUES (?,?,?)",
                    [
                        (cursor.lastrowid, position, str(digest))
                        for position, digest in enumerate(package.blobs)
                    ],
                )
            if self._listed is not None:
                self._listed.pop(package.name, None)
                self._listed[package.name] = package

    def packages(self, where: str = "", values: tuple[Any, ...] = ()) -> list[PackageRow]:
        """The newest first; all of them are read once and kept, since they are asked for at each change."""
        if where:
            return self._select(where, values)
        with self._lock:
            if self._listed is None:
                self._listed = {row.name: row for row in reversed(self._select("1", ()))}
            return list(reversed(self._listed.values()))

    def find_packages(self, name: Digest | BlobHash | str) -> list[PackageRow]:
        """By root digest, by collection hash, or by reference; the newest first."""
        match name:
            case Digest():
                return self.packages("root = ?", (str(name),))
            case BlobHash():
                return self.packages("collection = ?", (name.value,))
            case _:
                return self.packages("reference = ?", (name,))

    def roots(self, prefix: str) -> list[tuple[str, dict[str, Any]]]:
        """References that begin with a text, in the order of their characters, with the root's descriptor."""
        where = "name >= ? AND name < ? AND reference NOT NULL ORDER BY name"
        query = f"SELECT reference, descriptor FROM packages WHERE {where}"
        rows = self._rows(query, (prefix, prefix + "\U0010ffff"))
        return [(reference, json.loads(descriptor)) for reference, descriptor in rows]

    def has_reference(self, prefix: str) -> bool:
        """Whether a reference begins with a text."""
        query = "SELECT 1 FROM packages WHERE name >= ? AND name < ? AND reference NOT NULL LIMIT 1"
        return bool(self._rows(query, (prefix, prefix + "\U0010ffff")))

    def remove_packages(self, names: Iterable[str]) -> None:
        gone = list(names)
        with self._lock:
            with self._transaction():
                self._database.executemany("DELETE FROM packages WHERE name = ?", [(name,) for name in gone])
            for name in gone:
                if self._listed is not None:
                    self._listed.pop(name, None)

    def holders(self, digests: Iterable[Digest]) -> list[str]:
        """The packages that hold one of the blobs."""
        query = "SELECT DISTINCT name FROM packages JOIN package_blobs ON id = package WHERE digest = ?"
        return sorted({row[0] for digest in digests for row in self._rows(query, (str(digest),))})

    def _select(self, where: str, values: tuple[Any, ...]) -> list[PackageRow]:
        with self._lock:
            rows = self._rows(
                f"SELECT {_PACKAGE_COLUMNS} FROM packages WHERE {where} ORDER BY id DESC", values
            )
            return [self._package(row) for row in rows]

    def _package(self, row: tuple[Any, ...]) -> PackageRow:
        identity, reference, root, descriptor, collection, size = row
        query = "SELECT digest FROM package_blobs WHERE package = ? ORDER BY position"
        blobs = tuple(Digest.parse(digest) for (digest,) in self._rows(query, (identity,)))
        return PackageRow(
            reference, Digest.parse(root), json.loads(descriptor), BlobHash(collection), size, blobs
        )

    # SQLite

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock, translated(self._path):
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self, *, durable: bool = True) -> Iterator[None]:
        with self._lock, translated(self._path, 64 << 10):
            self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled back already
                    self._database.execute("ROLLBACK")
                raise


def _open(path: Path) -> sqlite3.Connection:
    """A damaged database is renamed aside, never deleted, and an empty one takes its place."""
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
        ):
            raise
    _set_aside(path)
    return _connect(path)


def _set_aside(path: Path) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        ((verdict,),) = database.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise _damaged(verdict)
        ((version,),) = database.execute("PRAGMA user_version").fetchall()
        if version == _VERSION:
            return database
        if version or database.execute("SELECT 1 FROM sqlite_schema").fetchone():
            raise _damaged(f"version {version}")
        database.executescript("BEGIN IMMEDIATE;" + _SCHEMA + "COMMIT;")
        return database
    except BaseException:
        database.close()
        raise


def _damaged(what: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _key(name: BlobHash | Digest) -> tuple[str, str | bytes]:
    return ("hash", name.value) if isinstance(name, BlobHash) else (name.algorithm, str(name))


def _blob(row: tuple[Any, ...]) -> BlobRow:
    blob_hash, sha256, sha512, size, media_type, linked, mtime_ns, inode = row
    return BlobRow(
        BlobHash(blob_hash),
        Digest.parse(sha256),
        Digest.parse(sha512) if sha512 else None,
        size,
        media_type,
        bool(linked),
        mtime_ns,
        inode,
    )
