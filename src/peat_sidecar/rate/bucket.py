"""A token bucket that may be overdrawn: who takes more than is there makes the next one wait."""

BURST_SECONDS = 0.1
"""What may go at once after a pause. Small, so that a second's bytes are a second's rate."""

TURN_SECONDS = 0.005
"""Until it is looked again whether another has had its turn."""
_TICK_SECONDS = 1e-6
"""Less is nothing: a clock in floating point could not be put forward by it."""


class Bucket:
    """Of one limit."""

    def __init__(self, rate: float | None) -> None:
        """Bytes per second, or None."""
        self.rate = rate
        self._level = 0.0
        self._at: float | None = None

    def change(self, rate: float | None, now: float) -> None:
        """From now on another rate. What was overdrawn is forgotten with a limit that ends, and stays so in
        seconds with one that is lowered: in bytes it could stop everything for minutes.
        """
        self._fill(now)
        if rate is None or self.rate is None:
            self._level = 0.0
        elif rate < self.rate:
            self._level *= rate / self.rate
        self.rate = rate

    def wait_seconds(self, now: float) -> float:
        """Until something may go; 0 when it may now."""
        if self.rate is None:
            return 0.0
        self._fill(now)
        wait = -self._level / self.rate
        return wait if wait > _TICK_SECONDS else 0.0

    def take(self, size: float, now: float) -> None:
        """Counts bytes that go, whether there was room or not; negative ones are given back."""
        if self.rate is not None:
            self._fill(now)
            self._level -= size

    def _fill(self, now: float) -> None:
        if self.rate is not None and self._at is not None:
            gained = max(0.0, now - self._at) * self.rate
            self._level = min(self._level + gained, self.rate * BURST_SECONDS)
        self._at = now if self._at is None else max(self._at, now)


class Shared:
    """A bucket that several gates take from, in turn: whoever comes first would else get everything."""

    def __init__(self, rate: float | None = None) -> None:
        self.bucket = Bucket(rate)
        self._sides: list[Side] = []

    def side(self) -> "Side":
        """One gate's access to it."""
        side = Side(self.bucket, self._sides)
        self._sides.append(side)
        return side


class Side:
    """As a `Bucket`, for one of those who share it."""

    def __init__(self, bucket: Bucket, sides: "list[Side]") -> None:
        self._bucket = bucket
        self._sides = sides
        self._taken = 0.0
        self._wants = False

    @property
    def rate(self) -> float | None:
        return self._bucket.rate

    @property
    def wants(self) -> bool:
        """Whether nothing but this bucket keeps it waiting."""
        return self._wants

    @wants.setter
    def wants(self, value: bool) -> None:
        if value and not self._wants:
            others = (each._taken for each in self._sides if each is not self and each._wants)
            self._taken = max(self._taken, min(others, default=0.0))
        self._wants = value

    def wait_seconds(self, now: float) -> float:
        """Until something may go; a moment when it is another's turn."""
        wait = self._bucket.wait_seconds(now)
        if wait > 0 or self._bucket.rate is None:
            return wait
        others = (each for each in self._sides if each is not self and each._wants)
        return TURN_SECONDS if any(each._taken < self._taken for each in others) else 0.0

    def take(self, size: float, now: float) -> None:
        """Counts bytes that go."""
        self._taken += size
        self._bucket.take(size, now)
