"""Requests: the examples of the protocol, each cut everywhere, and all that is no request."""

import time
import tracemalloc

import pytest

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.wire import (
    ALPN,
    BODY_LIMIT,
    RANGES_LIMIT,
    REQUEST_LIMIT,
    ErrorCode,
    Get,
    GetMany,
    Observe,
    Push,
    RangesSeq,
    Request,
    RequestType,
    TooManyRanges,
    encode_request,
    encode_size,
    parse_request,
    parse_size,
)
from peat_sidecar.wire.postcard import U64_MAX, encode_varint

H = BlobHash(bytes(range(32)))
OTHERS = tuple(BlobHash(bytes([number]) * 32) for number in range(4))
ALL, NONE = ChunkRanges.all(), ChunkRanges.none()
LAST = ChunkRanges.from_boundaries([U64_MAX])


def chunks(*boundaries: int) -> ChunkRanges:
    return ChunkRanges.from_boundaries(boundaries)


EXAMPLES: list[tuple[str, Request, str]] = [
    ("whole blob", Get(H, RangesSeq.whole_blob()), "00 H 02 00 01 00 01 00"),
    ("whole sequence", Get(H, RangesSeq.whole_sequence()), "00 H 01 00 01 00"),
    ("first chunks", Get(H, RangesSeq.blob(chunks(0, 10))), "00 H 02 00 02 00 0a 01 00"),
    ("two ranges", Get(H, RangesSeq.blob(chunks(10, 20, 100))), "00 H 02 00 03 0a 0a 50 01 00"),
    ("four boundaries", Get(H, RangesSeq.blob(chunks(1, 3, 9, 13))), "00 H 02 00 04 01 02 06 04 01 00"),
    ("size", Get(H, RangesSeq.blob(LAST)), "00 H 02 00 01 ffffffffffffffffff01 01 00"),
    ("child 0", Get(H, RangesSeq.of({1: ALL})), "00 H 02 01 01 00 01 00"),
    ("child 2", Get(H, RangesSeq.of({3: chunks(0, 10)})), "00 H 02 03 02 00 0a 01 00"),
    ("sizes", Get(H, RangesSeq(((0, ALL), (1, LAST)))), "00 H 02 00 01 00 01 01 ffffffffffffffffff01"),
    ("resume", Get(H, RangesSeq(((2, chunks(32)), (3, ALL)))), "00 H 02 02 01 20 01 01 00"),
    ("nothing", Get(H, RangesSeq(())), "00 H 00"),
    ("observe", Observe(H, ALL), "01 H 01 00"),
    ("many", GetMany((H, H), RangesSeq.of({0: ALL, 1: ALL})), "09 02 H H 02 00 01 00 02 00"),
    (
        "many, holes",
        GetMany((H,), RangesSeq.of({0: ALL, 2: chunks(16)})),
        "09 01 H 04 00 01 00 01 00 01 01 10 01 00",
    ),
    ("many, none", GetMany((), RangesSeq(())), "09 00 00"),
    ("push", Push(H, RangesSeq.whole_blob()), "08 26 H 02 00 01 00 01 00"),
]
IDS = [name for name, _, _ in EXAMPLES]


def raw(text: str) -> bytes:
    return bytes.fromhex(text.replace("H", str(H)))


@pytest.mark.parametrize(("_name", "request_", "encoded"), EXAMPLES, ids=IDS)
def test_examples(_name: str, request_: Request, encoded: str) -> None:
    data = raw(encoded)
    assert encode_request(request_) == data
    assert parse_request(data) == request_
    assert parse_request(data + b"garbage") == request_
    for length in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            parse_request(data[:length])


def test_constants() -> None:
    assert ALPN == b"/iroh-bytes/4"
    assert (BODY_LIMIT, REQUEST_LIMIT) == (1048576, 1048577)
    assert [*RequestType] == [0, 1, 8, 9]
    assert [*ErrorCode] == [1, 2, 3]


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 6, 7, 10, 255])
def test_types_that_there_are_not(kind: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"type {kind}"):
        parse_request(bytes([kind]) + raw("H 02 00 01 00 01 00"))


@pytest.mark.parametrize(
    ("encoded", "ranges"),
    [
        ("01 H 02 05 00", NONE),
        ("01 H 02 00 00", NONE),
        ("01 H 03 00 00 00", ALL),
        ("01 H 03 05 00 07", chunks(12)),
        ("01 H 04 00 0a 00 05", chunks(0, 15)),
        ("01 H 05 00 0a 00 05 00", ALL),
        ("01 H 04 05 00 00 00", NONE),
        ("01 H 03 00 00 8000", ALL),
        ("01 H 02 feffffffffffffffff01 01", chunks(U64_MAX - 1, U64_MAX)),
    ],
)
def test_empty_and_touching_intervals_are_merged(encoded: str, ranges: ChunkRanges) -> None:
    request = parse_request(raw(encoded))
    assert isinstance(request, Observe)
    assert request.ranges == ranges


