"""Frames of the mesh: as they are, in pieces, cut, and made to hurt."""

import os
import struct
import tracemalloc
import zlib

import pytest

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.records.bounds import BODY_LIMIT_BYTES
from peat_sidecar.wire import (
    Batches,
    Digest,
    Frame,
    FrameReader,
    Heads,
    Held,
    News,
    Want,
    Wanted,
    WireBatch,
    WireHead,
    WireRecord,
    encode_frame,
)
from peat_sidecar.wire.mesh_frames import FRAME_LIMIT, INFLATED_LIMIT
from peat_sidecar.wire.postcard import encode_varint
from tests.support.real_files import real_bytes

A, B = EndpointId(b"a" * 32), EndpointId(b"b" * 32)
TOP = (1 << 64) - 1
RECORD = WireRecord(bytes(range(64)), b'{"collection":"packages","doc_id":"a"}')
FRAMES: list[Frame] = [
    Digest(bytes(range(16))),
    Digest(bytes(16), begins=True),
    Heads(()),
    Heads((WireHead(A, 0, b"d" * 16), WireHead(B, TOP, bytes(16))), asks=True),
    Want(()),
    News((Held(A, 0), Held(B, TOP))),
    Want((Wanted(A, 0), Wanted(B, TOP), Wanted(A, 1 << 63))),
    Batches(()),
    Batches((WireBatch(A, 0, 7, (RECORD, RECORD)), WireBatch(B, TOP - 1, TOP, (RECORD,)))),
]
STREAM = b"".join(map(encode_frame, FRAMES))


def framed(kind: int, payload: bytes) -> bytes:
    return struct.pack("<IB", len(payload) + 1, kind) + payload


def test_bytes_of_each_frame() -> None:
    """What goes over the wire is a promise to other versions."""
    ids = A.value.hex(), B.value.hex()
    digest = "64" * 16
    assert encode_frame(Digest(b"d" * 16)).hex() == "12000000" + "01" + "00" + digest
    assert encode_frame(Heads((WireHead(A, 300, b"d" * 16),), asks=True)).hex() == (
        "35000000" + "02" + "01" + "01" + ids[0] + "ac02" + digest
    )
    assert encode_frame(Want((Wanted(A, 0), Wanted(B, 300)))).hex() == (
        "45000000" + "04" + "02" + ids[0] + "00" + ids[1] + "ac02"
    )
    assert encode_frame(News((Held(B, 300),))).hex() == "24000000" + "05" + "01" + ids[1] + "ac02"
    batches = encode_frame(Batches((WireBatch(B, 1, 300, (WireRecord(b"s" * 64, b"{}"),)),)))
    assert batches[4] == 3
    plain = zlib.decompress(batches[5:]).hex()
    assert plain == "01" + ids[1] + "01" + "ac02" + "01" + "73" * 64 + "02" + "7b7d"


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_comes_back_as_it_was(frame: Frame) -> None:
    assert FrameReader().feed(encode_frame(frame)) == [frame]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 16, 64, 100, len(STREAM)])
