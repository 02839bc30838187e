"""Verified pieces of a blob, as a getter's decoder hands them to the store."""

from collections.abc import Iterator

from peat_sidecar.bao import Pair, TreeBuilder, Verified, plan
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import ChunkRanges


def tree_of(data: bytes) -> tuple[BlobHash, bytes]:
    """Hash and pre-order pairs of a blob."""
    pairs: dict[int, bytes] = {}
    builder = TreeBuilder(len(data), lambda offset, piece: pairs.update({offset: bytes(piece)}))
    builder.update(data)
    blob_hash = builder.finish()
    return blob_hash, b"".join(pairs[offset] for offset in sorted(pairs))


def verified_pieces(
    data: bytes, pairs: bytes, ranges: ChunkRanges, run_chunks: int = 64
) -> Iterator[Verified]:
    """The ranges of a blob in the order of the wire, each run with the pairs that lead to it."""
    leading: list[tuple[int, bytes]] = []
    for step in plan(len(data), ranges, run_chunks):
        if isinstance(step, Pair):
            if step.outboard_offset is not None:
                leading.append(
                    (step.outboard_offset, pairs[step.outboard_offset : step.outboard_offset + 64])
                )
            continue
        if step.outboard_length:
            end = step.outboard_offset + step.outboard_length
            leading.append((step.outboard_offset, pairs[step.outboard_offset : end]))
        start = step.start * 1024
        yield Verified(step.start, data[start : start + step.length], tuple(leading))
        leading = []
