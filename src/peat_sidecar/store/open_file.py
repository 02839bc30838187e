"""An open file that several threads read while another one may close it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from peat_sidecar.errors import StoreFailed
from peat_sidecar.store.disk import Disk


class OpenFile:
    """Keeps the descriptor open until the last user is done: a number closed too early would be given to
    another file, and a reader would get that one's bytes.
    """

    def __init__(self, disk: Disk, fd: int) -> None:
        self._disk = disk
        self._fd = fd
        self._users = 0
        self._closing = False
        self._lock = threading.Lock()

    @contextmanager
    def use(self) -> Iterator[int]:
        """The descriptor, valid inside the block."""
        with self._lock:
            if self._closing:
                raise StoreFailed("this blob is closed; open it again")
            self._users += 1
        try:
            yield self._fd
        finally:
            self._leave()

    def close(self) -> None:
        """At once, or when the last reader is done. Closing again does nothing."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            last = not self._users
        if last:
            self._disk.close(self._fd)

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._closing and not self._users
        if last:
            self._disk.close(self._fd)
