"""The primitives of postcard, the encoding that the Rust implementation uses.

Whole numbers are varints of seven bits a byte, low bits first; lists and texts begin with their count; bytes
after a complete value are ignored. A varint may be longer than it needs to be, up to ten bytes, since the
Rust decoder takes that too; what is written here is always the shortest form.
"""

from collections.abc import Iterable

from peat_sidecar.errors import RemoteProtocolError

U64_MAX = (1 << 64) - 1
_VARINT_BYTES = 10


class CutOff(RemoteProtocolError):
    """The bytes end before the value does."""


def encode_varint(value: int) -> bytes:
    """A number from 0 to 2^64 - 1; ValueError for another one."""
    if not 0 <= value <= U64_MAX:
        raise ValueError(f"{value} is no unsigned number of 64 bits")
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_varints(values: Iterable[int]) -> bytes:
    """Numbers one after another."""
    return b"".join(map(encode_varint, values))


def encode_text(text: str) -> bytes:
    """A text in UTF-8 after its length in bytes."""
    data = text.encode()
    return encode_varint(len(data)) + data


def parse_varint(data: bytes | bytearray, position: int = 0) -> tuple[int, int]:
    """The number at a position, and where it ends."""
    value = shift = 0
    for at in range(position, min(position + _VARINT_BYTES, len(data))):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > U64_MAX:
                raise RemoteProtocolError("the peer sent a number of more than 64 bits")
            return value, at + 1
        shift += 7
    if len(data) - position < _VARINT_BYTES:
        raise CutOff("what the peer sent ends in the middle of a number")
    raise RemoteProtocolError("the peer sent a number of more than ten bytes")


class Reader:
    """Takes values from the front of bytes. Nothing is made before the bytes for it are known to be there."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def remaining(self) -> int:
        """Bytes that were not taken yet."""
        return len(self._data) - self._position

    def take(self, length: int) -> bytes:
        """So many raw bytes."""
        end = self._position + length
        if length > self.remaining:
            raise CutOff(f"what the peer sent ends {length - self.remaining} bytes too early")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def number(self, limit: int = U64_MAX) -> int:
        """One number up to a limit."""
        value, self._position = parse_varint(self._data, self._position)
        if value > limit:
            raise RemoteProtocolError(f"the peer sent {value} where {limit} is the most")
        return value

    def count(self, item_bytes: int) -> int:
        """How many items follow, each of which takes at least so many bytes."""
        count = self.number()
        if count * item_bytes > self.remaining:
            raise CutOff(f"the peer announced {count} items and sent bytes for fewer")
        return count

    def numbers(self, count: int) -> list[int]:
        """So many numbers; the count was checked."""
        data, position = self._data, self._position
        run = data[position : position + count]
        if len(run) == count and run.isascii():  # each is one byte, as most are: no loop in Python
            self._position = position + count
            return list(run)
        values = []
        for _ in range(count):
            value, position = parse_varint(data, position)
            values.append(value)
        self._position = position
        return values

    def text(self) -> str:
        """A text in UTF-8."""
        data = self.take(self.number())
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("the peer sent a text that is not UTF-8") from None

    def flag(self) -> bool:
        """One byte, 0 or 1."""
        byte = self.take(1)[0]
        if byte > 1:
            raise RemoteProtocolError(f"the peer sent {byte} where 0 or 1 is due")
        return byte == 1
