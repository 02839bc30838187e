"""Reads a bolt database (go.etcd.io/bbolt) that another program may be writing, without a lock.

A file of pages: two *meta* pages, of which the one with the higher transaction counts, and a tree of *branch*
and *leaf* pages for each bucket; a small bucket lies inside the value of its parent. A page that the last
transaction uses is never overwritten before the next but one, so what was read is whole when the
last transaction is still the same afterwards; else it is read again. All numbers are little-endian, as on
every machine that runs a cluster. Blocks.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import TypeVar

from peat_sidecar.errors import SourceError

Result = TypeVar("Result")

_PAGE = Struct("<QHHI")  # id, flags, count, pages that follow
_META = Struct("<IIIIQQQQQ")  # magic, version, page size, flags, root, sequence, free, end, transaction
_CHECKSUM = Struct("<Q")
_BRANCH = Struct("<IIQ")  # where the key begins, its size, page
_LEAF = Struct("<IIII")  # flags, where the key begins, its size, size of the value
_BUCKET = Struct("<QQ")  # page, sequence
_MAGIC, _VERSION = 0xED0CDAED, 2
_BRANCH_PAGE, _LEAF_PAGE, _IS_BUCKET = 1, 2, 1
_PAGE_SIZES = [1 << shift for shift in range(10, 17)]
_NODE_LIMIT_BYTES = 64 << 20
_READ_AGAIN = 8
"""How often all bytes of a file may be looked at: as nodes, and as values of buckets that lie in others."""
_DEPTH_LIMIT = 32
_TRIES = 20


@dataclass(frozen=True, slots=True)
class _Meta:
    page_size: int
    root: int
    transaction: int


class Bucket:
    """Keys in order, each with bytes or a bucket of its own."""

    def __init__(self, pages: "_Pages", header: bytes) -> None:
        """The header is the value that stands for the bucket, with its page behind it where it is small."""
        if len(header) < _BUCKET.size:
            raise SourceError("a bucket is cut short")
        root, _ = _BUCKET.unpack_from(header)
        self._pages = pages
        self._node = pages.read(root) if root else header[_BUCKET.size :]

    def items(self) -> Iterator[tuple[bytes, "bytes | Bucket"]]:
        """All of it."""
        for flags, key, value in self._leaves(self._node, 0):
            self._pages.spend(_LEAF.size + len(key) + len(value))
            yield key, Bucket(self._pages, value) if flags & _IS_BUCKET else value

    def buckets(self) -> Iterator[tuple[str, "Bucket"]]:
        """Those beneath it, with their names."""
        for key, value in self.items():
            if isinstance(value, Bucket):
                yield key.decode("utf-8", "replace"), value

    def bucket(self, name: str) -> "Bucket | None":
        """One beneath it."""
        return next((bucket for key, bucket in self.buckets() if key == name), None)

    def _leaves(self, node: bytes, depth: int) -> Iterator[tuple[int, bytes, bytes]]:
        _, flags, count, _ = _unpacked(_PAGE, node, 0)
        if flags == _LEAF_PAGE:
            yield from (_leaf(node, number) for number in range(count))
        elif flags == _BRANCH_PAGE and depth < _DEPTH_LIMIT:
            for number in range(count):
                _, _, page = _unpacked(_BRANCH, node, _PAGE.size + number * _BRANCH.size)
                yield from self._leaves(self._pages.read(page), depth + 1)
        else:
            raise SourceError("a page is neither branch nor leaf")


class _Pages:
    """The pages of a file, and how much may still be looked at, so that reading ends whatever they hold."""

    def __init__(self, file: int, page_size: int) -> None:
        self._file = file
        self._page_size = page_size
        self._left_bytes = _READ_AGAIN * os.fstat(file).st_size

    def read(self, page: int) -> bytes:
        """A node, with the pages that follow it."""
        begin = page * self._page_size
        _, _, _, following = _unpacked(_PAGE, _pread(self._file, _PAGE.size, begin), 0)
        size = (1 + following) * self._page_size
        if size > _NODE_LIMIT_BYTES:
            raise SourceError("a page is too large")
        self.spend(size)
        return _pread(self._file, size, begin)

    def spend(self, size: int) -> None:
        """Counts what is looked at."""
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise SourceError("pages lead to each other in a circle, or overlap")


def read_bolt(file: int, name: str, read: Callable[[Bucket], Result]) -> Result:
    """What `read` makes of the root bucket, at one moment. `SourceError` for what is no bolt database, or
    damaged. The descriptor stays open.
    """
    for _ in range(_TRIES):
        meta = _last_meta(file, name)
        try:
            found = read(Bucket(_Pages(file, meta.page_size), _BUCKET.pack(meta.root, 0)))
        except SourceError as error:
            if _last_meta(file, name) == meta:
                raise SourceError(f"{name} is damaged: {error}") from None
            continue
        if _last_meta(file, name) == meta:
            return found
    raise SourceError(f"{name} is written faster than it can be read; try again later")


def _last_meta(file: int, name: str) -> _Meta:
    """Of the two, the later one that is whole; the second begins at a page's end, whatever its size is."""
    found = [meta for begin in (0, *_PAGE_SIZES) if (meta := _meta(file, begin)) is not None]
    if not found:
        raise SourceError(f"{name} is no bolt database of version {_VERSION}, or not yet")
    return max(found, key=lambda meta: meta.transaction)


def _meta(file: int, begin: int) -> _Meta | None:
    raw = _pread(file, _META.size + _CHECKSUM.size, begin + _PAGE.size)
    if len(raw) < _META.size + _CHECKSUM.size:
        return None
    magic, version, page_size, _, root, _, _, _, transaction = _META.unpack_from(raw)
    (checksum,) = _CHECKSUM.unpack_from(raw, _META.size)
    whole = checksum == _fnv1a(raw[: _META.size]) and page_size in _PAGE_SIZES and begin in (0, page_size)
    return _Meta(page_size, root, transaction) if whole and (magic, version) == (_MAGIC, _VERSION) else None


def _leaf(node: bytes, number: int) -> tuple[int, bytes, bytes]:
    begin = _PAGE.size + number * _LEAF.size
    flags, place, key_size, value_size = _unpacked(_LEAF, node, begin)
    key = begin + place
    value = key + key_size
    if value + value_size > len(node):
        raise SourceError("a value lies outside its page")
    return flags, node[key:value], node[value : value + value_size]


def _unpacked(layout: Struct, raw: bytes, begin: int) -> tuple[int, ...]:
    if begin + layout.size > len(raw):
        raise SourceError("a page is cut short")
    return layout.unpack_from(raw, begin)


def _pread(file: int, size: int, begin: int) -> bytes:
    try:
        return os.pread(file, size, begin)
    except (OSError, OverflowError):  # a place that no file has
        return b""


def _fnv1a(data: bytes) -> int:
    """64 bits, as bolt sums its meta pages up."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return value
