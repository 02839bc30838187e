"""OCI image layouts: folders with `oci-layout`, `index.json` and `blobs/<algorithm>/<hex>`.

Links inside a layout are not followed, and names are made of digests only, never of what a file says.
"""

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Protocol

from peat_sidecar.confined import Directory
from peat_sidecar.errors import IntegrityError, NotFound, Refused, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.oci.documents import DOCUMENT_LIMIT_BYTES, as_referrer, checked, referrers_in, referrers_tag
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
from peat_sidecar.packages import Descriptor, Index, parse_manifest

PIECE_BYTES = 1 << 20
INDEX_LIMIT_BYTES = 4 << 20
_REFERRERS_LOOKED_AT = 10_000


class LayoutFiles(Protocol):
    """The files of a layout by name, be they in a folder or in an archive. Every call may block."""

    def read(self, name: str, limit_bytes: int) -> bytes:
        """A whole small file; `NotFound` when there is none."""
        ...

    def open(self, name: str) -> tuple[int, int, int]:
        """A descriptor to read from, for the caller to close; where in it the file begins, and its size."""
        ...

    def close(self) -> None:
        """Gives up what is open."""
        ...


class LayoutReader:
    """A package in an image layout, whatever holds the files. A `Source`."""

    def __init__(self, files: LayoutFiles, name: str, choice: str | Digest | None) -> None:
        """The choice is a tag, a digest, or None where the layout holds one package only."""
        self._files = files
        self._name = name
        self._choice = choice

    @property
    def name(self) -> str:
        """The path, and what was chosen there."""
        return f"{self._name}:{self._choice}" if self._choice else self._name

    async def close(self) -> None:
        """Closes the files."""
        await asyncio.to_thread(self._files.close)

    async def resolve(self) -> Descriptor:
        """The root of the chosen package."""
        return await asyncio.to_thread(self._resolve)

    def _resolve(self) -> Descriptor:
        try:
            parse_layout_file(self._files.read("oci-layout", 4096), self._name)
        except NotFound:
            raise SourceError(f"{self._name} is no OCI image layout: it has no file oci-layout") from None
        index = self._index()
        if isinstance(self._choice, Digest):
            entry = by_digest(index, self._choice) or self._unlisted(self._choice)
        else:
            entry = choose(index, self._choice, self._name)
        return Descriptor(entry.media_type, entry.digest, entry.size, artifact_type=entry.artifact_type)

    def _index(self) -> Index:
        try:
            return parse_layout_index(self._files.read("index.json", INDEX_LIMIT_BYTES), self._name)
        except NotFound:
            raise SourceError(f"{self._name} is no OCI image layout: it has no index.json") from None

    def _unlisted(self, digest: Digest) -> Descriptor:
        """A manifest that no entry of `index.json` names, but that is there."""
        try:
            raw = self._files.read(digest.path, DOCUMENT_LIMIT_BYTES)
        except NotFound:
            raise NotFound(f"{self._name} has nothing with the digest {digest}") from None
        document = parse_manifest(raw, None)
        return Descriptor(
            document.descriptor.media_type, digest, len(raw), artifact_type=document.artifact_type
        )

    async def read_document(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or index, checked."""
        return await asyncio.to_thread(self._read_document, descriptor)

    def _read_document(self, descriptor: Descriptor) -> bytes:
        raw = self._files.read(descriptor.digest.path, DOCUMENT_LIMIT_BYTES)
        return checked(raw, descriptor, self._name)

    async def blob(self, descriptor: Descriptor, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob from an offset on."""
        file, begin, end = await asyncio.to_thread(self._open_blob, descriptor)
        try:
            position = begin + offset
            while position < end:
                piece = await asyncio.to_thread(os.pread, file, min(PIECE_BYTES, end - position), position)
                if not piece:
                    raise IntegrityError(f"{self._name} changed: {descriptor.digest} is shorter than before")
                position += len(piece)
                yield piece
        except OSError as error:
            raise SourceError(f"{self._name} cannot be read: {error.strerror}; look at the disk") from error
        finally:
            os.close(file)

    def _open_blob(self, descriptor: Descriptor) -> tuple[int, int, int]:
        try:
            file, begin, size = self._files.open(descriptor.digest.path)
        except NotFound:
            raise NotFound(f"{self._name} lacks {descriptor.digest}, though a manifest names it") from None
        if size != descriptor.size:
            os.close(file)
            raise IntegrityError(
                f"{descriptor.digest} has {size} bytes in {self._name}, its manifest says {descriptor.size}"
            )
        return file, begin, begin + size

    def local_file(self, descriptor: Descriptor) -> int | None:
        """The blob's own file, where it has one."""
        return None

    async def referrers(self, descriptor: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        """Entries of `index.json` whose subject this is, and what the tag made of its digest lists."""
        return await asyncio.to_thread(self._referrers, descriptor, artifact_type)

    def _referrers(self, descriptor: Descriptor, artifact_type: str | None) -> list[Descriptor]:
        found: dict[Digest, Descriptor] = {}
        tag = referrers_tag(descriptor.digest)
        for entry in self._index().manifests[:_REFERRERS_LOOKED_AT]:
            if not entry.is_manifest and not entry.is_index:
                continue
            with contextlib.suppress(NotFound):  # listed, and not there: a sparse layout
                raw = self._read_document(entry)
                if ref_name(entry) == tag:
                    listed = parse_manifest(raw, entry.media_type)
                    if isinstance(listed, Index):
                        found |= {each.digest: each for each in referrers_in(listed, artifact_type)}
                    continue
                subject, referrer = as_referrer(raw, entry)
                if subject == descriptor.digest and artifact_type in (None, referrer.artifact_type):
                    found[referrer.digest] = referrer
        return list(found.values())


class LayoutSource(LayoutReader):
    """A package in a folder that is an image layout."""

    def __init__(self, directory: Directory, choice: str | Digest | None = None) -> None:
        """Takes the directory over: closing the source closes it."""
        super().__init__(_Folder(directory), directory.path, choice)

    def local_file(self, descriptor: Descriptor) -> int | None:
        """A descriptor of the blob's file, to be linked instead of copied; the caller closes it."""
        return self._open_blob(descriptor)[0]


class _Folder:
    """The files of a layout in a folder."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def read(self, name: str, limit_bytes: int) -> bytes:
        return self._directory.read_file(name, limit_bytes)

    def open(self, name: str) -> tuple[int, int, int]:
        file = self._directory.open_file(name)
        return file, 0, os.fstat(file).st_size

    def close(self) -> None:
        self._directory.close()


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