def test_of_two_entries_for_one_index_the_second_counts() -> None:
    request = parse_request(raw("00 H 04 00 01 00 00 00 02 02 00 05 00 01 07"))
    assert request == Get(H, RangesSeq(((0, NONE), (2, chunks(7)))))


@pytest.mark.parametrize(
    ("encoded", "says"),
    [
        ("01 H 02 01 ffffffffffffffffff01", "beyond the 64-bit range"),
        ("01 H 03 01 01 feffffffffffffffff01", "beyond the 64-bit range"),
        ("01 H 01 ffffffffffffffffff02", "number of more than"),
        ("00 H 02 01 00 ffffffffffffffffff01 00", "index beyond 64 bits"),
        ("00 H ffffffffffffffffff01 00 01 00", "sent bytes for fewer"),
        ("00 H 03 00 01 00 01 00", "sent bytes for fewer"),
        ("00 H 01 00 ffffffffffffffffff01 00", "sent bytes for fewer"),
        ("09 ffffffffffffffffff01 H H 00", "sent bytes for fewer"),
        ("09 03 H H 00", "sent bytes for fewer"),
        ("08 27 H 02 00 01 00 01 00", "1 bytes too early"),
        ("08 20 H 02 00 01 00 01 00", "ends"),
        ("08 ffffffffffffffffff01 H", "is the most"),
        ("", "before it began"),
    ],
)
def test_what_is_no_request(encoded: str, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        parse_request(raw(encoded))


def test_length() -> None:
    whole = raw("00 H 02 00 01 00 01 00")
    assert parse_request(whole.ljust(REQUEST_LIMIT, b"\0")) == Get(H, RangesSeq.whole_blob())
    with pytest.raises(RemoteProtocolError, match="1048577 are the most"):
        parse_request(whole.ljust(REQUEST_LIMIT + 1, b"\0"))
    push = raw("08 26 H 02 00 01 00 01 00")
    assert parse_request(push.ljust(2 * REQUEST_LIMIT, b"\0")) == Push(H, RangesSeq.whole_blob())


def test_a_request_that_no_provider_takes_is_not_written() -> None:
    with pytest.raises(ValueError, match="split it"):
        encode_request(GetMany((H,) * 32768, RangesSeq.whole_sequence()))
    longest = GetMany((H,) * 32767, RangesSeq.whole_sequence())
    assert parse_request(encode_request(longest)) == longest


def longest_requests() -> dict[str, bytes]:
    """Requests of a full MiB, as costly as their bytes can be."""
    head, left = b"\x00" + H.value, BODY_LIMIT - 32 - 3
    return {
        "entries": head + encode_varint(left // 2) + b"\x01\x00" * (left // 2),
        "entries for one index": head + encode_varint(left // 2) + b"\x00\x00" * (left // 2),
        "boundaries": b"\x01" + H.value + encode_varint(left) + b"\x01" * left,
        "empty intervals": b"\x01" + H.value + encode_varint(left) + b"\x00" * left,
        "long numbers": b"\x01" + H.value + encode_varint(left // 2) + b"\x80\x01" * (left // 2),
        "in the last entry": head + b"\x02\x00\x00\x01" + encode_varint(left - 4) + b"\x01" * (left - 4),
        "hashes": b"\x09" + encode_varint(32767) + H.value * 32767 + b"\x00",
    }


@pytest.mark.parametrize("name", longest_requests())
@pytest.mark.parametrize("limit", [1024, RANGES_LIMIT])
def test_the_cost_of_a_long_request_is_bounded(name: str, limit: int) -> None:
    data = longest_requests()[name]

    def parse() -> None:
        if name == "hashes":
            assert isinstance(parse_request(data, ranges_limit=limit), GetMany)
        else:
            with pytest.raises(TooManyRanges, match="the most"):
                parse_request(data, ranges_limit=limit)

    begin = time.process_time()
    parse()
    assert time.process_time() - begin < 1
    tracemalloc.start()
    try:
        parse()
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


def test_the_limit_counts_entries_and_boundaries() -> None:
    data = encode_request(Get(H, RangesSeq.of({0: chunks(1, 2, 3, 4), 2: ALL})))
    assert parse_request(data, ranges_limit=9)
    with pytest.raises(TooManyRanges):
        parse_request(data, ranges_limit=8)


def test_sizes() -> None:
    assert encode_size(65537) == bytes.fromhex("0100010000000000")
    assert parse_size(encode_size(U64_MAX)) == U64_MAX
    for length in (0, 7, 9):
        with pytest.raises(RemoteProtocolError, match="of a size"):
            parse_size(bytes(length))
