"""Where complete blobs stand: publishing them under their names, finding them, dropping what has changed.

A blob is published in this order: data and tree on disk (fsync), the tree under its name, then the data under
its name(s), folders on disk, then the row in the index. So a file with a blob's name is complete, at any
moment; a tree without its blob, or a blob without its row, is put right at the next start.
"""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from peat_sidecar.bao import GROUP_SIZE, outboard_size
from peat_sidecar.errors import IntegrityError, NotFound
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store.disk import Disk
from peat_sidecar.store.failures import translated
from peat_sidecar.store.hashing import Names
from peat_sidecar.store.index import BlobRow, Index
from peat_sidecar.store.layout import Layout
from peat_sidecar.store.records import BlobInfo

Listener = Callable[[int, ChunkRanges], None]
"""Called with the blob's size and the chunks that are newly here, from whatever thread brought them."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A blob whose names are proven and whose files are on disk, before it is published."""

    names: Names
    size: int
    data: Path
    """Temporary name of the data."""
    tree: Path | None
    """Temporary name of the tree; None up to 16 KiB."""
    media_type: str | None
    linked: bool = False


class Shelf:
    """Thread-safe."""

    def __init__(self, layout: Layout, disk: Disk, index: Index) -> None:
        self.layout = layout
        self.disk = disk
        self.index = index
        self.naming = threading.RLock()
        """Held while names in `blobs/` and their rows change together."""
        self.on_published: Callable[[BlobHash], None] = lambda blob_hash: None
        """Told of each blob that is complete now, before the listeners."""
        self._listeners: dict[BlobHash, list[Listener]] = {}
        self._listening = threading.Lock()

    # finding

    def find(self, name: BlobHash | Digest) -> BlobRow | None:
        return self.index.find(name)

    def open(self, row: BlobRow) -> tuple[BlobRow, int]:
        """A descriptor of the data, and the blob's row, which may have been replaced since `row` was read.

        NotFound when the file is gone, IntegrityError when it has changed; the blob is dropped then.
        """
        with suppress(NotFound, IntegrityError):
            return row, self._open(row)
        with self.naming:  # what somebody was publishing meanwhile is whole by now
            row = self.index.find(row.hash) or row
            try:
                return row, self._open(row)
            except (NotFound, IntegrityError):
                self.set_aside(row)
                self.drop(row)
                raise

    def _open(self, row: BlobRow) -> int:
        path = self.layout.blob(row.sha256)
        with translated(path):
            try:
                fd = self.disk.open(path)
            except FileNotFoundError:
                raise NotFound(f"the file of blob {row.sha256} is gone; import or fetch it again") from None
        try:
            self.require_unchanged(row, fd)
        except BaseException:
            self.disk.close(fd)
            raise
        return fd

    def require_unchanged(self, row: BlobRow, fd: int) -> None:
        """A file of our own has its size; one shared with others also its mtime and inode."""
        status = os.fstat(fd)
        same = status.st_size == row.size
        if row.linked:
            same = same and (status.st_mtime_ns, status.st_ino) == (row.mtime_ns, row.inode)
        if not same:
            why = (
                "the file that it was linked from was changed since the import; it is dropped"
                if row.linked
                else "its file was changed since the import; it is set aside in damaged/"
            )
            raise IntegrityError(f"blob {row.sha256}: {why}, import or fetch it again")

    def drop(self, *rows: BlobRow) -> None:
        """Forgets blobs and removes their names; a file that others own stays where they have it."""
        with self.naming, translated(self.layout.oci):
            for row in rows:
                for digest in row.digests:
                    self.disk.unlink(self.layout.blob(digest))
                self.disk.unlink(self.layout.tree(row.hash))
            self.index.remove_blobs([row.hash for row in rows])

    def set_aside(self, row: BlobRow) -> None:
        """Moves a damaged file of our own to `damaged/`; one that others own stays where they have it."""
        path = self.layout.blob(row.sha256)
        with self.naming, translated(self.layout.damaged):
            if not row.linked and os.path.lexists(path):
                self.disk.make_folder(self.layout.damaged)
                self.disk.rename(path, self.layout.damaged / row.sha256.hex)

    def mark_linked(self, row: BlobRow, fd: int) -> None:
        """From now on someone else has a name for the file too."""
        status = os.fstat(fd)
        self.index.add_blobs([replace(row, linked=True, mtime_ns=status.st_mtime_ns, inode=status.st_ino)])

    def remove_part(self, blob_hash: BlobHash) -> None:
        """Removes the files of a partial blob."""
        with translated(self.layout.partial):
            for kind in ("have", "data", "tree"):
                self.disk.unlink(self.layout.partial_file(blob_hash, kind))

    def info(self, row: BlobRow) -> BlobInfo:
        return BlobInfo(
            row.hash, row.sha256, row.sha512, row.size, row.media_type, True, row.size, row.linked
        )

    # publishing

    def publish(self, blobs: Sequence[Finished]) -> list[BlobInfo]:
        """Gives finished blobs their names and rows. When it returns, they survive a power loss."""
        layout = self.layout
        fresh = [blob for blob in blobs if not self._is_here(blob)]
        with translated(layout.data_dir, 64 << 10), self.naming:
            try:
                self._name(blobs, fresh)
                self.index.add_blobs([self._row(blob) for blob in blobs])
            except BaseException:
                self._unpublish(fresh)
                raise
            rows = [self.index.find(blob.names.hash) for blob in blobs]
        for blob in blobs:
            self._clear(blob)
            self.on_published(blob.names.hash)
            self.announce(blob.names.hash, blob.size, ChunkRanges.all())
        return [self.info(row) for row in rows if row is not None]

    def _name(self, blobs: Sequence[Finished], fresh: Sequence[Finished]) -> None:
        layout, disk = self.layout, self.disk
        for blob in fresh:
            if blob.tree is not None:
                disk.rename(blob.tree, layout.tree(blob.names.hash))
        if any(blob.tree is not None for blob in fresh):
            disk.sync_folder(layout.trees)
        for blob in fresh:
            disk.rename(blob.data, layout.blob(blob.names.sha256))
        for blob in blobs:
            self._name_sha512(blob.names)
        if fresh:
            disk.sync_folder(layout.sha256)
        if any(blob.names.sha512 is not None for blob in blobs):
            disk.sync_folder(layout.sha512)

    def _is_here(self, blob: Finished) -> bool:
        """Whether a sound copy of our own is there already, which then stays."""
        row = self.index.find(blob.names.hash)
        if row is None or row.linked:
            return False
        try:
            status = self.layout.blob(row.sha256).stat()
            tree_size = self.layout.tree(row.hash).stat().st_size if row.size > GROUP_SIZE else 0
        except OSError:
            return False
        return status.st_size == row.size and tree_size == outboard_size(row.size)

    def _name_sha512(self, names: Names) -> None:
        if names.sha512 is None:
            return
        source, target = self.layout.blob(names.sha256), self.layout.blob(names.sha512)
        with suppress(OSError):
            if os.path.samestat(source.lstat(), target.lstat()):
                return
        self.disk.unlink(target)
        self.disk.link(source, target)

    def _row(self, blob: Finished) -> BlobRow:
        status = self.layout.blob(blob.names.sha256).stat()
        existing = self.index.find(blob.names.hash)
        linked = blob.linked and (existing is None or existing.linked)
        names = blob.names
        return BlobRow(
            names.hash,
            names.sha256,
            names.sha512,
            blob.size,
            blob.media_type,
            linked,
            status.st_mtime_ns,
            status.st_ino,
        )

    def _unpublish(self, blobs: Sequence[Finished]) -> None:
        """The index has no room: takes the names back, so that nothing is there that nobody knows."""
        for blob in blobs:
            if self.index.find(blob.names.hash) is not None:
                continue
            if blob.names.sha512 is not None:
                with suppress(OSError):
                    self.disk.unlink(self.layout.blob(blob.names.sha512))
            with suppress(OSError):
                self.disk.rename(self.layout.blob(blob.names.sha256), blob.data)
            if blob.tree is not None:
                with suppress(OSError):
                    self.disk.rename(self.layout.tree(blob.names.hash), blob.tree)

    def _clear(self, blob: Finished) -> None:
        """Removes the temporary names of a blob that was here already."""
        with translated(blob.data):
            self.disk.unlink(blob.data)
            if blob.tree is not None:
                self.disk.unlink(blob.tree)

    # listening

    def subscribe(self, blob_hash: BlobHash, listener: Listener) -> Callable[[], None]:
        with self._listening:
            self._listeners.setdefault(blob_hash, []).append(listener)

        def unsubscribe() -> None:
            with self._listening:
                listeners = self._listeners.get(blob_hash, [])
                if listener in listeners:
                    listeners.remove(listener)
                if not listeners:
                    self._listeners.pop(blob_hash, None)

        return unsubscribe

    def announce(self, blob_hash: BlobHash, size: int, fresh: ChunkRanges) -> None:
        with self._listening:
            listeners = tuple(self._listeners.get(blob_hash, ()))
        for listener in listeners:
            listener(size, fresh)
