"""Who wants to hear of changes. They are told after the commit, in the order of commits, in the writing
thread.

A listener must be quick and must not wait for another thread: nobody writes meanwhile. It may read and write
records itself; what it writes is told after what it is being told of. One that raises is logged, and the
others are told all the same.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

_log = structlog.get_logger(__name__)
T = TypeVar("T")


class Listeners(Generic[T]):
    """Called by one thread at a time, which holds the lock of the writers."""

    def __init__(self) -> None:
        self._listeners: dict[object, Callable[[T], None]] = {}
        self._waiting: deque[T] = deque()
        self._telling = False

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def add(self, listener: Callable[[T], None]) -> Callable[[], None]:
        """What it gives ends it."""
        key = object()
        self._listeners = {**self._listeners, key: listener}

        def end() -> None:
            self._listeners = {each: heard for each, heard in self._listeners.items() if each is not key}

        return end

    def tell(self, news: T) -> None:
        """All of them, one after another."""
        self._waiting.append(news)
        if self._telling:
            return
        self._telling = True
        try:
            while self._waiting:
                self._tell_all(self._waiting.popleft())
        finally:
            self._telling = False
            self._waiting.clear()

    def _tell_all(self, news: T) -> None:
        for key, listener in self._listeners.items():
            if key not in self._listeners:  # it was ended by one before it
                continue
            try:
                listener(news)
            except Exception:  # noqa: BLE001 - a listener's fault must not undo or hide what is stored
                _log.exception("a listener to records failed")
