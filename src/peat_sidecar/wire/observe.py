"""The answer to Observe: items that say which chunks a provider holds.

The first is the state, each later one what came since; the stream ends only when one side leaves. Unlike in
requests, boundaries are absolute.
"""

from dataclasses import dataclass
from itertools import pairwise

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.wire.postcard import CutOff, Reader, encode_varint, encode_varints, parse_varint
from peat_sidecar.wire.protocol import BODY_LIMIT


@dataclass(frozen=True, slots=True)
class ObserveItem:
    """News about one blob."""

    size: int
    """Bytes of the blob as far as the provider knows, else 0; proven when the last chunk is held."""
    ranges: ChunkRanges
    """Chunks that are held now and were not before; open at the end once the last chunk is held."""


def encode_observe_item(item: ObserveItem) -> bytes:
    """The item after its length; ValueError when it is longer than a getter takes."""
    boundaries = item.ranges.boundaries
    body = encode_varints((item.size, len(boundaries), *boundaries))
    if len(body) > BODY_LIMIT:
        raise ValueError(f"an item of {len(body)} bytes is too long; split its ranges")
    return encode_varint(len(body)) + body


class ObserveReader:
    """Makes items of a stream's bytes, however they are cut. It holds one incomplete item, 1 MiB at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[ObserveItem]:
        """The items that these bytes complete."""
        self._buffer += data
        items: list[ObserveItem] = []
        position = 0
        while (end := self._end_of_item(position)) is not None:
            items.append(_parse_item(Reader(bytes(self._buffer[end[0] : end[1]]))))
            position = end[1]
        del self._buffer[:position]
        return items

    def _end_of_item(self, position: int) -> tuple[int, int] | None:
        """Where the body of the item at a position begins and ends; None when it is not all here."""
        try:
            length, begin = parse_varint(self._buffer, position)
        except CutOff:
            return None
        if length > BODY_LIMIT:
            raise RemoteProtocolError(
                f"the peer announced an item of {length} bytes; {BODY_LIMIT} are the most"
            )
        return (begin, begin + length) if begin + length <= len(self._buffer) else None


def _parse_item(reader: Reader) -> ObserveItem:
    size = reader.number()
    boundaries = reader.numbers(reader.count(1))
    if any(left >= right for left, right in pairwise(boundaries)):
        raise RemoteProtocolError("the peer sent chunk boundaries that do not rise")
    return ObserveItem(size, ChunkRanges.from_boundaries(boundaries))
