"""What one peer does for a transfer: its bytes, its rate, and how it is."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum

RATE_SECONDS = 5.0
"""Over which a rate is told."""
SILENT_SECONDS = 3.0
"""Without a byte of an answer that is due, after which a peer is called silent."""
_MOMENT_SECONDS = 0.2


class SourceState(Enum):
    """How a peer is."""

    WORKING = "working"
    IDLE = "idle"
    """Nothing is asked of it: a limit holds, or others are at all there is."""
    SILENT = "silent"
    GONE = "gone"
    """It cannot be reached, or broke off; it is tried again."""
    LACKING = "lacking"
    """It does not hold the rest."""
    BANNED = "banned"
    """It sent wrong bytes."""


class SourceProgress:
    """One peer's counters. They are raised on the event loop and may be read from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.done_bytes = 0
        """Verified. What two peers brought at once counts for both."""
        self.connections = 0
        """In use now."""
        self.requests = 0
        """That it has to answer now."""
        self.why = ""
        """What is wrong with it."""
        self._clock = clock
        self._fault: SourceState | None = None
        self._heard_at = clock()
        self._began = clock()
        self._moments: deque[tuple[float, int]] = deque()
        """When bytes came of late, and how many."""

    @property
    def state(self) -> SourceState:
        """Now."""
        if self._fault is not None:
            return self._fault
        if not self.requests:
            return SourceState.IDLE
        return SourceState.SILENT if self._clock() - self._heard_at > SILENT_SECONDS else SourceState.WORKING

    @property
    def bytes_per_second(self) -> float:
        """Over the last seconds."""
        now = self._clock()
        came = sum(size for at, size in self._moments.copy() if now - at < RATE_SECONDS)
        return came / min(RATE_SECONDS, max(1.0, now - self._began))

    def done(self, size: int) -> None:
        """So many verified bytes more."""
        self.done_bytes += size
        now = self._clock()
        while self._moments and now - self._moments[0][0] >= RATE_SECONDS:
            self._moments.popleft()
        if self._moments and now - self._moments[-1][0] < _MOMENT_SECONDS:
            at, before = self._moments.pop()
            self._moments.append((at, before + size))
        else:
            self._moments.append((now, size))

    def heard(self) -> bool:
        """Bytes came, whatever they are worth; whether it had been given up."""
        self._heard_at = self._clock()
        was_lost = self._fault is SourceState.GONE
        if self._fault is not SourceState.BANNED:
            self._fault, self.why = None, ""
        return was_lost

    def failed(self, state: SourceState, why: str) -> None:
        """Until bytes come again; for good when it is banned."""
        self._fault, self.why = state, why

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """One connection is in use meanwhile."""
        self.connections += 1
        try:
            yield
        finally:
            self.connections -= 1

    def asked(self) -> None:
        """A request goes out; its answer is due from now on."""
        if not self.requests:
            self._heard_at = self._clock()
        self.requests += 1

    def answered(self) -> None:
        """One is over, however."""
        self.requests -= 1
