"""The thread that makes the progress of partial blobs durable, so that no writer waits for the disk."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Protocol


class Checkpointed(Hashable, Protocol):
    """What can be made durable."""

    def checkpoint_due(self) -> None:
        """Does it; keeps its errors for whoever writes next."""


class Checkpointer:
    """Runs each checkpoint when it is due, one after another. The thread starts with the first one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[Checkpointed, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def request(self, blob: Checkpointed, delay_seconds: float) -> None:
        """A checkpoint at the latest after that time."""
        due = self._clock() + delay_seconds
        with self._changed:
            if self._closed or self._due.get(blob, due + 1) <= due:
                return
            self._due[blob] = due
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
                self._thread.start()
            self._changed.notify()

    def forget(self, blob: Checkpointed) -> None:
        with self._changed:
            self._due.pop(blob, None)

    def close(self) -> None:
        """Ends the thread; what is due is left to the owners."""
        with self._changed:
            self._closed = True
            self._due.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (blob := self._next()) is not None:
            blob.checkpoint_due()

    def _next(self) -> Checkpointed | None:
        with self._changed:
            while not self._closed:
                if not self._due:
                    self._changed.wait()
                    continue
                blob, due = min(self._due.items(), key=lambda item: item[1])
                wait = due - self._clock()
                if wait <= 0:
                    del self._due[blob]
                    return blob
                self._changed.wait(wait)
        return None
