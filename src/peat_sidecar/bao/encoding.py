"""The provider's side: the body of an answer, from the blob's data and outboard.

It costs what is sent: no byte is read that is not sent, except the rest of groups that are wanted in part,
whose pairs no outboard keeps and which are hashed again.
"""

from collections.abc import Callable, Iterator

from peat_sidecar.bao import kernel
from peat_sidecar.bao.decoding import wanted_values
from peat_sidecar.bao.tree import PAIR_SIZE, Pair, Run, plan
from peat_sidecar.errors import IntegrityError
from peat_sidecar.ranges import CHUNK_SIZE, GROUP_CHUNKS, GROUP_SIZE, ChunkRanges

Read = Callable[[int, int], bytes]
"""Reads (offset, length)."""

_WHOLE_TREE = 1 << 60
"""Chunks of a run that holds any tree."""


def encode(
    size: int, ranges: ChunkRanges, read_data: Read, read_outboard: Read, piece_bytes: int = 1 << 20
) -> Iterator[bytes]:
    """The body of one blob, without the size before it, in pieces of about `piece_bytes`, at least 16 KiB.

    IntegrityError when a read gives less than was asked for, or pairs or a partly wanted group do not fit the
    tree. Data of groups that are wanted as a whole is not hashed: the getter does that.
    """
    encoder = _Encoder(size, read_data, read_outboard)
    run_chunks = 1 << (max(piece_bytes, GROUP_SIZE) // CHUNK_SIZE).bit_length() - 1
    held: list[bytes] = []
    held_bytes = 0
    for pairs, run in _stretches(size, ranges, run_chunks):
        if held and held_bytes + run.wire_length > piece_bytes:
            yield b"".join(held)
            held, held_bytes = [], 0
        held.append(encoder.encode(pairs, run))
        held_bytes += len(held[-1])
    if held:
        yield b"".join(held)


def body_length(size: int, ranges: ChunkRanges) -> int:
    """Bytes of the body that `encode` gives."""
    steps = plan(size, ranges, _WHOLE_TREE)
    return sum(step.wire_length if isinstance(step, Run) else PAIR_SIZE for step in steps)


def _stretches(size: int, ranges: ChunkRanges, run_chunks: int) -> Iterator[tuple[list[Pair], Run]]:
    """Each run with the pairs that lead to it."""
    pairs: list[Pair] = []
    for step in plan(size, ranges, run_chunks):
        if isinstance(step, Pair):
            pairs.append(step)
        else:
            yield pairs, step
            pairs = []


class _Encoder:
    """Reads and interleaves one stretch after the other."""

    def __init__(self, size: int, read_data: Read, read_outboard: Read) -> None:
        self._size = size
        self._read_data = read_data
        self._read_outboard = read_outboard
        self._expected: list[bytes | None] = [None]
        """Chaining values of the subtrees that are still to come, the next one last; None: the root."""
        self._group = -1
        self._group_data = self._group_pairs = b""

    def encode(self, pairs: list[Pair], run: Run) -> bytes:
        stored, inside = self._stored(pairs, run)
        lead: list[bytes] = []
        for index, pair in enumerate(pairs):
            if pair.group_offset is None:
                both = stored[index * PAIR_SIZE : (index + 1) * PAIR_SIZE]
                self._check(kernel.parent(both, pair.is_root), pair.start)
            else:
                both = self._pair_in_group(pair, pair.group_offset)
            self._expected += wanted_values(pair, both)
            lead.append(both)
        self._expected.pop()
        return kernel.interleave(b"".join(lead), self._data(run), inside)

    def _stored(self, pairs: list[Pair], run: Run) -> tuple[bytes, bytes]:
        """Pairs of the outboard that lead to a run, and those inside it; neighbours are read together."""
        offsets = [pair.outboard_offset for pair in pairs if pair.outboard_offset is not None]
        wanted = [(offset, PAIR_SIZE) for offset in offsets]
        if run.outboard_length:
            wanted.append((run.outboard_offset, run.outboard_length))
        merged: list[tuple[int, int]] = []
        for offset, length in wanted:
            if merged and sum(merged[-1]) == offset:
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((offset, length))
        stored = b"".join([self._read(self._read_outboard, "outboard", *place) for place in merged])
        return stored[: len(offsets) * PAIR_SIZE], stored[len(offsets) * PAIR_SIZE :]

    def _data(self, run: Run) -> bytes:
        if run.start // GROUP_CHUNKS == self._group:
            offset = run.start * CHUNK_SIZE - self._group * GROUP_SIZE
            return self._group_data[offset : offset + run.length]
        return self._read(self._read_data, "data", run.start * CHUNK_SIZE, run.length)

    def _pair_in_group(self, pair: Pair, offset: int) -> bytes:
        """A pair below group level; the first one of a group reads and hashes the group."""
        if offset == 0:
            self._group = pair.start // GROUP_CHUNKS
            start = self._group * GROUP_SIZE
            length = min(GROUP_SIZE, self._size - start)
            self._group_data = self._read(self._read_data, "data", start, length)
            value, self._group_pairs = kernel.tree(self._group_data, pair.start, pair.is_root, 1)
            self._check(value, pair.start)
        else:
            self._expected.pop()
        return self._group_pairs[offset : offset + PAIR_SIZE]

    def _check(self, value: bytes, chunk: int) -> None:
        if self._expected.pop() not in (None, value):
            raise IntegrityError(
                f"data and tree of a stored blob do not fit together at byte {chunk * CHUNK_SIZE};"
                " remove the blob and get it again"
            )

    def _read(self, read: Read, what: str, offset: int, length: int) -> bytes:
        data = read(offset, length)
        if len(data) != length:
            raise IntegrityError(
                f"the {what} of a stored blob ends at {offset + len(data)}, where {length - len(data)} bytes"
                " more were expected; remove the blob and get it again"
            )
        return data
