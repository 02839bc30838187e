"""Reading a blob, complete or partial: its data, its tree, and which of it is here. Thread-safe."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from peat_sidecar.bao import GROUP_SIZE
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store.failures import translated
from peat_sidecar.store.open_file import OpenFile
from peat_sidecar.store.shelf import Shelf


class BlobReader:
    """Reads go on while another thread closes it: the file is closed when the last one is done."""

    def __init__(
        self,
        shelf: Shelf,
        blob_hash: BlobHash,
        data: int,
        *,
        open_tree: Callable[[], int],
        size: Callable[[], int],
        have: Callable[[], ChunkRanges],
        check: Callable[[int], None] | None = None,
    ) -> None:
        self.hash = blob_hash
        self._shelf = shelf
        self._data = OpenFile(shelf.disk, data)
        self._open_tree = open_tree
        self._tree: OpenFile | None = None
        self._opening = threading.Lock()
        self._size = size
        self._have = have
        self._check = check
        self._ended: Callable[[], None] = lambda: None

    @property
    def size(self) -> int:
        """Bytes of the whole; of a partial blob what is known of it, 0 for nothing."""
        return self._size()

    @property
    def have(self) -> ChunkRanges:
        """The chunks that are here now; all, with an open end, once the blob is complete."""
        return self._have()

    def read(self, offset: int, length: int) -> bytes:
        """Data; fewer bytes at the end of the file only. What `have` does not name may be anything.

        IntegrityError when the file is shared with its owner and was changed.
        """
        with self._data.use() as fd, translated(str(self.hash)):
            data = self._shelf.disk.read(fd, length, offset)
            if self._check is not None:
                self._check(fd)
        return data

    def outboard(self, offset: int, length: int) -> bytes:
        """Tree pairs, by their offset in the pre-order tree; blobs of one group have none."""
        if not length or self.size <= GROUP_SIZE:
            return b""
        with self._opened_tree().use() as fd, translated(str(self.hash)):
            return self._shelf.disk.read(fd, length, offset)

    def on_close(self, ended: Callable[[], None]) -> None:
        """Has it called once, when this is closed."""
        self._ended = ended

    def close(self) -> None:
        self._data.close()
        with self._opening:
            if self._tree is not None:
                self._tree.close()
            ended, self._ended = self._ended, lambda: None
        ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened_tree(self) -> OpenFile:
        with self._opening:
            if self._tree is None:
                with translated(f"the tree of {self.hash}"):
                    self._tree = OpenFile(self._shelf.disk, self._open_tree())
            return self._tree
