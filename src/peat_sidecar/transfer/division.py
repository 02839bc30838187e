"""Who fetches which part of one blob: pure arithmetic over sets of chunks, no I/O and no clock.

What nobody has taken is free. A taker gets one interval of whole groups, about as much as it fetches in a few
seconds, from its own starting place on, so that getters that are at it together take different parts and can
then give them to each other. When nothing is free, who is idle takes over the second part of what is slowest.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from peat_sidecar.ranges import GROUP_CHUNKS, ChunkRanges

LEAST_CHUNKS = GROUP_CHUNKS
MOST_CHUNKS = 1 << 15
"""32 MiB: a request for more would save nothing."""
FIRST_CHUNKS = 128
"""Of a part whose taker's rate is not known: one of many connections on 2 Mbit/s takes ten seconds for it."""
FIRST_RATE = 256.0
"""Chunks a second, until it is known."""
_GRACE_SECONDS = 2.0
"""Before that nothing is said against whoever took a part: the first bytes take a round trip."""
WORTH_SECONDS = 1.0
"""What has to be gained by taking over, which wastes what is on its way."""
_OWN_WORTH_SECONDS = 3.0
"""The same from another stream of the same peer, whose link carries both."""


@dataclass(eq=False, slots=True)
class Part:
    """What one request asks for. It shrinks while it arrives, and when somebody takes over its end."""

    left: ChunkRanges
    """Chunks that have not come yet."""
    taken_at: float
    rate: float
    """Chunks a second that are expected of whoever took it."""
    is_rate_known: bool
    """It was measured; before that a part is left in peace for a while."""
    peer: Hashable = None
    """Who is asked for it."""
    came: int = 0
    """Chunks."""
    came_at: float = 0.0
    """When the last of them came."""

    def may_be_taken_over(self, now: float) -> bool:
        """Not before it can be told how fast it comes."""
        return self.is_rate_known or now - self.taken_at >= _GRACE_SECONDS

    def seconds_left(self, now: float) -> float:
        """At the expected rate, or at the one that it really has where that is less than half of it."""
        elapsed = now - self.taken_at
        if now - max(self.came_at, self.taken_at) >= max(_GRACE_SECONDS, 4 * GROUP_CHUNKS / self.rate):
            return count(self.left) / 1e-3  # however fast it was before
        came = self.came + GROUP_CHUNKS  # of which some may be here, which shows with the last of them
        is_slow = elapsed >= _GRACE_SECONDS and came < self.rate * elapsed / 2
        rate = came / elapsed if is_slow else self.rate
        return count(self.left) / max(rate, 1e-3)


