"""What is in use just now: blobs that a transfer is at work with, and blobs that are handed out.

What is held is not deleted by anyone. What is handed out is passed over when room is made, also for a minute
after its last byte: a client that pulls a package asks for its blobs one after the other.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from peat_sidecar.ids import BlobHash, Digest

LINGER_SECONDS = 60.0
_ENDED_LIMIT = 4096
"""Ends that are remembered before those that mean nothing any more are forgotten."""

Name = BlobHash | Digest


class Holds:
    """Blobs by the names that those who hold them know; they need not be here yet. Thread-safe."""

    def __init__(self) -> None:
        self._held: Counter[Name] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, names: Iterable[Name]) -> Iterator[None]:
        """Nobody deletes the blobs of these names meanwhile."""
        held = tuple(names)
        with self._lock:
            self._held.update(held)
        try:
            yield
        finally:
            with self._lock:
                self._held.subtract(held)
                for name in held:
                    if not self._held[name]:
                        del self._held[name]

    def any(self, names: Iterable[Name | None]) -> bool:
        """Whether a blob of these names is held."""
        with self._lock:
            return any(name in self._held for name in names)


class HandedOut:
    """Blobs that are handed out, to clients and peers. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._going: Counter[BlobHash] = Counter()
        self._ended: dict[BlobHash, float] = {}
        self._lock = threading.Lock()

    def begin(self, blob: BlobHash) -> None:
        """One more reads it."""
        with self._lock:
            self._going[blob] += 1

    def end(self, blob: BlobHash) -> None:
        """One less does."""
        now = self._clock()
        with self._lock:
            self._going[blob] -= 1
            if not self._going[blob]:
                del self._going[blob]
            self._ended[blob] = now
            if len(self._ended) > _ENDED_LIMIT:
                self._ended = {each: at for each, at in self._ended.items() if now - at < LINGER_SECONDS}

    def current(self) -> frozenset[BlobHash]:
        """Those that are read, or were a moment ago."""
        since = self._clock() - LINGER_SECONDS
        with self._lock:
            return frozenset(self._going) | {each for each, at in self._ended.items() if at > since}
