"""Archives: an image layout as one tar, plain or with gzip when it is read, plain when it is written.

A plain tar is read where it lies. One with gzip is unpacked once to a file without a name, which is gone when
it is closed, because blobs are read from any offset. What is written is the same for the same package: order
as pushed, no times, no owners.
"""

import asyncio
import contextlib
import errno
import gzip
import os
import secrets
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from peat_sidecar.confined import Directory
from peat_sidecar.errors import NotFound, SourceError, StoreFailed, StoreFull
from peat_sidecar.ids import Digest
from peat_sidecar.oci.interfaces import ReadBlob
from peat_sidecar.oci.layout_index import LAYOUT_FILE, with_entry
from peat_sidecar.oci.layouts import LayoutReader, blob_pieces, write_all
from peat_sidecar.oci.tar_index import TarIndex, index_tar
from peat_sidecar.oci.threads import stoppable
from peat_sidecar.packages import Descriptor

_BLOCK = 512
_PIECE_BYTES = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# Blobs are compressed already, so an honest archive hardly grows; a bomb does, a thousandfold.
_GROWTH = 50
_GROWTH_ALLOWANCE_BYTES = 64 << 20


class ArchiveSource(LayoutReader):
    """A package in an archive."""

    def __init__(
        self, file: int, path: str, choice: str | Digest | None = None, *, scratch: Path | None = None
    ) -> None:
        """Takes the open file over. `scratch` is a folder with room for what gzip hides."""
        super().__init__(_Archive(file, path, scratch), path, choice)


class _Archive:
    """The files of a layout in a tar. Its headers are read at the first use."""

    def __init__(self, file: int, path: str, scratch: Path | None) -> None:
        self._file = file
        self._path = path
        self._scratch = scratch
        self._index: TarIndex | None = None
        self._lock = threading.Lock()

    def read(self, name: str, limit_bytes: int) -> bytes:
        begin, size = self._find(name)
        if size > limit_bytes:
            raise SourceError(f"{name} in {self._path} is larger than the {limit_bytes} bytes it may have")
        data = os.pread(self._file, size, begin)
        if len(data) != size:
            raise SourceError(f"{self._path} changed while it was read")
        return data

    def open(self, name: str) -> tuple[int, int, int]:
        begin, size = self._find(name)
        return os.dup(self._file), begin, size

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _find(self, name: str) -> tuple[int, int]:
        with self._lock:
            if self._file < 0:
                raise SourceError(f"{self._path} is closed")
            if self._index is None:
                self._index = self._load()
        if name in self._index.files:
            return self._index.files[name]
        if name in self._index.skipped:
            raise SourceError(f"{name} in {self._path} is no plain file; pack it again without links")
        if name == "oci-layout" and "manifest.json" in self._index.files:
            raise SourceError(
                f"{self._path} is a docker archive of the old kind; write it again as an OCI archive,"
                " for example with: skopeo copy docker-archive:OLD oci-archive:NEW"
            )
        raise NotFound(f"{self._path} has no {name}")

    def _load(self) -> TarIndex:
        try:
            start = os.pread(self._file, 4, 0)
            if start == _ZSTD:
                raise SourceError(f"{self._path} is packed with zstd; unpack it first, with zstd -d")
            if start[:2] == _GZIP:
                unpacked = self._unpack()
                os.close(self._file)
                self._file = unpacked
            return index_tar(self._file, self._path)
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error.strerror}; look at the disk") from error

    def _unpack(self) -> int:
        """The tar without its gzip, in a file that has no name."""
        limit = os.fstat(self._file).st_size * _GROWTH + _GROWTH_ALLOWANCE_BYTES
        count = 0
        with (
            tempfile.TemporaryFile(dir=self._scratch) as out,
            open(self._file, "rb", closefd=False) as file,
            gzip.GzipFile(fileobj=file) as packed,
        ):
            while True:
                try:
                    piece = packed.read(_PIECE_BYTES)
                except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                    raise SourceError(f"{self._path} is damaged or cut off: {error}") from None
                if not piece:
                    return os.dup(out.fileno())
                count += len(piece)
                if count > limit:
                    raise SourceError(f"{self._path} grows more than {_GROWTH}-fold; that is no image")
                self._keep(out.fileno(), piece)

    def _keep(self, out: int, piece: bytes) -> None:
        try:
            write_all(out, piece)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(
                    f"no room in {self._scratch or tempfile.gettempdir()} to unpack {self._path}; make some"
                ) from None
            raise


