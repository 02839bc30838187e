"""What has failed is not asked again for a while, so that a failure costs once."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from peat_sidecar.errors import PeerUnavailable

FIRST_SECONDS = 30.0
LONGEST_SECONDS = 300.0
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class _Outage:
    until: float
    seconds: float
    why: str


class Outages:
    """By name of a place: 30 s after its first failure it is asked again, then after twice as long each time,
    up to five minutes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._outages: dict[str, _Outage] = {}

    def __contains__(self, place: str) -> bool:
        """Whether it is not to be asked now."""
        outage = self._outages.get(place)
        return outage is not None and self._clock() < outage.until

    def require_none(self, *places: str) -> None:
        """`PeerUnavailable` while one of them is not to be asked."""
        for place in places:
            if place in self:
                outage = self._outages[place]
                left = outage.until - self._clock()
                raise PeerUnavailable(f"{outage.why} (it is asked again in {left:.0f} s)")

    def failed(self, place: str, why: str) -> None:
        """Failures of requests that were under way together count once."""
        if place in self:
            return
        before = self._outages.pop(place, None)
        seconds = min(2 * before.seconds, LONGEST_SECONDS) if before is not None else FIRST_SECONDS
        self._outages[place] = _Outage(self._clock() + seconds, seconds, why)
        if len(self._outages) > _REMEMBERED:
            del self._outages[next(iter(self._outages))]

    def worked(self, place: str) -> None:
        """The next failure is the first one."""
        self._outages.pop(place, None)
