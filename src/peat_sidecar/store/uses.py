"""When packages were used last, by their roots: in memory; whoever asks for it remembers them."""

import threading
import time
from collections.abc import Callable, Collection, Mapping

from peat_sidecar.ids import Digest

COARSE_SECONDS = 600.0
"""A later use is worth a write once it is so much later."""


class LastUses:
    """Unix seconds. Thread-safe."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._at: dict[Digest, float] = {}
        self._written: dict[Digest, float] = {}
        self._lock = threading.Lock()

    def load(self, remembered: Mapping[Digest, float]) -> None:
        """What was remembered when the program ran last."""
        with self._lock:
            self._written = dict(remembered)
            self._at = self._written | self._at

    def note(self, root: Digest) -> None:
        """It is used now."""
        with self._lock:
            self._at[root] = self._now()

    def at(self, root: Digest) -> float:
        """Of one that was never used: now, which is then its first use."""
        with self._lock:
            return self._at.setdefault(root, self._now())

    def to_write(self, here: Collection[Digest]) -> tuple[dict[Digest, float], list[Digest]]:
        """What has to be remembered, and whose packages are not here any more; taken for done."""
        with self._lock:
            gone = [root for root in self._at.keys() | self._written.keys() if root not in here]
            for root in gone:
                self._at.pop(root, None)
            fresh = {
                root: at for root, at in self._at.items() if at - self._written.get(root, 0) >= COARSE_SECONDS
            }
            gone = [root for root in gone if self._written.pop(root, None) is not None]
            self._written |= fresh
        return fresh, gone
