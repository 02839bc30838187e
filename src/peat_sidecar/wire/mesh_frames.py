"""The frames that members of a formation exchange, ALPN `/peat-sidecar/mesh/1`, once they are admitted.

A frame is its length (32 bits, low byte first, of what follows), a type byte and a payload of postcard's
primitives. Frames say what a side holds (`Digest`, `Heads`, `News`), what it lacks (`Want`) and what it
gives (`Batches`, compressed by zlib). Nothing is made for what a length or count says before the bytes are
there; a reader holds one incomplete frame, an inflated payload has a limit of its own.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.wire.postcard import Reader, encode_varint

MESH_ALPN = b"/peat-sidecar/mesh/1"
FRAME_LIMIT = 1 << 20
"""Bytes that may follow the length of a frame."""
INFLATED_LIMIT = FRAME_LIMIT
"""Bytes of the payload of `Batches` once it is inflated."""
DIGEST_BYTES = 16
SIGNATURE_BYTES = 64
_ID_BYTES = 32
_ZLIB_LEVEL = 1
_LENGTH = struct.Struct("<I")


class WireHead(NamedTuple):
    """How much of one signer's records a side holds."""

    signer: EndpointId
    sequence: int
    """The highest it holds, 64 bits."""
    digest: bytes
    """16 bytes over those it holds."""


class Wanted(NamedTuple):
    """A signer whose records a side lacks from some sequence on."""

    signer: EndpointId
    after: int
    """The records asked for have higher sequences."""


class Held(NamedTuple):
    """A signer whose records a side holds up to some sequence."""

    signer: EndpointId
    upto: int


class WireRecord(NamedTuple):
    """One signed record, as its signer made it."""

    signature: bytes
    """64 bytes."""
    body: bytes


@dataclass(frozen=True, slots=True)
class WireBatch:
    """All current records of one signer with `after` < sequence <= `upto`."""

    signer: EndpointId
    after: int
    upto: int
    records: tuple[WireRecord, ...]


@dataclass(frozen=True, slots=True)
class Digest:
    """What a side holds, in short: equal digests, equal records."""

    value: bytes
    """16 bytes."""
    begins: bool = False
    """Whether the side that says it knows nothing of what was said before: at the beginning, or anew."""


@dataclass(frozen=True, slots=True)
class Heads:
    """A side's heads: all of them, or where they differ from the other's."""

    heads: tuple[WireHead, ...]
    asks: bool = False
    """All of them, and the other side shall say where its own differ. Otherwise this is that answer: in it,
    signers that only the asker has stand with sequence 0."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Records, asked for or new."""

    batches: tuple[WireBatch, ...]


@dataclass(frozen=True, slots=True)
class Want:
    """Asks for records."""

    wanted: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class News:
    """Says that there is more of some signers, for whoever wants it."""

    held: tuple[Held, ...]


Frame = Digest | Heads | Batches | Want | News
_DIGEST, _HEADS, _BATCHES, _WANT, _NEWS = range(1, 6)


def encode_frame(frame: Frame) -> bytes:
    """The frame with its length; ValueError when it is longer than any peer takes."""
    match frame:
        case Digest(value, begins):
            kind, payload = _DIGEST, bytes([begins]) + value
        case Heads(heads, asks):
            parts = [bytes([asks]), encode_varint(len(heads))]
            parts += [signer.value + encode_varint(sequence) + digest for signer, sequence, digest in heads]
            kind, payload = _HEADS, b"".join(parts)
        case Want(wanted):
            kind, payload = _WANT, _encode_points(wanted)
        case News(held):
            kind, payload = _NEWS, _encode_points(held)
        case Batches(batches):
            plain = _encode_batches(batches)
            if len(plain) > INFLATED_LIMIT:
                raise ValueError(f"batches of {len(plain)} bytes are too long for a frame; split them")
            kind, payload = _BATCHES, zlib.compress(plain, _ZLIB_LEVEL)
    length = 1 + len(payload)
    if length > FRAME_LIMIT:
        raise ValueError(f"a frame of {length} bytes is too long; split it")
    return _LENGTH.pack(length) + bytes([kind]) + payload


