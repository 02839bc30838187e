"""The primitives: what they take, what they write, and that nothing is made of an announcement alone."""

import pytest

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.wire.postcard import U64_MAX, CutOff, Reader, encode_text, encode_varint, parse_varint

NUMBERS = {
    0: "00",
    1: "01",
    127: "7f",
    128: "8001",
    16383: "ff7f",
    16384: "808001",
    U64_MAX >> 1: "ffffffffffffffff7f",
    U64_MAX: "ffffffffffffffffff01",
}


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers(value: int) -> None:
    encoded = bytes.fromhex(NUMBERS[value])
    assert encode_varint(value) == encoded
    assert parse_varint(b"x" + encoded + b"x", 1) == (value, 1 + len(encoded))
    for length in range(len(encoded)):
        with pytest.raises(CutOff):
            parse_varint(encoded[:length])


@pytest.mark.parametrize("value", [-1, U64_MAX + 1])
def test_numbers_that_are_not_written(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        encode_varint(value)


@pytest.mark.parametrize(
    ("encoded", "value"),
    [("8000", 0), ("8100", 1), ("80808080808080808000", 0), ("ff80808080808080" + "8000", 127)],
)
def test_longer_forms_are_taken_as_the_rust_decoder_does(encoded: str, value: int) -> None:
    assert parse_varint(bytes.fromhex(encoded)) == (value, len(encoded) // 2)


@pytest.mark.parametrize(
    "encoded", ["ffffffffffffffffff02", "ffffffffffffffffff7f", "80" * 10, "80" * 10 + "01", "ff" * 99]
)
def test_numbers_beyond_64_bits(encoded: str) -> None:
    with pytest.raises(RemoteProtocolError, match="number of more than") as caught:
        parse_varint(bytes.fromhex(encoded))
    assert not isinstance(caught.value, CutOff)


def test_a_count_is_held_against_the_bytes_that_are_left() -> None:
    for announced in (3, 1 << 20, U64_MAX):
        with pytest.raises(CutOff, match="sent bytes for fewer"):
            Reader(encode_varint(announced) + bytes(64)).count(32)
    assert Reader(b"\x02" + bytes(64)).count(32) == 2


def test_take_text_and_flag() -> None:
    reader = Reader(encode_text("é ✓") + b"\x01\x00ab")
    assert (reader.text(), reader.flag(), reader.flag(), reader.take(2), reader.remaining) == (
        "é ✓",
        True,
        False,
        b"ab",
        0,
    )
    with pytest.raises(CutOff, match="1 bytes too early"):
        reader.take(1)
    for bad in (b"\x01\xff", b"\x03\xed\xa0\x80", b"\x02\xc0\x80"):
        with pytest.raises(RemoteProtocolError, match="UTF-8"):
            Reader(bad).text()
    with pytest.raises(CutOff):
        Reader(encode_varint(U64_MAX) + b"abc").text()
    with pytest.raises(RemoteProtocolError, match="0 or 1"):
        Reader(b"\x02").flag()


@pytest.mark.parametrize("values", [[], [1, 2, 127], [0, 128, 5], [U64_MAX] * 3])
def test_runs_of_numbers(values: list[int]) -> None:
    encoded = b"".join(map(encode_varint, values))
    reader = Reader(encoded + b"\x07")
    assert reader.numbers(len(values)) == values
    assert reader.number() == 7
    with pytest.raises(RemoteProtocolError):
        Reader(encoded).numbers(len(values) + 1)


def test_limits() -> None:
    assert Reader(b"\x05").number(5) == 5
    with pytest.raises(RemoteProtocolError, match="5 is the most"):
        Reader(b"\x06").number(5)
