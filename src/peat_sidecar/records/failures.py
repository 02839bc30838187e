"""Foreign errors become ours here, once: a full disk is `StoreFull`, any other failure `StoreFailed`.

Nothing of a change is stored after either, and the same call works when the cause is gone.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peat_sidecar.errors import StoreFailed, StoreFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_LITTLE_BYTES = 1 << 20


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what the disk and SQLite raise into the program's errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise full(path) from error
        raise StoreFailed(
            f"{path}: {error.strerror or error}; look at the disk and at who owns the path"
        ) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _has_no_room(path)):
            raise full(path) from error
        if code in _DAMAGED:
            raise damaged(path, str(error)) from error
        if code == sqlite3.SQLITE_BUSY:
            raise StoreFailed(f"{path} is in use by another process; end that first") from error
        raise StoreFailed(f"{path}: {error}; look at the disk and at who owns the path") from error


def full(path: Path) -> StoreFull:
    """No room for a change."""
    return StoreFull(
        f"no room for records at {path}; free some space there, and try again; what was stored is kept"
    )


def damaged(path: Path, what: str) -> StoreFailed:
    """What is in the database cannot have been written by this program."""
    return StoreFailed(
        f"{path} is damaged ({what[:120]}); look at the disk, move the file and its -wal away and start"
        " again: records, this node's own ones too, come back from peers that have them"
    )


def _has_no_room(path: Path) -> bool:
    try:
        status = os.statvfs(path.parent)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < _LITTLE_BYTES
