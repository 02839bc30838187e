"""Foreign errors become ours here, once: a full disk is `StoreFull`, any other failure `StoreFailed`.

Both name the path; `StoreFull` also names the bytes that were needed. Nothing half-written is visible after
either, and the same call works when there is room again.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peat_sidecar.errors import StoreFailed, StoreFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def full(path: Path | str, needed_bytes: int) -> StoreFull:
    """The error for a disk without room for what was to be written."""
    return StoreFull(
        f"no room for {needed_bytes} bytes at {path}{_free(path)}; free some space there, "
        "and try again; what came so far is kept"
    )


@contextmanager
def translated(path: Path | str, needed_bytes: int = 4096) -> Iterator[None]:
    """Turns what the disk and SQLite raise into the store's errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise full(path, needed_bytes) from error
        raise StoreFailed(
            f"{path}: {error.strerror or error}; look at the disk and at who owns the path"
        ) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _has_no_room(path)):
            raise full(path, needed_bytes) from error
        raise StoreFailed(f"{path}: {error}; a restart rebuilds it from the files") from error


def require_room(path: Path, needed_bytes: int) -> None:
    """StoreFull before any work is done, when the disk cannot take the bytes anyway."""
    with translated(path):
        status = os.statvfs(path)
    if needed_bytes > status.f_bavail * status.f_frsize:
        raise full(path, needed_bytes)


def _has_no_room(path: Path | str) -> bool:
    free = _free_bytes(path)
    return free is not None and free < 1 << 20


def _free(path: Path | str) -> str:
    free = _free_bytes(path)
    return "" if free is None else f" ({free} are free)"


def _free_bytes(path: Path | str) -> int | None:
    place = Path(path)
    for folder in (place, *place.parents):
        try:
            status = os.statvfs(folder)
        except OSError:
            continue
        return status.f_bavail * status.f_frsize
    return None
