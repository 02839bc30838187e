"""The limits of this node: those that it was started with, and above them those that were set while it ran,
which the state keeps.
"""

import asyncio
import json
from collections.abc import Mapping

import structlog

from peat_sidecar.errors import ConfigError, NotFound
from peat_sidecar.rate import Limits, canonical_name
from peat_sidecar.state import State
from peat_sidecar.transfer.shaping import Shaper

_KEY = "limits"

_log = structlog.get_logger(__name__)


class Limiter:
    """One for the program. Lives on one event loop."""

    def __init__(self, shaper: Shaper, state: State, settings: Limits) -> None:
        self.shaper = shaper
        self.settings = settings
        self._state = state
        self._changing = asyncio.Lock()
        self._set = _stored(state)
        try:
            limits = self._merged(self._set)
        except ConfigError as error:
            _log.warning("limits that were set before do not count any more", why=str(error))
            self._set = {}
            limits = settings
        shaper.change(limits)

    @property
    def limits(self) -> Limits:
        """In force."""
        return self.shaper.limits

    async def change(self, changes: Mapping[str, str | None], *, clear: bool = False) -> None:
        """Sets limits by their names; None takes back what was set. Durable on return; `ConfigError` for what
        is no limit, and nothing is changed then.
        """
        async with self._changing:
            texts = {} if clear else dict(self._set)
            for name, text in changes.items():
                key = name if name in ("time_zone", "class_share") else canonical_name(name)
                if text is not None:
                    texts[key] = text
                elif texts.pop(key, None) is None and key not in self.settings.texts:
                    raise NotFound(f"there is no limit {key}; `peat-sidecar limits` lists them")
            limits = self._merged(texts)
            await asyncio.to_thread(self._state.set, _KEY, json.dumps(texts) if texts else None)
            self._set = texts
            self.shaper.change(limits)
        _log.info("limits have changed", limits=dict(limits.texts))

    def _merged(self, texts: Mapping[str, str]) -> Limits:
        return Limits.parse({**self.settings.texts, **texts})


def _stored(state: State) -> dict[str, str]:
    text = state.get(_KEY)
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if isinstance(found, dict) and all(isinstance(each, str) for each in found.values()):
        return found
    _log.warning("limits that were set before cannot be read, and do not count any more")
    return {}
