"""Packages in files of this machine: what sources have in common whose blobs are files, or parts of one.

Names of files are made of digests, never of what a file says.
"""

import asyncio
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable
from typing import Protocol

import structlog

from peat_sidecar.confined import Directory
from peat_sidecar.errors import IntegrityError, NotFound, PeatError, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.oci.documents import DOCUMENT_LIMIT_BYTES, as_referrer, checked, referrers_in, referrers_tag
from peat_sidecar.packages import Descriptor, Index, parse_manifest

PIECE_BYTES = 1 << 20
_REFERRERS_LOOKED_AT = 10_000

_log = structlog.get_logger(__name__)


class Files(Protocol):
    """Files by name, be they in a folder or in an archive. Every call may block."""

    def read(self, name: str, limit_bytes: int) -> bytes:
        """A whole small file; `NotFound` when there is none."""
        ...

    def open(self, name: str) -> tuple[int, int, int]:
        """A descriptor to read from, for the caller to close; where in it the file begins, and its size."""
        ...

    def close(self) -> None:
        """Gives up what is open."""
        ...


class FileReader(ABC):
    """A package whose blobs are read from files. A `Source`; each kind of place says what was chosen there,
    and what else is there.
    """

    def __init__(self, files: Files, place: str, choice: str | Digest | None) -> None:
        """The choice is a name or a digest, or None where the place holds one package only."""
        self._files = files
        self._place = place
        self._choice = choice

    @abstractmethod
    def _resolve(self) -> Descriptor:
        """The root of the chosen package."""

    @abstractmethod
    def _entries(self) -> Iterable[tuple[str, Descriptor]]:
        """Manifests that may refer to others, with their tag; empty where one has none."""

    def _file_name(self, digest: Digest) -> str:
        """Of the file that is a blob."""
        return digest.path

    @property
    def name(self) -> str:
        """The path, and what was chosen there."""
        return f"{self._place}:{self._choice}" if self._choice else self._place

    async def close(self) -> None:
        """Closes the files."""
        await asyncio.to_thread(self._files.close)

    async def resolve(self) -> Descriptor:
        """The root of the chosen package."""
        return await asyncio.to_thread(self._resolve)

    async def read_document(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or index, checked."""
        return await asyncio.to_thread(self._read_document, descriptor)

    def _read_document(self, descriptor: Descriptor) -> bytes:
        raw = self._files.read(self._file_name(descriptor.digest), DOCUMENT_LIMIT_BYTES)
        return checked(raw, descriptor, self._place)

    async def blob(self, descriptor: Descriptor, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob from an offset on."""
        file, begin, end = await asyncio.to_thread(self._open_blob, descriptor)
        try:
            position = begin + offset
            while position < end:
                piece = await asyncio.to_thread(os.pread, file, min(PIECE_BYTES, end - position), position)
                if not piece:
                    raise IntegrityError(f"{self._place} changed: {descriptor.digest} is shorter than before")
                position += len(piece)
                yield piece
        except OSError as error:
            raise SourceError(f"{self._place} cannot be read: {error.strerror}; look at the disk") from error
        finally:
            os.close(file)

    def _open_blob(self, descriptor: Descriptor) -> tuple[int, int, int]:
        try:
            file, begin, size = self._files.open(self._file_name(descriptor.digest))
        except NotFound:
            raise NotFound(f"{self._place} lacks {descriptor.digest}, though a manifest names it") from None
        if size != descriptor.size:
            os.close(file)
            raise IntegrityError(
                f"{descriptor.digest} has {size} bytes in {self._place}, its manifest says {descriptor.size}"
            )
        return file, begin, begin + size

    def local_file(self, descriptor: Descriptor) -> int | None:
        """A descriptor of the blob's own file, to be linked instead of copied, for the caller to close; None
        where it is a part of another.
        """
        file, begin, _ = self._open_blob(descriptor)
        if begin == 0 and os.fstat(file).st_size == descriptor.size:
            return file
        os.close(file)
        return None

    async def referrers(self, descriptor: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        """Entries whose subject this is, and what the tag made of its digest lists. Those that cannot be read
        are passed over.
        """
        return await asyncio.to_thread(self._referrers, descriptor, artifact_type)

    def _referrers(self, descriptor: Descriptor, artifact_type: str | None) -> list[Descriptor]:
        found: dict[Digest, Descriptor] = {}
        for tag, entry in itertools.islice(self._entries(), _REFERRERS_LOOKED_AT):
            try:
                listed = self._referrers_by(tag, entry, descriptor.digest, artifact_type)
            except NotFound:  # listed, and not there: some are sparse
                continue
            except PeatError as error:
                _log.warning("a referrer cannot be read", entry=entry.digest, error=str(error))
                continue
            found |= {each.digest: each for each in listed}
        return list(found.values())

    def _referrers_by(
        self, tag: str, entry: Descriptor, subject: Digest, artifact_type: str | None
    ) -> list[Descriptor]:
        """What an entry says refers to the subject: itself, or those that it lists."""
        raw = self._read_document(entry)
        if tag == referrers_tag(subject):
            listed = parse_manifest(raw, entry.media_type)
            return referrers_in(listed, artifact_type) if isinstance(listed, Index) else []
        named, referrer = as_referrer(raw, entry)
        return [referrer] if named == subject and artifact_type in (None, referrer.artifact_type) else []

    def _unlisted(self, digest: Digest) -> Descriptor:
        """A manifest that is there, by its digest alone; its file says what it is."""
        try:
            raw = self._files.read(self._file_name(digest), DOCUMENT_LIMIT_BYTES)
        except NotFound:
            raise NotFound(f"{self._place} has nothing with the digest {digest}") from None
        document = parse_manifest(raw, None)
        return Descriptor(
            document.descriptor.media_type, digest, len(raw), artifact_type=document.artifact_type
        )


class Folder:
    """Files in a folder; links in it are not followed."""

    def __init__(self, directory: Directory) -> None:
        """Takes the directory over."""
        self._directory = directory

    def read(self, name: str, limit_bytes: int) -> bytes:
        """As `Files`."""
        return self._directory.read_file(name, limit_bytes)

    def open(self, name: str) -> tuple[int, int, int]:
        """As `Files`."""
        file = self._directory.open_file(name)
        return file, 0, os.fstat(file).st_size

    def close(self) -> None:
        """As `Files`."""
        self._directory.close()
