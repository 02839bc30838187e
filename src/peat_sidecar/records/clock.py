"""Hybrid logical clocks: 48 bits of unix milliseconds, 16 bits of a counter, in one integer. Pure.

Each is later than all that this node has seen, so that what was written after something was read wins over
it, even where the wall clocks of the two writers differ. Clocks more than a day ahead are set aside on
arrival, so that a wrong one moves nobody's.
"""

from peat_sidecar.records.bounds import NUMBER_LIMIT

DAY = 86_400_000 << 16
"""How far ahead a clock may be: more than clocks of machines that are looked after differ."""


def clock_at(now: float) -> int:
    """Of unix seconds."""
    milliseconds = min(max(0.0, now * 1000), NUMBER_LIMIT >> 16)
    return int(milliseconds) << 16


def horizon_at(now: float) -> int:
    """The last clock that counts now."""
    return min(clock_at(now) + DAY, NUMBER_LIMIT)


class HybridClock:
    """The last clock that counted or was given here."""

    def __init__(self, last: int = 0) -> None:
        self._last = last

    @property
    def last(self) -> int:
        return self._last

    def saw(self, clock: int) -> None:
        """A record that counts has it."""
        self._last = max(self._last, clock)

    def next(self, now: float, *, behind: bool = False) -> int:
        """Later than all before it.

        A last clock beyond the horizon comes from a time when this node's wall clock was wrong, and is
        forgotten; unless `behind` says that it is wrong now.
        """
        if not behind and self._last > horizon_at(now):
            self._last = 0
        self._last = max(clock_at(now), min(self._last + 1, NUMBER_LIMIT))
        return self._last
