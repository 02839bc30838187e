"""The getter's side: bytes of the wire in, verified data out. Sans-I/O.

Nothing is given out, and no pair is followed, that does not hash up to the blob's hash; so a wrong size,
which gives the tree another shape, is found at the latest with the last chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from peat_sidecar.bao import kernel
from peat_sidecar.bao.tree import PAIR_SIZE, RUN_CHUNKS, Pair, Run, plan, require_run_chunks
from peat_sidecar.errors import IntegrityError
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import CHUNK_SIZE, ChunkRanges


@dataclass(frozen=True, slots=True)
class Verified:
    """A run whose every byte is proven, with the pairs that prove it."""

    start: int
    """The first chunk."""
    data: bytes
    outboard: tuple[tuple[int, bytes], ...]
    """Offset in the outboard and pairs: all that are kept in an outboard and came since the last run."""


class Decoder:
    """Verifies what a provider sends of a blob whose size it has said.

    Take `needed` bytes from the stream and `feed` them, until `needed` is 0. One step is a run and the pairs
    that lead to it: at most `run_chunks` KiB, 1/256 of that, and 4 KiB, whatever size is claimed. When `feed`
    fails nothing has changed.

    An empty blob has no step: that a blob is empty is verified at once, and IntegrityError when it is not.
    """

    def __init__(
        self, blob_hash: BlobHash, size: int, ranges: ChunkRanges, run_chunks: int = RUN_CHUNKS
    ) -> None:
        self._hash = blob_hash
        self._size = size
        self._run_chunks = require_run_chunks(run_chunks)
        self._steps = plan(size, ranges, lambda: self._run_chunks)
        self._expected = [blob_hash.value]
        """Chaining values of the subtrees that are still to come, the next one last."""
        self.size_proven = False
        """The last chunk was verified, which no other size allows."""
        self._pairs: list[Pair] = []
        self._run: Run | None = None
        self.needed = 0
        """Bytes that the next `feed` takes; 0: everything is verified."""
        self._advance()
        if size == 0 and ranges:
            self.feed(b"")

    @property
    def run_chunks(self) -> int:
        """The most chunks of one step; may be set at any time, and holds for the steps after the next one."""
        return self._run_chunks

    @run_chunks.setter
    def run_chunks(self, value: int) -> None:
        self._run_chunks = require_run_chunks(value)

    def feed(self, data: bytes | bytearray | memoryview) -> Verified | None:
        """Verifies exactly `needed` bytes. IntegrityError: they are not the blob's, or its size is wrong."""
        run = self._run
        if run is None or len(data) != self.needed:
            raise ValueError(f"the next step takes {self.needed} bytes, not {len(data)}")
        with memoryview(data) as view:
            lead = bytes(view[: len(self._pairs) * PAIR_SIZE])
            expected = self._follow(lead)
            with view[len(lead) :] as wire:
                found = kernel.verify(expected.pop(), wire, run.start, run.length, run.is_root)
        if found is None:
            raise self._wrong(run.start)
        content, pairs = found
        verified = Verified(run.start, content, self._outboard(lead, run, pairs))
        self._expected = expected
        self.size_proven = self.size_proven or run.start * CHUNK_SIZE + run.length >= self._size
        self._advance()
        return verified

    def _advance(self) -> None:
        """Plans the next step: pairs, and the run to which they lead."""
        self._pairs, self._run = [], None
        for step in self._steps:
            if isinstance(step, Run):
                self._run = step
                self.needed = len(self._pairs) * PAIR_SIZE + step.wire_length
                return
            self._pairs.append(step)
        self.needed = 0

    def _follow(self, lead: bytes) -> list[bytes]:
        """What is expected of the subtrees to come, once these pairs are verified."""
        expected = self._expected.copy()
        for index, pair in enumerate(self._pairs):
            both = lead[index * PAIR_SIZE : (index + 1) * PAIR_SIZE]
            if kernel.parent(both, pair.is_root) != expected.pop():
                raise self._wrong(pair.start)
            expected += wanted_values(pair, both)
        return expected

    def _outboard(self, lead: bytes, run: Run, inside: bytes) -> tuple[tuple[int, bytes], ...]:
        """The pairs that an outboard keeps, neighbours put together."""
        pieces: list[tuple[int, bytes]] = []
        for offset, pairs in self._kept(lead, run, inside):
            if pieces and pieces[-1][0] + len(pieces[-1][1]) == offset:
                offset, before = pieces.pop()
                pairs = before + pairs
            pieces.append((offset, pairs))
        return tuple(pieces)

    def _kept(self, lead: bytes, run: Run, inside: bytes) -> Iterator[tuple[int, bytes]]:
        for index, pair in enumerate(self._pairs):
            if pair.outboard_offset is not None:
                yield pair.outboard_offset, lead[index * PAIR_SIZE : (index + 1) * PAIR_SIZE]
        if inside:
            yield run.outboard_offset, inside

    def _wrong(self, chunk: int) -> IntegrityError:
        return IntegrityError(
            f"the bytes that came for blob {self._hash} are not its own, from byte {chunk * CHUNK_SIZE} on"
            f" (its size was said to be {self._size})"
        )


def wanted_values(pair: Pair, both: bytes) -> list[bytes]:
    """Chaining values of the parts of a pair that follow, the next one last."""
    values = [both[32:]] if pair.right else []
    return [*values, both[:32]] if pair.left else values
