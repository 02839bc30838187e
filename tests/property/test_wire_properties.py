"""Any value of the wire comes back as it was; any bytes give a value or a RemoteProtocolError."""

import contextlib
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peat_sidecar.errors import ConfigError, RemoteProtocolError
from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.wire import (
    Collection,
    Get,
    GetMany,
    Observe,
    ObserveItem,
    ObserveReader,
    Push,
    RangesSeq,
    Request,
    Ticket,
    encode_collection,
    encode_observe_item,
    encode_request,
    parse_collection,
    parse_request,
)
from peat_sidecar.wire.postcard import U64_MAX, Reader, encode_varint, parse_varint
from peat_sidecar.wire.ranges_sequence import encode_ranges, parse_ranges

numbers = st.one_of(st.integers(0, 300), st.integers(0, U64_MAX))
hashes = st.binary(min_size=32, max_size=32).map(BlobHash)
chunk_ranges = st.sets(numbers, max_size=12).map(sorted).map(ChunkRanges.from_boundaries)
sequences = st.dictionaries(numbers, chunk_ranges, max_size=6).map(
    lambda entries: RangesSeq(tuple((index, entries[index]) for index in sorted(entries)))
)
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(Get, hashes, sequences),
    st.builds(GetMany, st.lists(hashes, max_size=5).map(tuple), sequences),
    st.builds(Observe, hashes, chunk_ranges),
    st.builds(Push, hashes, sequences),
)
items = st.builds(ObserveItem, numbers, chunk_ranges)
addresses = st.one_of(
    st.builds(lambda ip, port: f"{ip}:{port}", st.ip_addresses(v=4), st.integers(0, 65535)),
    st.builds(lambda ip, port: f"[{ip}]:{port}", st.ip_addresses(v=6), st.integers(0, 65535)),
)
relays = st.one_of(st.none(), st.sampled_from(["https://relay.example./", "http://[2001:db8::1]:3340/é"]))
tickets = st.builds(
    Ticket,
    st.binary(min_size=32, max_size=32).map(EndpointId),
    st.lists(addresses, max_size=5).map(tuple),
    hashes,
    st.booleans(),
    relays,
)


@given(numbers, st.binary(max_size=20))
def test_numbers(value: int, rest: bytes) -> None:
    encoded = encode_varint(value)
    assert parse_varint(encoded + rest) == (value, len(encoded))


@given(requests, st.binary(max_size=40))
def test_requests(request: Request, rest: bytes) -> None:
    encoded = encode_request(request)
    assert parse_request(encoded + rest) == request


@given(requests, st.data())
def test_cut_requests(request: Request, data: st.DataObject) -> None:
    encoded = encode_request(request)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    with pytest.raises(RemoteProtocolError):
        parse_request(cut)


@given(st.lists(numbers, max_size=20))
def test_any_distances_make_the_union_of_their_intervals(steps: list[int]) -> None:
    """Against the definition: chunk by chunk, as the Rust decoder makes the union."""
    encoded = encode_varint(len(steps)) + b"".join(map(encode_varint, steps))
    boundaries = list(accumulate(steps))
    try:
        ranges = parse_ranges(Reader(encoded))
    except RemoteProtocolError:
        assert boundaries[-1] > U64_MAX
        return
    pairs = list(zip(boundaries[::2], [*boundaries[1::2], U64_MAX + 1], strict=False))
    for chunk in {near for boundary in boundaries for near in (boundary - 1, boundary, boundary + 1)}:
        if 0 <= chunk <= U64_MAX:
            assert (chunk in ranges) == any(start <= chunk < end for start, end in pairs)
    assert parse_ranges(Reader(encode_ranges(ranges))) == ranges


@given(st.dictionaries(st.integers(0, 12), chunk_ranges, max_size=6))
def test_a_finite_selection(selected: dict[int, ChunkRanges]) -> None:
    sequence = RangesSeq.of(selected)
    wanted = {index: ranges for index, ranges in selected.items() if ranges}
    assert dict(sequence.selected(20)) == wanted
    assert [sequence.at(index) for index in range(20)] == [
        wanted.get(index, ChunkRanges.none()) for index in range(20)
    ]


@given(st.lists(items, max_size=6), st.data())
def test_observe(sent: list[ObserveItem], data: st.DataObject) -> None:
    stream = b"".join(map(encode_observe_item, sent))
    reader, got, position = ObserveReader(), list[ObserveItem](), 0
    while position < len(stream):
        length = data.draw(st.integers(1, len(stream) - position))
        got += reader.feed(stream[position : position + length])
        position += length
    assert got == sent


@given(st.lists(st.tuples(st.text(), hashes), max_size=8))
def test_collections(entries: list[tuple[str, BlobHash]]) -> None:
    collection = Collection(tuple(name for name, _ in entries), tuple(each for _, each in entries))
    assert parse_collection(*encode_collection(collection)) == collection


@given(tickets)
def test_tickets(ticket: Ticket) -> None:
    assert Ticket.parse(str(ticket)) == ticket


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for kind in (b"", b"\x00", b"\x01", b"\x08", b"\x09"):
        for head in (b"", bytes(32)):
            try:
                request = parse_request(kind + head + data)
            except RemoteProtocolError:
                continue
            assert parse_request(encode_request(request)) == request
    with contextlib.suppress(RemoteProtocolError):
        ObserveReader().feed(data)
    with contextlib.suppress(RemoteProtocolError):
        parse_collection(data, data)


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    for prefix in ("", "blob"):
        try:
            ticket = Ticket.parse(prefix + text)
        except ConfigError:
            continue
        assert Ticket.parse(str(ticket)) == ticket