class FrameReader:
    """Makes frames of a stream's bytes, however they are cut. It holds one incomplete frame at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def held_bytes(self) -> int:
        """Bytes of the frame that has begun and not ended."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete; `RemoteProtocolError` for what is none."""
        return list(self.frames(data))

    def frames(self, data: bytes) -> Iterator[Frame]:
        """As `feed`, one at a time, to be taken to the end: a few bytes may inflate to many."""
        self._buffer += data
        position = 0
        try:
            while (end := self._end_of_frame(position)) is not None:
                begin, position = position + _LENGTH.size, end
                yield _parse_frame(bytes(self._buffer[begin:end]))
        finally:
            del self._buffer[:position]

    def _end_of_frame(self, position: int) -> int | None:
        """Where the frame at a position ends; None when it is not all here."""
        begin = position + _LENGTH.size
        if len(self._buffer) < begin:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer, position)
        if not 1 <= length <= FRAME_LIMIT:
            raise RemoteProtocolError(
                f"the peer announced a frame of {length} bytes; 1 to {FRAME_LIMIT} are allowed"
            )
        end = int(begin + length)
        return end if end <= len(self._buffer) else None


def _parse_frame(data: bytes) -> Frame:
    reader = Reader(data)
    kind = reader.take(1)[0]
    parse = _PARSERS.get(kind)
    if parse is None:
        raise RemoteProtocolError(f"the peer sent a frame of type {kind}, which there is not")
    frame = parse(reader)
    if reader.remaining:
        raise RemoteProtocolError(f"the peer sent {reader.remaining} bytes after the end of a frame's value")
    return frame


def _parse_digest(reader: Reader) -> Digest:
    begins = reader.flag()
    return Digest(reader.take(DIGEST_BYTES), begins)


def _parse_heads(reader: Reader) -> Heads:
    asks = reader.flag()
    count = reader.count(_ID_BYTES + 1 + DIGEST_BYTES)
    heads = tuple(WireHead(_id(reader), reader.number(), reader.take(DIGEST_BYTES)) for _ in range(count))
    return Heads(heads, asks)


def _parse_want(reader: Reader) -> Want:
    return Want(tuple(Wanted(_id(reader), reader.number()) for _ in range(reader.count(_ID_BYTES + 1))))


def _parse_news(reader: Reader) -> News:
    return News(tuple(Held(_id(reader), reader.number()) for _ in range(reader.count(_ID_BYTES + 1))))


def _parse_batches(reader: Reader) -> Batches:
    plain = Reader(_inflate(reader.take(reader.remaining)))
    batches = tuple(_batch(plain) for _ in range(plain.count(_ID_BYTES + 3)))
    if plain.remaining:
        raise RemoteProtocolError(f"the peer sent {plain.remaining} bytes after the last of its batches")
    return Batches(batches)


_PARSERS: dict[int, Callable[[Reader], Frame]] = {
    _DIGEST: _parse_digest,
    _HEADS: _parse_heads,
    _BATCHES: _parse_batches,
    _WANT: _parse_want,
    _NEWS: _parse_news,
}


def _encode_points(points: Sequence[tuple[EndpointId, int]]) -> bytes:
    parts = [signer.value + encode_varint(sequence) for signer, sequence in points]
    return encode_varint(len(points)) + b"".join(parts)


def _encode_batches(batches: tuple[WireBatch, ...]) -> bytes:
    parts = [encode_varint(len(batches))]
    for batch in batches:
        parts += [batch.signer.value, encode_varint(batch.after), encode_varint(batch.upto)]
        parts.append(encode_varint(len(batch.records)))
        for signature, body in batch.records:
            parts += [signature, encode_varint(len(body)), body]
    return b"".join(parts)


def _inflate(data: bytes) -> bytes:
    """No more than the limit is ever made, whatever the data says."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, INFLATED_LIMIT + 1)
    except zlib.error:
        raise RemoteProtocolError("the peer sent batches that cannot be inflated") from None
    if not inflater.eof or len(plain) > INFLATED_LIMIT:
        raise RemoteProtocolError(
            f"the peer sent batches that are cut off or inflate to more than {INFLATED_LIMIT} bytes"
        )
    if inflater.unused_data:
        raise RemoteProtocolError("the peer sent bytes after the end of its compressed batches")
    return plain


def _batch(reader: Reader) -> WireBatch:
    signer, after, upto = _id(reader), reader.number(), reader.number()
    if after >= upto:
        raise RemoteProtocolError(f"the peer sent a batch from {after} up to {upto}, which is empty")
    records = tuple(
        WireRecord(reader.take(SIGNATURE_BYTES), reader.take(reader.number()))
        for _ in range(reader.count(SIGNATURE_BYTES + 1))
    )
    if not records:
        raise RemoteProtocolError("the peer sent a batch without records")
    return WireBatch(signer, after, upto, records)


def _id(reader: Reader) -> EndpointId:
    return EndpointId(reader.take(_ID_BYTES))
