"""What was worked out once and never changes, as long as it takes little memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """Bounded in bytes; what was asked for the longest ago is forgotten. Thread-safe."""

    def __init__(self, work_out: Callable[[K], V], size_of: Callable[[V], int], limit_bytes: int) -> None:
        self._work_out = work_out
        self._size_of = size_of
        self._limit_bytes = limit_bytes
        self._known: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.bytes = 0
        self._lock = threading.Lock()

    def __call__(self, key: K) -> V:
        """Worked out where it is not known; its errors are not remembered."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key][0]
        value = self._work_out(key)
        size = self._size_of(value)
        with self._lock:
            if key not in self._known:
                self._known[key] = value, size
                self.bytes += size
            while self.bytes > self._limit_bytes:
                _, (_, freed) = self._known.popitem(last=False)
                self.bytes -= freed
        return value
