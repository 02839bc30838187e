"""Whether a blob is still what its names and its tree say: all of it is read and hashed again.

A file that is not is set aside, never deleted, and not served any more; a file of somebody else's is let go.
A tree that is wrong over sound data is made anew.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

import structlog

from peat_sidecar.bao import GROUP_SIZE, outboard_size
from peat_sidecar.errors import IntegrityError, NotFound
from peat_sidecar.store.failures import translated
from peat_sidecar.store.files import TreeFile
from peat_sidecar.store.hashing import PIECE_BYTES, NamePipeline, Names
from peat_sidecar.store.index import BlobRow
from peat_sidecar.store.shelf import Shelf

_log = structlog.get_logger(__name__)

Progress = Callable[[int], None]
"""Called with the bytes that were read; what it raises ends the work."""


class Verdict(Enum):
    """What a blob turned out to be."""

    SOUND = "sound"
    TREE_MADE_ANEW = "tree made anew"
    DAMAGED = "damaged"
    GONE = "gone"
    """It was deleted meanwhile, or changed by its owner and dropped for that."""


def verify(shelf: Shelf, row: BlobRow, progress: Progress) -> Verdict:
    """Blocks for as long as it takes to read it."""
    try:
        row, fd = shelf.open(row)
    except IntegrityError:
        return Verdict.DAMAGED
    except NotFound:
        return Verdict.GONE
    try:
        tree = _KnownTree(shelf, row)
        try:
            names = _names(shelf, row, fd, tree.compare, progress)
        finally:
            tree.close()
        if (names.hash, names.sha256, names.sha512) != (row.hash, row.sha256, row.sha512):
            _set_aside(shelf, row)
            return Verdict.DAMAGED
        if tree.is_right:
            return Verdict.SOUND
        _make_tree(shelf, row, fd)
        return Verdict.TREE_MADE_ANEW
    except OSError as error:  # the disk cannot read it any more
        _log.warning("a blob cannot be read", digest=str(row.sha256), error=str(error))
        _set_aside(shelf, row)
        return Verdict.DAMAGED
    finally:
        shelf.disk.close(fd)


class _KnownTree:
    """The tree on disk, compared with the one that is worked out."""

    def __init__(self, shelf: Shelf, row: BlobRow) -> None:
        self._disk = shelf.disk
        self._fd = -1
        self.is_right = True
        if row.size > GROUP_SIZE:
            with suppress(OSError):
                self._fd = shelf.disk.open(shelf.layout.tree(row.hash))
            self.is_right = self._fd >= 0 and os.fstat(self._fd).st_size == outboard_size(row.size)

    def compare(self, offset: int, pairs: bytes) -> None:
        """Pairs as they are, where they belong."""
        if self.is_right:
            self.is_right = self._disk.read(self._fd, len(pairs), offset) == pairs

    def close(self) -> None:
        if self._fd >= 0:
            self._disk.close(self._fd)


def _names(
    shelf: Shelf, row: BlobRow, fd: int, write_tree: Callable[[int, bytes], object], progress: Progress
) -> Names:
    with NamePipeline(row.size, write_tree, sha512=row.sha512 is not None) as pipeline:
        offset = 0
        while piece := shelf.disk.read(fd, min(PIECE_BYTES, row.size - offset), offset):
            pipeline.submit([piece])
            offset += len(piece)
            progress(len(piece))
        return pipeline.finish()


def _make_tree(shelf: Shelf, row: BlobRow, fd: int) -> None:
    with translated(shelf.layout.trees, outboard_size(row.size)):
        tree = TreeFile(shelf.disk, shelf.layout.temporary("tree"), row.size)
        path = tree.path
        try:
            _names(shelf, row, fd, tree.write, lambda _: None)
            tree.sync()
            with shelf.naming:
                if path is not None and shelf.find(row.hash) is not None:
                    shelf.disk.rename(path, shelf.layout.tree(row.hash))
                    shelf.disk.sync_folder(shelf.layout.trees)
        finally:
            tree.close()
            if path is not None:
                shelf.disk.unlink(path)
    _log.warning("a tree was wrong and is made anew", digest=str(row.sha256))


def _set_aside(shelf: Shelf, row: BlobRow) -> None:
    with shelf.naming, translated(shelf.layout.damaged):
        if shelf.find(row.hash) != row:
            return
        shelf.set_aside(row)
        shelf.drop(row)
    _log.warning("a blob is damaged; it is set aside", digest=str(row.sha256))
