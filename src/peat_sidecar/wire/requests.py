"""The four requests: values, and the bytes of a stream's sending side.

A getter writes a request and finishes its side; a provider reads to the end, `REQUEST_LIMIT` bytes at most.
Push alone is followed by data, so its body begins with its length; only that head is read here.
"""

import struct
from dataclasses import dataclass

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.wire.postcard import Reader, encode_varint
from peat_sidecar.wire.protocol import BODY_LIMIT, REQUEST_LIMIT, RequestType
from peat_sidecar.wire.ranges_sequence import (
    RANGES_LIMIT,
    RangesSeq,
    encode_ranges,
    encode_ranges_seq,
    parse_ranges,
    parse_ranges_seq,
)

_HASH_BYTES = 32
_SIZE = struct.Struct("<Q")
SIZE_BYTES = _SIZE.size
"""Length of the size that goes before each blob of an answer."""


@dataclass(frozen=True, slots=True)
class Get:
    """Asks for a blob, or for a hash sequence and blobs in it."""

    hash: BlobHash
    ranges: RangesSeq
    """Index 0 is the blob itself, index i the i-th hash in it, counted from 1."""


@dataclass(frozen=True, slots=True)
class GetMany:
    """Asks for several blobs, in their order; a hash given twice is answered twice."""

    hashes: tuple[BlobHash, ...]
    ranges: RangesSeq
    """Index 0 is the first hash."""


@dataclass(frozen=True, slots=True)
class Observe:
    """Asks to be told which chunks the provider holds, now and as more come."""

    hash: BlobHash
    ranges: ChunkRanges
    """Providers ignore it; everything is customary."""


@dataclass(frozen=True, slots=True)
class Push:
    """Offers data, in the format of the answer to a Get of the same ranges."""

    hash: BlobHash
    ranges: RangesSeq


Request = Get | GetMany | Observe | Push


def encode_request(request: Request) -> bytes:
    """The request as it is written; ValueError when it is longer than any provider takes."""
    match request:
        case Get(blob_hash, ranges):
            encoded = bytes([RequestType.GET]) + blob_hash.value + encode_ranges_seq(ranges)
        case Push(blob_hash, ranges):
            body = blob_hash.value + encode_ranges_seq(ranges)
            encoded = bytes([RequestType.PUSH]) + encode_varint(len(body)) + body
        case Observe(blob_hash, chunks):
            encoded = bytes([RequestType.OBSERVE]) + blob_hash.value + encode_ranges(chunks)
        case GetMany(hashes, ranges):
            head = bytes([RequestType.GET_MANY]) + encode_varint(len(hashes))
            encoded = b"".join([head, *(each.value for each in hashes), encode_ranges_seq(ranges)])
    if len(encoded) > REQUEST_LIMIT:
        raise ValueError(f"a request of {len(encoded)} bytes is too long; split it")
    return encoded


def parse_request(data: bytes, *, ranges_limit: int = RANGES_LIMIT) -> Request:
    """The request at the front of what a getter sent; what follows it is ignored.

    `TooManyRanges` when it has more entries and boundaries than the limit, which is counted before anything
    is made of them; `RemoteProtocolError` for all else that is no request.
    """
    if not data:
        raise RemoteProtocolError("the peer ended its request before it began")
    if len(data) > REQUEST_LIMIT and data[0] != RequestType.PUSH:
        raise RemoteProtocolError(
            f"the peer sent a request of {len(data)} bytes; {REQUEST_LIMIT} are the most"
        )
    reader = Reader(data)
    kind = reader.take(1)[0]
    if kind == RequestType.GET:
        return Get(_hash(reader), parse_ranges_seq(reader, ranges_limit))
    if kind == RequestType.OBSERVE:
        return Observe(_hash(reader), parse_ranges(reader, ranges_limit))
    if kind == RequestType.GET_MANY:
        hashes = tuple(_hash(reader) for _ in range(reader.count(_HASH_BYTES)))
        return GetMany(hashes, parse_ranges_seq(reader, ranges_limit))
    if kind == RequestType.PUSH:
        body = Reader(reader.take(reader.number(BODY_LIMIT)))
        return Push(_hash(body), parse_ranges_seq(body, ranges_limit))
    raise RemoteProtocolError(f"the peer sent a request of type {kind}, which there is not")


def encode_size(size: int) -> bytes:
    """What goes before the body of each blob in an answer."""
    return _SIZE.pack(size)


def parse_size(data: bytes) -> int:
    """The size that a provider claims; it is proven only by the last chunk."""
    if len(data) != SIZE_BYTES:
        raise RemoteProtocolError(f"the peer sent {len(data)} of the {SIZE_BYTES} bytes of a size")
    (size,) = _SIZE.unpack(data)
    return int(size)


def _hash(reader: Reader) -> BlobHash:
    return BlobHash(reader.take(_HASH_BYTES))
