"""Frames as they are taken in. Pure."""

from collections.abc import Iterable, Iterator

from peat_sidecar.wire import Batches, Frame, WireBatch

JOINED_BYTES = 192 << 10


def joined(frames: Iterable[Frame]) -> Iterator[tuple[Frame, int]]:
    """The same frames, but batches in a row as one, up to a limit; with how many each was.

    To store batches together takes the disk as long as to store one of them.
    """
    batches: list[WireBatch] = []
    count = size_bytes = 0
    for frame in frames:
        if isinstance(frame, Batches):
            batches += frame.batches
            count += 1
            size_bytes += sum(map(size_of, frame.batches))
            if size_bytes < JOINED_BYTES:
                continue
        if count:
            yield Batches(tuple(batches)), count
            batches, count, size_bytes = [], 0, 0
        if not isinstance(frame, Batches):
            yield frame, 1
    if count:
        yield Batches(tuple(batches)), count


def size_of(batch: WireBatch) -> int:
    """Bytes of its records."""
    return sum(len(record.body) + len(record.signature) for record in batch.records)
