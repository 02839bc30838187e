"""The files behind a blob on its way in: data written in order while the disk is kept busy, and its tree."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from peat_sidecar.bao import GROUP_SIZE
from peat_sidecar.store.disk import Disk

SYNC_BYTES = 32 << 20
"""Written in the background each time so much has come: the fsync at the end then finds little left to do."""

Bytes = bytes | bytearray | memoryview


class DataFile:
    """Appends to a file. Driven by one thread."""

    def __init__(self, disk: Disk, path: Path, fd: int) -> None:
        self._disk = disk
        self.path = path
        self.fd = fd
        self.length = 0
        self._synced = 0
        self._syncing: Future[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._disk.write_pieces(self.fd, pieces, self.length)
        self.length += sum(map(len, pieces))
        if self.length - self._synced >= SYNC_BYTES and (self._syncing is None or self._syncing.done()):
            self._sync_behind()

    def sync(self) -> None:
        """Returns when all is on disk."""
        self._settle()
        self._disk.sync(self.fd)

    def close(self) -> None:
        if self.fd >= 0:
            try:
                self._settle()
            finally:
                self._disk.close(self.fd)
                self.fd = -1

    def _sync_behind(self) -> None:
        if self._syncing is not None:
            self._syncing.result()
        self._thread = self._thread or ThreadPoolExecutor(1, "sync")
        self._syncing = self._thread.submit(self._disk.sync, self.fd)
        self._synced = self.length

    def _settle(self) -> None:
        try:
            if self._syncing is not None:
                self._syncing.result()
        finally:
            self._syncing = None
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None


class TreeFile:
    """The pre-order pairs of a blob, written wherever they are known; no file for blobs of one group."""

    def __init__(self, disk: Disk, path: Path, size: int) -> None:
        self._disk = disk
        self._path = path
        self.fd = disk.open(path, create=True) if size > GROUP_SIZE else -1

    @property
    def path(self) -> Path | None:
        return self._path if self.fd >= 0 else None

    def write(self, offset: int, pairs: Bytes) -> None:
        self._disk.write(self.fd, pairs, offset)

    def sync(self) -> None:
        if self.fd >= 0:
            self._disk.sync(self.fd)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self._disk.close(fd)
