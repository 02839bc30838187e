"""Nearly right frames of the mesh, whole and byte by byte: the same frames, an error in both or in none.

What is inside the compressed part is changed too, and packed again, so that its parser gets as much to do.
"""

import os
import struct
import zlib

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.wire import Batches, Frame, FrameReader, encode_frame
from tests.fuzz.mutations import mutated, seeds

ROUNDS = int(os.environ.get("PEAT_FUZZ_ROUNDS") or 4000)
SEED = int(os.environ.get("PEAT_FUZZ_SEED") or 1)


def read(data: bytes, step: int) -> tuple[list[Frame], bool]:
    """What a stream gives when it comes so many bytes at a time, and whether it is broken."""
    reader, frames = FrameReader(), []
    try:
        for start in range(0, len(data), step):
            frames += reader.feed(data[start : start + step])
    except RemoteProtocolError:
        return frames, True
    return frames, False


def test_streams() -> None:
    good = 0
    for data in mutated(seeds("mesh_frames"), ROUNDS, seed=SEED):
        slow, slow_failed = read(data, 1)
        fast, fast_failed = read(data, len(data) or 1)
        assert slow_failed == fast_failed
        assert slow == fast or (fast_failed and not fast)
        for frame in slow:
            assert FrameReader().feed(encode_frame(frame)) == [frame]
            good += 1
    assert good > ROUNDS // 8


def test_inside_of_batches() -> None:
    good = 0
    whole = [
        frame for data in seeds("mesh_frames") for frame in read(data, 1)[0] if isinstance(frame, Batches)
    ]
    plain = [zlib.decompress(encode_frame(frame)[5:]) for frame in whole]
    for inside in mutated(plain, ROUNDS, seed=SEED):
        packed = zlib.compress(inside, 0)
        try:
            (frame,) = FrameReader().feed(struct.pack("<IB", len(packed) + 1, 3) + packed)
        except RemoteProtocolError:
            continue
        assert FrameReader().feed(encode_frame(frame)) == [frame]
        good += 1
    assert good > len(plain) // 2
