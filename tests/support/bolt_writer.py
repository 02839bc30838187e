"""Writes bolt databases, as small as they can be: a leaf, or several beneath a branch; buckets inline."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

PAGE_BYTES = 4096
_BRANCH, _LEAF, _META = 1, 2, 4
ROOT = 3
Tree = Mapping[bytes, Any]
"""Keys with bytes, or a tree of their own."""


def bolt_file(tree: Tree, *, transaction: int = 7, leaf_keys: int | None = None) -> bytes:
    """A whole file; `leaf_keys` is how many keys a leaf of the root has, None: all."""
    items = sorted(tree.items())
    step = leaf_keys or max(1, len(items))
    parts = [items[at : at + step] for at in range(0, len(items), step)] or [[]]
    leaves = [leaf(part) for part in parts]
    nodes = leaves if len(leaves) == 1 else [_above(parts, leaves), *leaves]
    return file_of(nodes, transaction)


def file_of(nodes: Sequence[bytes], transaction: int = 7) -> bytes:
    """A whole file of these nodes, the first of which, on page 3, is the root."""
    metas = [_meta(number, transaction - 1 + number, ROOT) for number in (0, 1)]
    return b"".join(metas) + _page(2, 0x10, 0) + b"".join(nodes)


def leaf(items: list[tuple[bytes, Any]]) -> bytes:
    """A node of keys in order."""
    return _node(_LEAF, _elements(items))


def _elements(items: list[tuple[bytes, Any]]) -> bytes:
    headers, data = [], b""
    for number, (key, value) in enumerate(items):
        nested = isinstance(value, Mapping)
        raw = struct.pack("<QQ", 0, 0) + _inline(value) if nested else value
        place = (len(items) - number) * 16 + len(data)
        headers.append(struct.pack("<IIII", int(nested), place, len(key), len(raw)))
        data += key + raw
    return struct.pack("<H", len(items)) + b"".join(headers) + data


def _inline(tree: Tree) -> bytes:
    body = _elements(sorted(tree.items()))
    return struct.pack("<QH", 0, _LEAF) + body[:2] + struct.pack("<I", 0) + body[2:]


def _node(flags: int, body: bytes) -> bytes:
    size = -(-(16 + len(body) - 2) // PAGE_BYTES) * PAGE_BYTES
    head = struct.pack("<QH", 0, flags) + body[:2] + struct.pack("<I", size // PAGE_BYTES - 1)
    return (head + body[2:]).ljust(size, b"\0")


def _above(parts: list[list[tuple[bytes, Any]]], leaves: list[bytes]) -> bytes:
    """The root; the leaves lie behind it, one after the other."""
    keys = [part[0][0] for part in parts]
    page = ROOT + len(branch([(key, 0) for key in keys])) // PAGE_BYTES
    children = []
    for key, leaf in zip(keys, leaves, strict=True):
        children.append((key, page))
        page += len(leaf) // PAGE_BYTES
    return branch(children)


def branch(children: list[tuple[bytes, int]]) -> bytes:
    """A node that leads to others, each with its first key and its page."""
    headers, data = b"", b""
    for number, (key, page) in enumerate(children):
        headers += struct.pack("<IIQ", (len(children) - number) * 16 + len(data), len(key), page)
        data += key
    return _node(_BRANCH, struct.pack("<H", len(children)) + headers + data)


def _page(number: int, flags: int, count: int, body: bytes = b"") -> bytes:
    return (struct.pack("<QHHI", number, flags, count, 0) + body).ljust(PAGE_BYTES, b"\0")


def _meta(number: int, transaction: int, root: int) -> bytes:
    body = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, PAGE_BYTES, 0, root, 0, 2, 99, transaction)
    checksum = 0xCBF29CE484222325
    for byte in body:
        checksum = (checksum ^ byte) * 0x100000001B3 % (1 << 64)
    return _page(number, _META, 0, body + struct.pack("<Q", checksum))