class ArchiveTarget:
    """An image layout as a tar of its own, in a folder. A `Target`."""

    def __init__(self, directory: Directory, file_name: str) -> None:
        """Takes the directory over. The archive appears under its name with `finish`, not before."""
        self._directory = directory
        self._file_name = file_name
        self._temporary = f".{file_name[:200]}.{secrets.token_hex(6)}.tmp"
        self._file = -1
        self._written: set[str] = set()
        self._lock = asyncio.Lock()

    @property
    def name(self) -> str:
        """The path."""
        return os.path.join(self._directory.path, self._file_name)

    async def close(self) -> None:
        """Closes the file, and removes it unless it was finished."""
        async with self._lock:
            await asyncio.to_thread(self._abandon)
            self._directory.close()

    def _abandon(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._directory.remove_file(self._temporary)

    async def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether this archive has it already."""
        return descriptor.digest.path in self._written

    async def push_blob(
        self, descriptor: Descriptor, read: ReadBlob, *, mount_from: Sequence[str] = ()
    ) -> None:
        """Appends a blob; one after another, in the order of the calls."""
        async with self._lock:
            await stoppable(lambda check: self._append(descriptor, read, check))

    async def push_manifest(self, descriptor: Descriptor, raw: bytes, tag: str | None = None) -> None:
        """Appends a manifest."""
        await self.push_blob(descriptor, lambda offset, length: raw[offset : offset + length])

    async def finish(self, root: Descriptor, name: str | None = None) -> None:
        """Appends `index.json`, syncs the file and gives it its name."""
        async with self._lock:
            await asyncio.to_thread(self._finish, root, name)

    def _append(self, descriptor: Descriptor, read: ReadBlob, check: Callable[[], None]) -> None:
        if descriptor.digest.path in self._written:
            return
        with self._whole_or_nothing():
            self._begin()
            self._make_folder("blobs")
            self._make_folder(f"blobs/{descriptor.digest.algorithm}")
            write_all(self._file, _header(descriptor.digest.path, descriptor.size))
            for piece in blob_pieces(descriptor, read):
                check()
                write_all(self._file, piece)
            write_all(self._file, bytes(-descriptor.size % _BLOCK))
            self._written.add(descriptor.digest.path)

    def _finish(self, root: Descriptor, name: str | None) -> None:
        with self._whole_or_nothing():
            self._begin()
            self._add_file("index.json", with_entry(None, root, name))
            write_all(self._file, bytes(2 * _BLOCK))
            os.fsync(self._file)
        os.close(self._file)
        self._file = -1
        self._directory.rename_file(self._temporary, self._file_name)

    def _begin(self) -> None:
        if self._file < 0:
            self._file = self._directory.create_file(self._temporary)
            self._add_file("oci-layout", LAYOUT_FILE)

    def _add_file(self, name: str, data: bytes) -> None:
        write_all(self._file, _header(name, len(data)) + data + bytes(-len(data) % _BLOCK))

    def _make_folder(self, name: str) -> None:
        if name not in self._written:
            write_all(self._file, _header(name, 0, folder=True))
            self._written.add(name)

    @contextlib.contextmanager
    def _whole_or_nothing(self) -> Iterator[None]:
        """Takes back what was appended when appending fails."""
        before = os.lseek(self._file, 0, os.SEEK_CUR) if self._file >= 0 else 0
        written = set(self._written)
        try:
            yield
        except BaseException as error:
            self._written = written
            if before:
                os.ftruncate(self._file, before)
                os.lseek(self._file, before, os.SEEK_SET)
            else:
                self._abandon()
            if isinstance(error, OSError):
                raise _translated(error, self.name) from error
            raise


def _header(name: str, size: int, *, folder: bool = False) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = size
    header.mode = 0o755 if folder else 0o644
    header.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8")


def _translated(error: OSError, path: str) -> StoreFull | StoreFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"no room for {path}; make some and try again")
    return StoreFailed(f"{path} cannot be written: {error.strerror}; look at the disk")
