"""What a host's access link is like, one direction at a time; pure arithmetic, time is a parameter.

A packet waits in the queue until the link is free, takes `bytes * 8 / rate` to be sent, then its delay. It is
lost by chance, by a full queue, or by an outage. The same seed gives the same fate to the same packets.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Direction:
    """One way of a link."""

    rate_bits: float = 0.0
    """Per second; 0 is no limit."""
    delay_seconds: float = 0.0
    """One way."""
    jitter_seconds: float = 0.0
    """Added to the delay, evenly from 0 to this; packets stay in order."""
    loss: float = 0.0
    """Share of packets, 0 to 1."""
    reorder: float = 0.0
    """Share of packets that overtake those before them: they skip the delay."""
    queue_bytes: int = 256 << 10
    """What waits for the link at most."""
    outages: tuple[tuple[float, float], ...] = ()
    """Start, in seconds since the lab began, and length: nothing gets through."""
    is_down: bool = False
    """Nothing gets through until it is set back."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """From JSON."""
        outages = tuple((float(start), float(length)) for start, length in values.get("outages", ()))
        return cls(**(values | {"outages": outages}))

    def changed(self, values: dict[str, Any]) -> "Direction":
        """With some values replaced."""
        return Direction.of({each: getattr(replace(self), each) for each in self.__slots__} | values)


def random_outages(
    seed: int, count: int, within_seconds: float, shortest: float, longest: float
) -> tuple[tuple[float, float], ...]:
    """Outages that do not overlap, spread over a time; the same for the same seed."""
    chance = random.Random(seed)
    slot = within_seconds / count
    found = []
    for number in range(count):
        length = min(chance.uniform(shortest, longest), slot * 0.9)
        found.append((number * slot + chance.uniform(0, slot - length), length))
    return tuple(found)


@dataclass(slots=True)
class Counters:
    """What became of packets."""

    packets: int = 0
    bytes: int = 0
    """Of packets that got through, IP header and all."""
    lost: int = 0
    dropped: int = 0
    """By the full queue."""
    cut: int = 0
    """By an outage."""


@dataclass(slots=True)
class Pipe:
    """A direction at work."""

    direction: Direction
    seed: str
    counters: Counters = field(default_factory=Counters)
    _free_at: float = 0.0
    _last_arrival: float = 0.0
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def send(self, length: int, now: float) -> float | None:
        """When a packet that comes now arrives at the other end; None when it does not."""
        way, counters = self.direction, self.counters
        lost = bool(way.loss) and self._chance.random() < way.loss
        jitter = self._chance.random() * way.jitter_seconds if way.jitter_seconds else 0.0
        overtakes = bool(way.reorder) and self._chance.random() < way.reorder
        if way.is_down or is_within(way.outages, now):
            counters.cut += 1
            return None
        start = max(now, self._free_at)
        if way.rate_bits:
            if (start - now) * way.rate_bits / 8 > way.queue_bytes:
                counters.dropped += 1
                return None
            start += length * 8 / way.rate_bits
            self._free_at = start
        if lost:  # after it took its time on the link
            counters.lost += 1
            return None
        counters.packets += 1
        counters.bytes += length
        if overtakes:
            return start
        arrival = max(start + way.delay_seconds + jitter, self._last_arrival)
        self._last_arrival = arrival
        return arrival


def is_within(outages: Sequence[tuple[float, float]], now: float) -> bool:
    """Whether a moment lies in one of them."""
    return any(start <= now < start + length for start, length in outages)
