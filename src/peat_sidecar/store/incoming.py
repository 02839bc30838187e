"""The working parts of a blob on its way in, opened and closed as one: two files and the hashing threads."""

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from peat_sidecar.errors import StoreFailed
from peat_sidecar.ids import Digest
from peat_sidecar.store.failures import require_room, translated
from peat_sidecar.store.files import DataFile, TreeFile
from peat_sidecar.store.hashing import PIECE_BYTES, Bytes, NamePipeline, Names, wants_sha512
from peat_sidecar.store.records import BlobInfo
from peat_sidecar.store.shelf import Finished, Shelf


class Incoming:
    """Driven by one thread. `path` is where the data goes; an existing file there is gone on with."""

    def __init__(
        self, shelf: Shelf, size: int, path: Path, expected: Digest | None, *, hash_only: bool = False
    ) -> None:
        self.size = size
        self.path = path
        self._shelf = shelf
        self._expected = expected
        self._tree_path = shelf.layout.temporary("tree")
        self._hash_only = hash_only
        """The data is at `path` already, or will be linked there: only its names and tree are worked out."""
        self._open = ExitStack()
        with ExitStack() as undo, translated(path, size):
            undo.callback(self.close)
            undo.callback(shelf.disk.unlink, self._tree_path)
            self.data: DataFile | None = None
            if not hash_only:
                if not path.exists():
                    undo.callback(shelf.disk.unlink, path)
                self.data = _open_data(shelf, path, size)
                self._open.callback(self.data.close)
            self._tree = TreeFile(shelf.disk, self._tree_path, size)
            self._open.callback(self._tree.close)
            self._pipeline = NamePipeline(size, self._tree.write, sha512=wants_sha512(expected))
            self._open.callback(self._pipeline.close)
            require_room(shelf.layout.partial, 0 if hash_only else size - self._length_on_disk())
            self._hash_again()
            undo.pop_all()

    @property
    def length(self) -> int:
        """Bytes of the data file that are hashed."""
        return self.data.length if self.data is not None else 0

    def add(self, pieces: Sequence[bytes | memoryview]) -> None:
        """The next bytes; they must not change until `settle`."""
        with translated(self.path, self.size - self.length):
            if self.data is not None:
                self.data.write(pieces)
            self._pipeline.submit(pieces)

    def settle(self, pending: int) -> None:
        with translated(self.path, self.size):
            self._pipeline.settle(pending)

    def prove(self) -> Names:
        """The names, once all is in, and on disk when it returns. IntegrityError: not what was expected."""
        with translated(self.path, self.size):
            names = self._pipeline.finish()
            names.require(self._expected)
            if self.data is not None:
                self.data.sync()
                self._shelf.disk.protect(self.data.fd)
            self._tree.sync()
        return names

    def publish(self, names: Names, media_type: str | None, *, linked: bool = False) -> BlobInfo:
        tree = self._tree.path
        self.close()
        (info,) = self._shelf.publish([Finished(names, self.size, self.path, tree, media_type, linked)])
        return info

    def sync(self) -> None:
        if self.data is not None:
            self.data.sync()

    def close(self) -> None:
        """Ends the threads and closes the files; what is on disk stays."""
        with suppress(OSError):
            self._open.close()

    def drop(self, *, keep_data: bool = False) -> None:
        """Closes and removes what is on disk."""
        self.close()
        with suppress(OSError):
            self._shelf.disk.unlink(self._tree_path)
        if not keep_data:
            with suppress(OSError):
                self._shelf.disk.unlink(self.path)

    def _length_on_disk(self) -> int:
        return os.fstat(self.data.fd).st_size if self.data is not None else 0

    def _hash_again(self) -> None:
        """What an earlier run left is hashed as if it came now."""
        end = self._length_on_disk()
        data = self.data
        while data is not None and data.length < end:
            piece = self._shelf.disk.read(data.fd, min(PIECE_BYTES, end - data.length), data.length)
            if not piece:
                raise StoreFailed(f"{self.path} became shorter while it was read; start again")
            self._pipeline.submit([piece])
            data.length += len(piece)


def _open_data(shelf: Shelf, path: Path, size: int) -> DataFile:
    if not path.exists():
        return DataFile(shelf.disk, path, shelf.disk.open(path, create=True))
    fd = shelf.disk.open(path, write=True)
    if os.fstat(fd).st_size > size:  # of another description of that digest, or damaged: not to be trusted
        shelf.disk.truncate(fd, 0)
    return DataFile(shelf.disk, path, fd)


def copy_of(data: Bytes) -> bytes:
    """Bytes that nobody changes any more."""
    return data if isinstance(data, bytes) else bytes(data)
