"""The database file: opened, translated, and set aside where damaged, with what can be read carried over.

The database is locked for other processes, which keeps SQLite from needing shared memory (that fails badly
on a full disk).
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from peat_sidecar.errors import ConfigError, StoreFailed, StoreFull

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_NO_ROOM_BYTES = 1 << 20
_log = structlog.get_logger(__name__)


class _Damaged(sqlite3.DatabaseError):
    """The file is no database, or not whole."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def open_database(
    path: Path,
    schema: str,
    version: int,
    columns: Mapping[str, str],
    added: Mapping[str, Mapping[str, str]],
    later: str,
) -> sqlite3.Connection:
    """Makes what is missing. `columns` says what is carried over of each table when the file is damaged,
    `added` which columns the schema lacks, as files of earlier programs do: by table, with their types;
    `later` makes the tables that such files lack.

    `ConfigError` when another process has it or a newer program wrote it; `StoreFull`, `StoreFailed`.
    """
    with translated(path):
        try:
            return _connect(path, schema, version, added, later)
        except sqlite3.DatabaseError as error:
            if _code(error) not in _DAMAGE:
                raise
        aside = _set_aside(path)
        database = _connect(path, schema, version, added, later)
        saved = _carry_over(aside, database, columns)
        _log.error(
            "the state was damaged; what could be read of it is carried over, look whether bans and wants"
            " are as they should be",
            set_aside=str(aside),
            rows=saved,
        )
        return database


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what the disk and SQLite raise into `StoreFull`, `StoreFailed` and `ConfigError`."""
    try:
        yield
    except OSError as error:
        raise StoreFailed(
            f"{path}: {error.strerror or error}; look at the disk and at who owns the path"
        ) from error
    except sqlite3.Error as error:
        code = _code(error)
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _has_no_room(path)):
            raise StoreFull(
                f"no room for the state at {path}; free some space there, and try again"
            ) from error
        if code in _BUSY:
            raise ConfigError(
                f"{path} is in use by another process; stop that one, or name another directory"
            ) from error
        raise StoreFailed(f"{path}: {error}; look at the disk, then start the daemon again") from error


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _connect(
    path: Path, schema: str, version: int, added: Mapping[str, Mapping[str, str]], later: str
) -> sqlite3.Connection:
    new = not path.exists()
    if new:  # what it says of peers is nobody else's business
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        ((verdict,),) = database.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise _Damaged(verdict)
        ((found,),) = database.execute("PRAGMA user_version").fetchall()
        if found > version:
            raise ConfigError(
                f"{path} was written by a newer version of peat-sidecar; run that one, or move the file away"
            )
        if found == 0:
            if database.execute("SELECT 1 FROM sqlite_schema").fetchone():
                raise _Damaged("tables without a version")
            database.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {version}; COMMIT;")
        database.executescript(later)
        for table, kinds in added.items():
            _add_columns(database, table, kinds)
        if new:
            _sync_folder(path.parent)
        return database
    except BaseException:
        database.close()
        raise


def _add_columns(database: sqlite3.Connection, table: str, kinds: Mapping[str, str]) -> None:
    there = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
    for name, kind in kinds.items():
        if name not in there:
            database.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")


def _set_aside(path: Path) -> Path:
    """Renamed, never deleted; its journal goes with it."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    for ending in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    return aside


def _carry_over(aside: Path, into: sqlite3.Connection, columns: Mapping[str, str]) -> int:
    saved = 0
    try:
        damaged = sqlite3.connect(aside, isolation_level=None)
    except sqlite3.Error:
        return saved
    try:
        for table, names in columns.items():
            with suppress(sqlite3.DatabaseError):  # up to the page that cannot be read
                there = {row[1] for row in damaged.execute(f"PRAGMA table_info({table})")}
                kept = [name for name in names.split(", ") if name in there]  # of an earlier program: fewer
                names, marks = ", ".join(kept), ", ".join("?" * len(kept))
                for row in damaged.execute(f"SELECT {names} FROM {table}"):
                    with suppress(sqlite3.IntegrityError):
                        into.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", row)
                        saved += 1
    finally:
        damaged.close()
    return saved


def _has_no_room(path: Path) -> bool:
    try:
        status = os.statvfs(path.parent)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < _NO_ROOM_BYTES


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
