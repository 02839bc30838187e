"""Files taken in from outside: copied in one pass, shared by reflink where that works, or linked."""

import os
import stat
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from peat_sidecar.errors import Refused, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.store.failures import translated
from peat_sidecar.store.hashing import PIECE_BYTES, Names
from peat_sidecar.store.incoming import Incoming
from peat_sidecar.store.layout import path_of
from peat_sidecar.store.records import BlobInfo
from peat_sidecar.store.shelf import Shelf

_BUFFERS = 6
"""Pieces in memory at once: those waiting for the threads, and the one being read."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What must stay the same while a file is taken in."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def at(cls, fd: int) -> "_Look":
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{path_of(fd)} is no regular file; only files can be imported")
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


def import_file(
    shelf: Shelf,
    fd: int,
    *,
    expected: Digest | None = None,
    media_type: str | None = None,
    link: bool = False,
    progress: Callable[[int], None] | None = None,
    proven: Callable[[Names], object],
) -> BlobInfo:
    """`progress` gets the bytes done so far; `proven` is called before it is published. The descriptor stays
    open and its position is not used.
    """
    with translated(path_of(fd)):
        look = _Look.at(fd)
    path = shelf.layout.temporary("data")
    with translated(path, look.size):
        way = _share(shelf, fd, path, link=link)
    shared = way != "copy"
    try:
        incoming = Incoming(shelf, look.size, path, expected, hash_only=shared)
        try:
            if way == "reflink":
                _read_clone(shelf, path, look.size, incoming, progress)
            else:
                _read_all(fd, look.size, incoming, progress)
            names = incoming.prove()
            if _Look.at(fd) != look:
                raise SourceError(f"{path_of(fd)} was changed while it was read; import it again")
            proven(names)
            return incoming.publish(names, media_type, linked=way == "link")
        except BaseException:
            incoming.drop()
            raise
    except BaseException:
        with suppress(OSError):
            shelf.disk.unlink(path)
        raise


def take_file(shelf: Shelf, path: Path, *, expected: Digest, proven: Callable[[], None]) -> BlobInfo:
    """Makes a file of our own in the data directory a blob, by its name alone: it is read, not copied.
    `proven` is called before it is published.

    After an error the file is where it was.
    """
    with translated(path):
        fd = shelf.disk.open(path)
    try:
        size = os.fstat(fd).st_size
        incoming = Incoming(shelf, size, path, expected, hash_only=True)
        try:
            _read_all(fd, size, incoming, None)
            names = incoming.prove()
            with translated(path):
                shelf.disk.sync(fd)
                shelf.disk.protect(fd)
            proven()
            return incoming.publish(names, None)
        except BaseException:
            incoming.drop(keep_data=True)
            raise
    finally:
        shelf.disk.close(fd)


def _share(shelf: Shelf, fd: int, path: Path, *, link: bool) -> str:
    """Gives the source's data the temporary name without reading it, where that can be: `reflink` (a file of
    our own), `link` (shared with the owner). `copy` when nothing was done.
    """
    if _reflink(shelf, fd, path):
        return "reflink"
    if not link:
        return "copy"
    with suppress(OSError):  # another file system, or links are not allowed there
        shelf.disk.link_open_file(fd, path)
        return "link"
    where = path_of(fd)
    with suppress(OSError):  # the path is gone, or leads to another file now
        if os.path.isabs(where) and os.path.samestat(os.stat(where), os.fstat(fd)):
            shelf.disk.symlink(where, path)
            return "link"
    return "copy"


def _reflink(shelf: Shelf, fd: int, path: Path) -> bool:
    if not os.fstat(fd).st_size:
        return False
    clone = shelf.disk.open(path, create=True)
    try:
        done = shelf.disk.clone(fd, clone)
        if done:
            shelf.disk.sync(clone)
            shelf.disk.protect(clone)
    finally:
        shelf.disk.close(clone)
    if not done:
        shelf.disk.unlink(path)
    return done


def _read_clone(
    shelf: Shelf, path: Path, size: int, incoming: Incoming, progress: Callable[[int], None] | None
) -> None:
    """What is hashed is what is kept, whatever happens to the source meanwhile."""
    with translated(path):
        clone = shelf.disk.open(path)
    try:
        _read_all(clone, size, incoming, progress)
    finally:
        shelf.disk.close(clone)


def _read_all(fd: int, size: int, incoming: Incoming, progress: Callable[[int], None] | None) -> None:
    """Reads through a ring of buffers: each is filled again once the threads are done with it."""
    buffers = deque(bytearray(min(PIECE_BYTES, size)) for _ in range(_BUFFERS if size > PIECE_BYTES else 1))
    done = 0
    while done < size:
        incoming.settle(len(buffers) - 2)
        buffer = buffers[0]
        buffers.rotate(-1)
        with translated(path_of(fd)):
            got = os.preadv(fd, [memoryview(buffer)[: size - done]], done)
        if not got:
            raise SourceError(f"{path_of(fd)} became shorter while it was read; import it again")
        incoming.add([memoryview(buffer)[:got]])
        done += got
        if progress is not None:
            progress(done)
