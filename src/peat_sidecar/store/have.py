"""The map of a partial blob: which 16 KiB groups are proven and on disk.

    8 bytes `PEATHAVE`, u16 version, u16 flags, u64 size, u16 + text expected digest, u16 + text media type,
    u32 + so many u64: group numbers, where runs of held groups begin and end in turn,
    32 bytes BLAKE3 of all before; integers little-endian

Runs, not bits: a peer may claim a size of 2^60 bytes, and that must cost nothing. A map that is not whole, or
not of this version, counts as no map: then the groups are found by hashing.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from peat_sidecar.bao import GROUP_CHUNKS, chunk_count, group_count
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Digest
from peat_sidecar.ranges import ChunkRanges

_MAGIC = b"PEATHAVE"
_VERSION = 1
_HEAD = struct.Struct("<8sHHQ")
_SIZE_KNOWN, _SIZE_PROVEN, _SETTLED = 1, 2, 4


@dataclass(frozen=True, slots=True)
class HaveMap:
    """What is known of a partial blob between two runs of the program."""

    size: int | None = None
    """Bytes of the whole blob, once anyone has said it."""
    size_proven: bool = False
    """The last chunk was verified, which no other size allows."""
    settled: bool = False
    """Written when the blob was put away in order: there is nothing on disk beyond what the map says."""
    expected: Digest | None = None
    """What the whole has to hash to."""
    media_type: str | None = None
    have: ChunkRanges = field(default_factory=ChunkRanges.none)
    """Whole groups that are proven and on disk."""


def encode_have(known: HaveMap) -> bytes:
    flags = _SIZE_PROVEN * known.size_proven | _SETTLED * known.settled
    if known.size is not None:
        flags |= _SIZE_KNOWN
    groups = _groups(known.have, known.size) if known.size is not None else []
    body = _HEAD.pack(_MAGIC, _VERSION, flags, known.size or 0)
    body += _text(str(known.expected) if known.expected else "") + _text(known.media_type or "")
    body += struct.pack(f"<I{len(groups)}Q", len(groups), *groups)
    return body + blake3(body).digest()


def parse_have(data: bytes) -> HaveMap | None:
    """None for anything that `encode_have` did not write."""
    body, check = data[:-32], data[-32:]
    if len(body) < _HEAD.size or blake3(body).digest() != check:
        return None
    magic, version, flags, size = _HEAD.unpack_from(body)
    if magic != _MAGIC or version != _VERSION:
        return None
    try:
        expected, offset = _parse_text(body, _HEAD.size)
        media_type, offset = _parse_text(body, offset)
        (length,) = struct.unpack_from("<I", body, offset)
        groups = struct.unpack_from(f"<{length}Q", body, offset + 4)
        digest = Digest.parse(expected) if expected else None
        known_size = size if flags & _SIZE_KNOWN else None
        have = _ranges(groups, known_size) if known_size is not None else ChunkRanges.none()
    except (struct.error, UnicodeDecodeError, ConfigError, ValueError):
        return None
    proven, settled = bool(flags & _SIZE_PROVEN), bool(flags & _SETTLED)
    return HaveMap(known_size, proven, settled, digest, media_type or None, have)


def read_have(path: Path) -> HaveMap | None:
    try:
        return parse_have(path.read_bytes())
    except FileNotFoundError:
        return None


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<H", len(data)) + data


def _parse_text(body: bytes, offset: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<H", body, offset)
    return body[offset + 2 : offset + 2 + length].decode(), offset + 2 + length


def _groups(have: ChunkRanges, size: int) -> list[int]:
    """Where runs of held groups begin and end."""
    boundaries: list[int] = []
    for start, end in have.intervals():
        last = group_count(size) if end is None else -(-end // GROUP_CHUNKS)
        boundaries += [start // GROUP_CHUNKS, last]
    return boundaries


def _ranges(boundaries: tuple[int, ...], size: int) -> ChunkRanges:
    chunks = chunk_count(size)
    return ChunkRanges.from_boundaries(min(group * GROUP_CHUNKS, chunks) for group in boundaries)