def test_in_pieces_of_every_length(step: int) -> None:
    reader = FrameReader()
    pieces = [STREAM[start : start + step] for start in range(0, len(STREAM), step)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == FRAMES
    assert reader.held_bytes == 0


def test_cut_at_every_length() -> None:
    for length in range(len(STREAM)):
        got = FrameReader().feed(STREAM[:length])
        assert got == FRAMES[: len(got)]
        assert len(got) < len(FRAMES)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_payload_cut_at_every_length(frame: Frame) -> None:
    """The length says that this is all, and it is not."""
    whole = encode_frame(frame)
    for length in range(len(whole) - 5):
        with pytest.raises(RemoteProtocolError):
            FrameReader().feed(framed(whole[4], whole[5 : 5 + length]))


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_bytes_after_the_value(frame: Frame) -> None:
    whole = encode_frame(frame)
    with pytest.raises(RemoteProtocolError, match="after"):
        FrameReader().feed(framed(whole[4], whole[5:] + b"\0"))


@pytest.mark.parametrize("length", [0, FRAME_LIMIT + 1, 0xFFFFFFFF])
def test_length_is_judged_before_anything_follows(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match="announced a frame"):
        FrameReader().feed(struct.pack("<I", length))


@pytest.mark.parametrize("kind", [0, 6, 255])
def test_unknown_type(kind: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"type {kind}"):
        FrameReader().feed(framed(kind, b""))


@pytest.mark.parametrize("count", [2, 1 << 20, 1 << 32, TOP])
def test_counts_without_items(count: int) -> None:
    item = B.value + bytes(17)
    number = encode_varint(count)
    record = number + RECORD.signature + b"\x01x"
    for bad in (
        framed(2, b"\0" + number + item),
        framed(4, number + item[:33]),
        framed(5, number + item[:33]),
        framed(3, zlib.compress(number + B.value + b"\x00\x01\x01" + RECORD.signature + b"\x01x")),
        framed(3, zlib.compress(b"\x01" + B.value + b"\x00\x01" + record)),
        framed(3, zlib.compress(b"\x01" + B.value + b"\x00\x01\x01" + RECORD.signature + number)),
    ):
        with pytest.raises(RemoteProtocolError):
            FrameReader().feed(bad)


def test_batches_that_hold_nothing() -> None:
    for batch in WireBatch(A, 5, 5, (RECORD,)), WireBatch(A, 6, 5, (RECORD,)), WireBatch(A, 5, 6, ()):
        with pytest.raises(RemoteProtocolError):
            FrameReader().feed(encode_frame(Batches((batch,))))


def test_a_bomb_is_not_inflated() -> None:
    """A gigabyte of zeros in a megabyte: refused at the cost of the limit."""
    squeezer = zlib.compressobj(9)
    bomb = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(1000)) + squeezer.flush()
    data = framed(3, bomb)
    assert len(data) < FRAME_LIMIT
    tracemalloc.start()
    with pytest.raises(RemoteProtocolError, match="inflate to more"):
        FrameReader().feed(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("junk", [b"", b"\x00", b"\x78\x9c", zlib.compress(b"\x00")[:-1], real_bytes(1000)])
def test_what_is_not_compressed_data(junk: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        FrameReader().feed(framed(3, junk))


def test_second_stream_behind_the_first() -> None:
    with pytest.raises(RemoteProtocolError, match="after the end"):
        FrameReader().feed(framed(3, zlib.compress(b"\x00") + zlib.compress(b"\x00")))


def test_largest_frames() -> None:
    """The longest record fits, however badly it can be compressed; a byte over the limit does not go out."""
    record = WireRecord(bytes(64), os.urandom(BODY_LIMIT_BYTES))
    frame = Batches((WireBatch(A, 0, 1, (record,)),))
    assert FrameReader().feed(encode_frame(frame)) == [frame]
    room = INFLATED_LIMIT - (1 + 32 + 1 + 1 + 1 + 64 + 3)
    full = Batches((WireBatch(A, 0, 1, (WireRecord(bytes(64), bytes(room)),)),))
    assert FrameReader().feed(encode_frame(full)) == [full]
    with pytest.raises(ValueError, match="split"):
        encode_frame(Batches((WireBatch(A, 0, 1, (WireRecord(bytes(64), bytes(room + 1)),)),)))
    with pytest.raises(ValueError, match="split"):
        encode_frame(Heads(tuple(WireHead(A, TOP, bytes(16)) for _ in range(20_000))))


def test_a_reader_holds_one_frame() -> None:
    reader = FrameReader()
    reader.feed(struct.pack("<IB", FRAME_LIMIT, 1))
    for _ in range(15):
        reader.feed(bytes(1 << 16))
    assert reader.held_bytes <= FRAME_LIMIT + 4
    with pytest.raises(RemoteProtocolError):
        reader.feed(bytes(1 << 17))
