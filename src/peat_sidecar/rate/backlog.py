"""How much a connection has been given to send and has not sent: an estimate, since the transport does not
say.

What was written is known, what went is told by the connection's counters: bytes in datagrams, less what each
datagram and repetition costs. The estimate errs to the side of a longer queue; when a whole round trip
passes without anything sent, there was none.
"""

from dataclasses import dataclass

HEADER_BYTES = 40
"""Of a full datagram: QUIC's header and tag and the stream frame's header, 31 to 40 bytes."""
_WINDOW_SECONDS = 0.5
_QUIET_SECONDS = 0.25
LEAST_BYTES = 4 << 10
"""Always allowed: three datagrams."""
FIRST_BYTES = 32 << 10
"""What may be unsent at first, and then as much as has gone, until a rate is known."""


@dataclass(slots=True)
class Backlog:
    """Of one connection; time is a parameter."""

    unsent_bytes: float = 0.0
    rate: float | None = None
    """Bytes per second that went of late; None before that is known."""
    _sent_bytes: int = 0
    _datagrams: int = 0
    _lost_bytes: int = 0
    _looked_at: float | None = None
    _window_at: float = 0.0
    _window_bytes: float = 0.0
    _moved_at: float = 0.0
    _gone_bytes: float = 0.0

    def wrote(self, size: int) -> None:
        """Given to the transport."""
        self.unsent_bytes += size

    def look(self, sent_bytes: int, datagrams: int, lost_bytes: int, rtt: float, now: float) -> None:
        """The connection's counters as they are now."""
        if self._looked_at is None:
            self._window_at = self._moved_at = now
        else:
            went = sent_bytes - self._sent_bytes - HEADER_BYTES * (datagrams - self._datagrams)
            went -= lost_bytes - self._lost_bytes
            if went > 0:
                self._moved_at = now
                self.unsent_bytes = max(0.0, self.unsent_bytes - went)
                self._window_bytes += went
                self._gone_bytes += went
            elif now - self._moved_at > max(_QUIET_SECONDS, 2 * rtt):
                self.unsent_bytes = 0.0
            passed = now - self._window_at
            if passed >= _WINDOW_SECONDS:
                if self._window_bytes > 0:
                    self._learn(self._window_bytes / passed)
                self._window_at, self._window_bytes = now, 0.0
        self._sent_bytes, self._datagrams, self._lost_bytes = sent_bytes, datagrams, lost_bytes
        self._looked_at = now

    def _learn(self, rate: float) -> None:
        """Where nothing waits, it is the writer that was slow: that says nothing about the path."""
        if self.rate is None or rate > self.rate:
            self.rate = rate
        elif self.unsent_bytes > LEAST_BYTES / 2:
            self.rate = (self.rate + rate) / 2

    def room(self, seconds: float) -> float:
        """What may be written so that no more than so many seconds' worth is unsent; below 0: nothing yet."""
        if self.rate is None:
            return max(FIRST_BYTES, self._gone_bytes) - self.unsent_bytes
        return max(self.rate * seconds, LEAST_BYTES) - self.unsent_bytes

    def is_idle(self) -> None:
        """Nothing is under way: what the estimate says is an error of it."""
        self.unsent_bytes = 0.0
