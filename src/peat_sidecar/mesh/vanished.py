"""Packages that a watched source had and has no more. What the store holds of them is not offered, since the
cluster has given them up; until a source has them again, or somebody brings them here.
"""

import json
import threading
from collections.abc import Collection

from peat_sidecar.state import State

_FACT = "vanished"


class Vanished:
    """Their collections, as texts; kept in the state. Thread-safe; changes wait for the disk."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._collections = frozenset(_parse(state.get(_FACT)))

    def all(self) -> frozenset[str]:
        """As they are now."""
        return self._collections

    def change(self, *, add: Collection[str] = (), drop: Collection[str] = ()) -> None:
        """What is in both is dropped."""
        with self._lock:
            changed = (self._collections | frozenset(add)) - frozenset(drop)
            if changed != self._collections:
                self._state.set(_FACT, json.dumps(sorted(changed)) if changed else None)
                self._collections = changed


def _parse(text: str | None) -> list[str]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