@dataclass(slots=True)
class Division:
    """Of one blob. Rates are in chunks a second, None where they are not known yet."""

    free: ChunkRanges
    """Not here, and nobody is at it."""
    parts: list[Part] = field(default_factory=list)
    """Under way."""

    @property
    def is_over(self) -> bool:
        """Nothing is left to fetch; somebody may not know it yet."""
        return not self.free and not any(part.left for part in self.parts)

    def take(
        self,
        held: ChunkRanges,
        rate: float | None,
        seconds: float,
        now: float,
        *,
        start: int = 0,
        maps: Iterable[ChunkRanges] = (),
        takers: int = 1,
        most: int = MOST_CHUNKS,
        peer: Hashable = None,
    ) -> Part | None:
        """A free part that the taker's peer holds, for so many seconds, and no more than half of a taker's
        share of what is left. It begins with what the fewest of the partial holders' maps have; among that
        with the first from chunk `start` on, then from the beginning. None when there is none.
        """
        there = self.free & held
        if not there:
            return None
        if takers > 1:
            most = min(most, int(count(self.free) / (2 * takers)))
        wanted = part_chunks(min(rate * seconds if rate else min(FIRST_CHUNKS, FIRST_RATE * seconds), most))
        first = start // wanted * wanted
        partial = list(maps)
        begin, end = _first_from(there, first, rarest(there, partial))
        if partial:
            part = _head(there - ChunkRanges.of(0, begin), wanted)
        else:
            aligned = begin // wanted * wanted + wanted
            part = ChunkRanges.of(begin, aligned if end is None else min(aligned, end)) & there
        self.free = self.free - part
        return self._add(part, rate, now, peer)

    def take_over(
        self,
        held: ChunkRanges,
        rate: float | None,
        now: float,
        *,
        worth: float = WORTH_SECONDS,
        most: int = MOST_CHUNKS,
        peer: Hashable = None,
    ) -> Part | None:
        """The end of the part that would take longest, so much that both are done at about the same time;
        all of it from one that is stuck. None where that would not gain `worth` seconds.
        """
        able = (part for part in self.parts if part.may_be_taken_over(now) and part.left & held)
        slowest = max(
            (part for part in able if not self._is_with_another(part, now)),
            key=lambda part: part.seconds_left(now),
            default=None,
        )
        if slowest is None:
            return None
        chunks, seconds = count(slowest.left), slowest.seconds_left(now)
        share = seconds / (seconds + chunks / (rate or FIRST_RATE))
        is_own = peer is not None and peer == slowest.peer
        if seconds * share < (max(worth, _OWN_WORTH_SECONDS) if is_own else worth):
            return None
        ranges = _tail(slowest.left, min(most, int(chunks * share))) & held
        if not ranges:
            return None
        if ranges != slowest.left:
            slowest.left = slowest.left - ranges
        return self._add(ranges, rate, now, peer)

    def _is_with_another(self, part: Part, now: float) -> bool:
        """Whether somebody faster is at all of it already."""
        seconds = part.seconds_left(now)
        return any(
            each is not part and not part.left - each.left and each.seconds_left(now) < seconds
            for each in self.parts
        )

    def arrived(self, part: Part, chunks: ChunkRanges, now: float = 0.0) -> None:
        """Some of it is here, whoever else is at it as well."""
        self.free = self.free - chunks
        part.came += count(chunks)
        part.came_at = now
        for each in self.parts:
            each.left = each.left - chunks

    def give_back(self, part: Part) -> None:
        """What did not come is free again, unless somebody else is at it."""
        self.parts.remove(part)
        left = part.left
        for each in self.parts:
            left = left - each.left
        self.free = self.free | left

    def _add(self, ranges: ChunkRanges, rate: float | None, now: float, peer: Hashable) -> Part:
        part = Part(ranges, now, rate or FIRST_RATE, is_rate_known=rate is not None, peer=peer)
        self.parts.append(part)
        return part


def part_chunks(chunks: float) -> int:
    """About so many, a power of two: aligned, a part needs few pairs to prove it."""
    wanted = max(LEAST_CHUNKS, min(MOST_CHUNKS, int(chunks)))
    return 1 << (wanted.bit_length() - 1)


def count(ranges: ChunkRanges) -> int:
    """Chunks in a set that has an end."""
    return sum((end or start) - start for start, end in ranges.intervals())


def rarest(ranges: ChunkRanges, maps: Iterable[ChunkRanges]) -> ChunkRanges:
    """Those of a set that the fewest maps have."""
    by_count = [ranges]
    for held in maps:
        by_count.append(ChunkRanges.none())
        for number in reversed(range(len(by_count) - 1)):
            also = by_count[number] & held
            by_count[number] -= also
            by_count[number + 1] |= also
    return next((each for each in by_count if each), ChunkRanges.none())


def _first_from(ranges: ChunkRanges, start: int, rare: ChunkRanges) -> tuple[int, int | None]:
    """Where to begin, and the end of what is there in one piece: it may go on beyond what is rare, lest false
    maps could cut parts to pieces.
    """
    behind = rare - ChunkRanges.of(0, start) if start else rare
    begin, _ = next((behind or rare).intervals())
    return next((ranges - ChunkRanges.of(0, begin)).intervals())


def _head(ranges: ChunkRanges, chunks: int) -> ChunkRanges:
    """The first so many chunks, over gaps."""
    left = chunks
    for start, end in ranges.intervals():
        if end is None or end - start >= left:
            return ranges & ChunkRanges.of(0, start + left)
        left -= end - start
    return ranges


def _tail(ranges: ChunkRanges, chunks: int) -> ChunkRanges:
    """The last so many chunks, from a group's beginning on; at least the last group."""
    left = max(chunks, 1)
    for start, end in reversed(list(ranges.intervals())):
        last = end or start
        if last - start >= left:
            first = -(-(last - left) // GROUP_CHUNKS) * GROUP_CHUNKS
            if first >= last:
                first = (last - 1) // GROUP_CHUNKS * GROUP_CHUNKS
            return ranges & ChunkRanges.of(max(start, first), None)
        left -= last - start
    return ranges
