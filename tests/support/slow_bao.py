"""The slow twin of `peat_sidecar.bao`: BLAKE3 trees and the wire in plain Python, straight from the rules.

It shares no code with the program: sets of chunks are plain sets, trees are walked by recursion, and every
chaining value is computed one word at a time, two milliseconds a chunk.
"""

from collections.abc import Sequence
from functools import lru_cache

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
COLUMNS = (
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8


def interesting_sizes() -> dict[int, str]:
    """Sizes at which something changes, and what."""
    return {
        0: "one empty chunk",
        1: "less than a word",
        63: "a block but one byte",
        64: "one whole block",
        65: "two blocks",
        1023: "a chunk but one byte",
        1024: "one whole chunk, no pair",
        1025: "the first pair, below group level",
        3 * 1024: "a chunk without partner moves up",
        4 * 1024: "fills four lanes",
        7 * 1024 + 1: "eight chunks, the last one too short for a lane",
        8 * 1024: "fills eight lanes",
        15 * 1024: "a group but one chunk",
        16 * 1024 - 1: "a group but one byte",
        16 * 1024: "one whole group, sixteen lanes, empty outboard",
        16 * 1024 + 1: "the first pair of the outboard; a group of one byte",
        17 * 1024: "a group and a chunk",
        24 * 1024: "a group and half of one",
        31 * 1024 + 7: "two groups, the last one ragged",
        32 * 1024: "two whole groups",
        3 * 16 * 1024: "a group without partner moves up",
        5 * 16 * 1024 + 1025: "ragged on every level",
        65 * 1024 + 513: "four groups and a part",
    }


def compress(
    value: Sequence[int], block: bytes, counter: int, flags: int, length: int = 64
) -> tuple[int, ...]:
    """The compression function, cut to a chaining value."""
    m = [int.from_bytes(block[i : i + 4], "little") for i in range(0, 64, 4)]
    v = [*value, *IV[:4], counter & 0xFFFFFFFF, counter >> 32, length, flags]
    for _ in range(7):
        for column, (a, b, c, d) in enumerate(COLUMNS):
            for word, first, second in ((m[2 * column], 16, 12), (m[2 * column + 1], 8, 7)):
                v[a] = (v[a] + v[b] + word) & 0xFFFFFFFF
                v[d] = _rotate(v[d] ^ v[a], first)
                v[c] = (v[c] + v[d]) & 0xFFFFFFFF
                v[b] = _rotate(v[b] ^ v[c], second)
        m = [m[i] for i in PERMUTATION]
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def _rotate(word: int, by: int) -> int:
    return (word >> by | word << (32 - by)) & 0xFFFFFFFF


@lru_cache(10_000)
def chunk_value(chunk: bytes, counter: int, is_root: bool) -> bytes:
    """Chaining value of one chunk."""
    value: tuple[int, ...] = IV
    blocks = [chunk[i : i + 64] for i in range(0, len(chunk), 64)] or [b""]
    for i, block in enumerate(blocks):
        flags = (CHUNK_START if i == 0 else 0) | (CHUNK_END if i == len(blocks) - 1 else 0)
        if is_root and i == len(blocks) - 1:
            flags |= ROOT
        value = compress(value, block.ljust(64, b"\0"), counter, flags, len(block))
    return b"".join(word.to_bytes(4, "little") for word in value)


@lru_cache(10_000)
def parent_value(pair: bytes, is_root: bool) -> bytes:
    """Chaining value of a parent."""
    value = compress(IV, pair, 0, PARENT | (ROOT if is_root else 0))
    return b"".join(word.to_bytes(4, "little") for word in value)


def chunks_of(data: bytes) -> list[bytes]:
    return [data[i : i + 1024] for i in range(0, len(data), 1024)] or [b""]


def left_of(count: int) -> int:
    """The largest power of two below `count`."""
    left = 1
    while left * 2 < count:
        left *= 2
    return left


def subtree_value(chunks: Sequence[bytes], counter: int, is_root: bool) -> bytes:
    if len(chunks) == 1:
        return chunk_value(chunks[0], counter, is_root)
    return parent_value(pair_of(chunks, counter), is_root)


def pair_of(chunks: Sequence[bytes], counter: int) -> bytes:
    left = left_of(len(chunks))
    return subtree_value(chunks[:left], counter, False) + subtree_value(chunks[left:], counter + left, False)


def pairs_of(chunks: Sequence[bytes], leaf_chunks: int, counter: int = 0) -> bytes:
    """All pairs down to leaves of so many chunks, in pre-order."""
    if len(chunks) <= leaf_chunks:
        return b""
    left = left_of(len(chunks))
    below = pairs_of(chunks[:left], leaf_chunks, counter)
    return pair_of(chunks, counter) + below + pairs_of(chunks[left:], leaf_chunks, counter + left)


def root_of(data: bytes) -> bytes:
    return subtree_value(chunks_of(data), 0, True)


def outboard_of(data: bytes) -> bytes:
    return pairs_of(chunks_of(data), 16)


def selected_of(size: int, boundaries: Sequence[int]) -> set[int]:
    """Chunks that a provider answers: those asked for, and the last one for anything at or beyond it."""
    last = max(1, -(-size // 1024)) - 1
    chosen: set[int] = set()
    for i in range(0, len(boundaries), 2):
        end = boundaries[i + 1] if i + 1 < len(boundaries) else last + 1
        chosen |= set(range(boundaries[i], min(end, last + 1)))
        if i + 1 == len(boundaries) or end > last:
            chosen.add(last)
    return chosen


def encode(data: bytes, boundaries: Sequence[int]) -> bytes:
    """The body of an answer, without the size before it."""
    return _encode(chunks_of(data), 0, selected_of(len(data), boundaries))


def _encode(chunks: Sequence[bytes], first: int, chosen: set[int]) -> bytes:
    mine = chosen & set(range(first, first + len(chunks)))
    if not mine:
        return b""
    if len(chunks) == 1 or (len(chunks) <= 16 and len(mine) == len(chunks)):
        return b"".join(chunks)
    left = left_of(len(chunks))
    below = _encode(chunks[:left], first, chosen) + _encode(chunks[left:], first + left, chosen)
    return pair_of(chunks, first) + below
