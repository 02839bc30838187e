"""Who is getting the same at the same time, and who of them asks the seeds for what.

A seed has everything, and one way out for all. It is asked for what nobody else can give, and each piece of
that by one getter only, who gives it to the others. Which one that is follows from the ids of those that are
known to be at it (rendezvous hashing), so that they need not talk about it: where one knows others than
another one does, they agree on most pieces all the same.
"""

from collections.abc import Iterable
from functools import reduce
from hashlib import blake2b
from operator import or_

from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.ranges import GROUP_CHUNKS, ChunkRanges, chunk_count
from peat_sidecar.transfer.live_maps import LiveMaps
from peat_sidecar.transfer.wants import Want

PIECES = 256
"""Of a blob, each somebody's."""
_MUCH_FASTER = 2.0
"""A slow partial holder had better not keep a fast seed idle."""


class Crowd:
    """The peers that are at work on one fetch."""

    def __init__(self, own: EndpointId | None = None) -> None:
        """`own` is what the others know this node by; without it nothing is left to them."""
        self.maps: list[LiveMaps] = []
        """What each of them holds, where it does not hold all."""
        self._own = own
        self._shares: dict[BlobHash, tuple[frozenset[EndpointId], ChunkRanges]] = {}

    def __len__(self) -> int:
        return len(self.maps)

    def maps_of(self, want: Want) -> list[ChunkRanges]:
        """What partial holders have of a blob."""
        return [held for each in self.maps if (held := each.get(want.hash)) is not None]

    def left_to_others(self, want: Want, seed: LiveMaps) -> ChunkRanges:
        """What a seed is not asked for now: what partial holders have, where they bring much more than it
        does, and what they will ask it for.
        """
        there = [each for each in self.maps if want.hash in each]
        if not there:
            return ChunkRanges.none()
        covered = reduce(or_, self.maps_of(want))
        theirs = ChunkRanges.all() - self._share(want, there) - covered
        is_covered = sum(each.bytes_per_second() for each in there) > _MUCH_FASTER * seed.bytes_per_second()
        return theirs | covered if is_covered else theirs

    def _share(self, want: Want, others: Iterable[LiveMaps]) -> ChunkRanges:
        """This node's pieces among those that lack some of the blob."""
        if self._own is None:
            return ChunkRanges.all()
        everything = ChunkRanges.all().clamp(want.size)
        getting = (each for each in others if each.is_getting)
        maps = ((each.peer, each.get(want.hash)) for each in getting)
        ids = frozenset(peer for peer, held in maps if held is not None and everything - held)
        known, share = self._shares.get(want.hash, (None, ChunkRanges.all()))
        if ids != known:
            share = share_of(want, self._own, ids)
            self._shares[want.hash] = ids, share
        return share


def share_of(want: Want, own: EndpointId, others: Iterable[EndpointId]) -> ChunkRanges:
    """The pieces of a blob that are `own`'s among all of them."""
    chunks = chunk_count(want.size)
    piece = -(-chunks // (PIECES * GROUP_CHUNKS)) * GROUP_CHUNKS
    rivals = list(others)
    boundaries: list[int] = []
    for number in range(-(-chunks // piece)):
        weight = _weight(want, number, own)
        if all(weight > _weight(want, number, rival) for rival in rivals):
            if boundaries and boundaries[-1] == number * piece:
                boundaries.pop()
            else:
                boundaries.append(number * piece)
            boundaries.append((number + 1) * piece)
    return ChunkRanges(tuple(boundaries))


def _weight(want: Want, piece: int, node: EndpointId) -> bytes:
    return blake2b(node.value + piece.to_bytes(8), key=want.hash.value, digest_size=8).digest()
