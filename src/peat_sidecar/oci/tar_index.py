"""Finds the files of an image layout in a tar, in one pass over its headers and in bounded memory.

Made for hostile tars. Only plain files with the names of a layout are remembered; links, devices, sparse
files and other names are passed over, so they cannot stand for anything. Long names (GNU and pax) are read
up to a bound, `tarfile` would read a header of any length into memory. Nothing is unpacked.
"""

import os
import re
import tarfile
from dataclasses import dataclass, field

from peat_sidecar.errors import SourceError

_BLOCK = 512
_MEMBERS = 500_000
_FILES = 110_000
_HEADER_LIMIT_BYTES = 64 << 10
_WANTED = re.compile(
    r"(?:\./)*(oci-layout|index\.json|manifest\.json|blobs/(?:sha256/[0-9a-f]{64}|sha512/[0-9a-f]{128}))"
)
_PLAIN_FILE = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_WITHOUT_DATA = (
    tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE
)  # fmt: skip
_PAX_RECORD = re.compile(rb"(\d{1,6}) ([^=\n]{1,255})=")


@dataclass(slots=True)
class TarIndex:
    """Where the files of a layout lie in a tar."""

    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Begin and size in bytes, by name; of a blob that is there twice, the first."""
    skipped: set[str] = field(default_factory=set)
    """Names of a layout that belong to something else than a plain file."""


@dataclass(slots=True)
class _Next:
    """What extended headers say about the member after them."""

    name: str | None = None
    size: int | None = None


def index_tar(file: int, place: str) -> TarIndex:
    """Reads the headers of a plain tar; `SourceError` when it is cut off, damaged or absurd."""
    index = TarIndex()
    position, end = 0, os.fstat(file).st_size
    extended = _Next()
    for _ in range(_MEMBERS):
        block = os.pread(file, _BLOCK, position)
        if position > 0 and not block.strip(b"\0"):
            return index
        if len(block) < _BLOCK:
            raise SourceError(f"{place} is cut off, or no tar")
        header = _parse_header(block, place)
        begin = position + _BLOCK
        size = header.size if extended.size is None else extended.size
        if header.type in _WITHOUT_DATA:
            size = 0
        position = begin + -(-size // _BLOCK) * _BLOCK
        if begin + size > end:
            raise SourceError(f"{place} is cut off in {header.name[:100]!r}")
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            _read_extended(_read(file, begin, size, place), header.type, extended, place)
            continue
        if header.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            continue
        _remember(index, extended.name or header.name, header.type, begin, size, place)
        extended = _Next()
    raise SourceError(f"{place} has more than {_MEMBERS} members; no image layout needs so many")


def _parse_header(block: bytes, place: str) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError) as error:
        raise SourceError(f"{place} is damaged, or no tar: {error}") from None
    if header.size < 0:
        raise SourceError(f"{place} is damaged: a member has a negative size")
    return header


def _read(file: int, begin: int, size: int, place: str) -> bytes:
    if size > _HEADER_LIMIT_BYTES:
        raise SourceError(f"{place} has an extended header of {size} bytes; no image layout needs that")
    return os.pread(file, size, begin)


def _read_extended(raw: bytes, kind: bytes, extended: _Next, place: str) -> None:
    if kind == tarfile.GNUTYPE_LONGNAME:
        extended.name = raw.rstrip(b"\0").decode("utf-8", "surrogateescape")
        return
    position = 0
    while position < len(raw) and raw[position] != 0:
        record = _PAX_RECORD.match(raw, position)
        length = int(record[1]) if record else 0
        if not record or length <= len(record[0]) or position + length > len(raw):
            raise SourceError(f"{place} is damaged: an extended header cannot be read")
        value = raw[record.end() : position + length - 1]
        if record[2] == b"path":
            extended.name = value.decode("utf-8", "surrogateescape")
        elif record[2] == b"size":
            if not value.isdigit() or len(value) > 18:
                raise SourceError(f"{place} is damaged: a member has no usable size")
            extended.size = int(value)
        elif record[2].startswith(b"GNU.sparse."):
            raise SourceError(f"{place} has sparse members; pack it again without --sparse")
        position += length


def _remember(index: TarIndex, name: str, kind: bytes, begin: int, size: int, place: str) -> None:
    wanted = _WANTED.fullmatch(name)
    if not wanted:
        return
    name = wanted[1]
    if kind not in _PLAIN_FILE:
        index.skipped.add(name)
        return
    if name in index.files:
        if not name.startswith("blobs/"):  # a blob proves itself by its digest, these do not
            raise SourceError(f"{place} has {name} twice; pack it again")
        return
    if len(index.files) >= _FILES:
        raise SourceError(f"{place} has more than {_FILES} blobs")
    index.files[name] = (begin, size)
