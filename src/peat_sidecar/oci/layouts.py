"""OCI image layouts: folders with `oci-layout`, `index.json` and `blobs/<algorithm>/<hex>`.

Links inside a layout are not followed, and names are made of digests only, never of what a file says.
"""

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence

from peat_sidecar.confined import Directory
from peat_sidecar.errors import IntegrityError, NotFound, Refused, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.oci.file_reader import PIECE_BYTES, FileReader, Folder
from peat_sidecar.oci.interfaces import ReadBlob
from peat_sidecar.oci.layout_index import (
    LAYOUT_FILE,
    by_digest,
    choose,
    parse_layout_file,
    parse_layout_index,
    ref_name,
    with_entry,
)
from peat_sidecar.oci.threads import stoppable
from peat_sidecar.packages import Descriptor, Index

INDEX_LIMIT_BYTES = 4 << 20


class LayoutReader(FileReader):
    """A package in an image layout, whatever holds the files. A `Source`."""

    def _resolve(self) -> Descriptor:
        try:
            parse_layout_file(self._files.read("oci-layout", 4096), self._place)
        except NotFound:
            raise SourceError(f"{self._place} is no OCI image layout: it has no file oci-layout") from None
        index = self._index()
        if isinstance(self._choice, Digest):
            entry = by_digest(index, self._choice) or self._unlisted(self._choice)
        else:
            entry = choose(index, self._choice, self._place)
        return Descriptor(entry.media_type, entry.digest, entry.size, artifact_type=entry.artifact_type)

    def _index(self) -> Index:
        try:
            return parse_layout_index(self._files.read("index.json", INDEX_LIMIT_BYTES), self._place)
        except NotFound:
            raise SourceError(f"{self._place} is no OCI image layout: it has no index.json") from None

    def _entries(self) -> Iterator[tuple[str, Descriptor]]:
        for entry in self._index().manifests:
            if entry.is_manifest or entry.is_index:
                yield ref_name(entry) or "", entry


class LayoutSource(LayoutReader):
    """A package in a folder that is an image layout."""

    def __init__(self, directory: Directory, choice: str | Digest | None = None) -> None:
        """Takes the directory over: closing the source closes it."""
        super().__init__(Folder(directory), directory.path, choice)


class LayoutTarget:
    """An image layout in a folder: a new one, or one that gets another package. A `Target`."""

    def __init__(self, directory: Directory) -> None:
        """Takes the directory over: closing the target closes it."""
        self._directory = directory
        self._opened: dict[str, Directory] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The path."""
        return self._directory.path

    async def close(self) -> None:
        """Closes the folders. Blobs that were written stay: with the next try they are there already."""
        for directory in (*self._opened.values(), self._directory):
            directory.close()
        self._opened.clear()

    async def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether a file of that name and size is there."""
        return await asyncio.to_thread(self._has, descriptor)

    def _has(self, descriptor: Descriptor) -> bool:
        try:
            return self._directory.size(descriptor.digest.path) == descriptor.size
        except (NotFound, Refused):
            return False

    def place(self, descriptor: Descriptor) -> tuple[int, str]:
        """Where a blob's file goes: the folder, whose descriptor stays the target's, and the name in it.

        For an exporter that links instead of copying. Whatever is there under that name is removed. Blocks.
        """
        self._prepare()
        algorithm = descriptor.digest.algorithm
        with self._lock:
            if algorithm not in self._opened:
                self._opened[algorithm] = self._directory.make_directory(f"blobs/{algorithm}")
        self._opened[algorithm].remove_file(descriptor.digest.hex)
        return self._opened[algorithm].fileno(), descriptor.digest.hex

    async def push_blob(
        self, descriptor: Descriptor, read: ReadBlob, *, mount_from: Sequence[str] = ()
    ) -> None:
        """Writes a blob's file; it appears under its name when it is whole and its digest is right."""
        await stoppable(lambda check: self._write(descriptor, read, check))

    async def push_manifest(self, descriptor: Descriptor, raw: bytes, tag: str | None = None) -> None:
        """Writes a manifest's file; `finish` gives it its name."""
        await self.push_blob(descriptor, lambda offset, length: raw[offset : offset + length])

    def _write(self, descriptor: Descriptor, read: ReadBlob, check: Callable[[], None]) -> None:
        self._prepare()
        self._directory.make_directory(f"blobs/{descriptor.digest.algorithm}").close()

        def write(file: int) -> None:
            for piece in blob_pieces(descriptor, read):
                check()
                write_all(file, piece)

        self._directory.replace_file(descriptor.digest.path, write)

    async def finish(self, root: Descriptor, name: str | None = None) -> None:
        """Lists the package in `index.json`, under a tag that it takes over from another."""
        await asyncio.to_thread(self._finish, root, name)

    def _finish(self, root: Descriptor, name: str | None) -> None:
        self._prepare()
        try:
            before = self._directory.read_file("index.json", INDEX_LIMIT_BYTES)
            parse_layout_index(before, self.name)
        except NotFound:
            before = None
        after = with_entry(before, root, name)
        self._directory.replace_file("index.json", lambda file: write_all(file, after))

    def _prepare(self) -> None:
        """Makes an empty folder a layout, and refuses one that is something else."""
        with self._lock:
            if self._directory.exists("oci-layout"):
                return
            if self._directory.list():
                raise Refused(
                    f"{self.name} is not empty and no image layout; choose an empty folder, or a new one"
                )
            self._directory.replace_file("oci-layout", lambda file: write_all(file, LAYOUT_FILE))


def blob_pieces(descriptor: Descriptor, read: ReadBlob) -> Iterator[bytes]:
    """A blob in pieces; `IntegrityError` instead of the last one when the digest is not right."""
    proof = hashlib.new(descriptor.digest.algorithm)
    for offset in range(0, descriptor.size, PIECE_BYTES):
        length = min(PIECE_BYTES, descriptor.size - offset)
        piece = read(offset, length)
        proof.update(piece)
        if len(piece) != length:
            raise IntegrityError(f"{descriptor.digest} is shorter here than its descriptor says")
        if offset + length == descriptor.size and proof.hexdigest() != descriptor.digest.hex:
            raise _wrong_bytes(descriptor)
        yield piece
    if descriptor.size == 0 and proof.hexdigest() != descriptor.digest.hex:
        raise _wrong_bytes(descriptor)


def _wrong_bytes(descriptor: Descriptor) -> IntegrityError:
    return IntegrityError(f"the bytes of {descriptor.digest} are wrong here; fetch it again")


def write_all(file: int, data: bytes) -> None:
    """Writes all of it: one `write` may stop before the end."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
