"""Pins: packages that are never taken out for room, by reference, pattern or content."""

import time
from collections.abc import Callable
from fnmatch import fnmatchcase

from peat_sidecar.errors import ConfigError, Refused
from peat_sidecar.state import Pin, State
from peat_sidecar.store import StoredPackage

PINS_LIMIT = 1000
_NAME_CHARACTERS = 512


class Pins:
    """Durable. Thread-safe."""

    def __init__(self, state: State, now: Callable[[], float] = time.time) -> None:
        self._state = state
        self._now = now
        self._names = frozenset(each.name for each in state.pins())
        self._changed: tuple[Callable[[], None], ...] = ()

    def set(self, name: str) -> Pin:
        """A reference, a pattern of references, the digest of a root, or a collection's hash; again: nothing
        changes.
        """
        if not name or len(name) > _NAME_CHARACTERS or not name.isprintable() or name != name.strip():
            raise ConfigError(
                f"{name[:80]!r} is nothing to pin; name a reference, a pattern as registry.example/team/*,"
                " a digest or a collection"
            )
        for pin in self._state.pins():
            if pin.name == name:
                return pin
        if len(self._names) >= PINS_LIMIT:
            raise Refused(f"there are {PINS_LIMIT} pins; take some away, or use a pattern for several")
        pin = Pin(name, self._now())
        self._state.put_pin(pin)
        self._read()
        return pin

    def remove(self, name: str) -> bool:
        """Whether there was one."""
        was_there = self._state.remove_pin(name)
        self._read()
        return was_there

    def list(self) -> list[Pin]:
        """In the order of their names."""
        return self._state.pins()

    def holds(self, package: StoredPackage) -> bool:
        """Whether one of them is for this package."""
        return any(fits(name, package) for name in self._names)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Called after they changed, in the thread that did it."""
        self._changed = (*self._changed, listener)

    def _read(self) -> None:
        self._names = frozenset(each.name for each in self._state.pins())
        for listener in self._changed:
            listener()


def fits(name: str, package: StoredPackage) -> bool:
    """Whether a pin of that name is for the package."""
    if name in (str(package.root.digest), str(package.collection)):
        return True
    return package.reference is not None and fnmatchcase(package.reference, name)
