"""Items of Observe, however the stream is cut."""

import pytest

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.wire import ObserveItem, ObserveReader, encode_observe_item
from peat_sidecar.wire.postcard import encode_varint

# What a stock node sent while a blob of 200 KiB and 77 bytes came in, and for other blobs.
SEEN = [
    ("06cdc00c020010", ObserveItem(204877, ChunkRanges.of(0, 16))),
    ("06cdc00c021020", ObserveItem(204877, ChunkRanges.of(16, 32))),
    ("020000", ObserveItem(0, ChunkRanges.none())),
    ("03010100", ObserveItem(1, ChunkRanges.all())),
    ("06cdc00c01b001", ObserveItem(204877, ChunkRanges.of(176, None))),
]
STREAM = b"".join(bytes.fromhex(text) for text, _ in SEEN)
ITEMS = [item for _, item in SEEN]


@pytest.mark.parametrize(("encoded", "item"), SEEN)
def test_items(encoded: str, item: ObserveItem) -> None:
    assert encode_observe_item(item).hex() == encoded
    assert ObserveReader().feed(bytes.fromhex(encoded)) == [item]


@pytest.mark.parametrize("step", range(1, len(STREAM) + 1))
def test_in_pieces_of_every_length(step: int) -> None:
    reader = ObserveReader()
    pieces = [STREAM[start : start + step] for start in range(0, len(STREAM), step)]
    assert [item for piece in pieces for item in reader.feed(piece)] == ITEMS


def test_cut_at_every_length() -> None:
    for length in range(len(STREAM)):
        got = ObserveReader().feed(STREAM[:length])
        assert got == ITEMS[: len(got)]
        assert len(got) < len(ITEMS)


def test_bytes_after_the_value_are_ignored() -> None:
    assert ObserveReader().feed(bytes.fromhex("050101000707" + "020000")) == [ITEMS[3], ITEMS[2]]


@pytest.mark.parametrize(
    ("encoded", "says"),
    [
        ("00", "ends"),
        ("0105", "ends"),
        ("020501", "sent bytes for fewer"),
        ("0500ffffff7f", "sent bytes for fewer"),
        ("0400020505", "do not rise"),
        ("0400020504", "do not rise"),
        ("818040", "the most"),
        ("ffffffffffffffffff01", "the most"),
        ("ffffffffffffffffff02", "number of more than"),
        ("8080808080808080808001", "number of more than"),
    ],
)
def test_what_is_no_item(encoded: str, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        ObserveReader().feed(bytes.fromhex(encoded))


def test_a_long_item() -> None:
    item = ObserveItem(1 << 60, ChunkRanges.from_boundaries(range(0, 600_000, 2)))
    encoded = encode_observe_item(item)
    reader = ObserveReader()
    assert reader.feed(encoded[:-1]) == []
    assert reader.feed(encoded[-1:] + STREAM) == [item, *ITEMS]
    with pytest.raises(ValueError, match="split"):
        encode_observe_item(ObserveItem(0, ChunkRanges.from_boundaries(range(0, 1_000_000, 2))))


def test_one_byte_at_a_time_is_not_quadratic() -> None:
    encoded = encode_varint(300_000) + b"\x00\x00" + bytes(299_998)
    reader = ObserveReader()
    assert [item for byte in encoded for item in reader.feed(bytes([byte]))] == [ITEMS[2]]
