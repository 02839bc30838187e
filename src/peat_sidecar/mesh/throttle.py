"""Bounds what a peer can make this node do for nothing. Pure; time is a parameter."""

BYTES_PER_SECOND = 1 << 20
BURST_BYTES = 8 << 20


class Throttle:
    """A bucket that leaks: work that was of no use fills it, and while it is over, the peer has to wait.

    Frames about heads, and records that are here already, are of no use in this sense; a peer that only does
    what the protocol needs never waits. One that floods gets its megabyte a second looked at, and its stream
    fills up behind that.
    """

    def __init__(self, now: float) -> None:
        self._filled = 0.0
        self._at = now

    def charge(self, cost_bytes: int, now: float) -> float:
        """Seconds to wait before more is read."""
        self._filled = max(0.0, self._filled - (now - self._at) * BYTES_PER_SECOND) + cost_bytes
        self._at = now
        return max(0.0, self._filled - BURST_BYTES) / BYTES_PER_SECOND
