"""The limits of this node: those that it was started with, and above them those that were set while it ran,
which the state keeps, as it keeps what was used of budgets.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from peat_sidecar.errors import BudgetSpent, ConfigError, NotFound, PeatError
from peat_sidecar.rate import Left, Limits, Usage, canonical_name
from peat_sidecar.state import State
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.shaping import Shaper
from peat_sidecar.transfer.transfers import Outcome, Work

KEEP_SECONDS = 1.0
"""How much of what was used a kill may cost."""
_AGAIN_SECONDS = 60.0
"""Connections may take another path meanwhile."""
_KEY, _USAGE_KEY = "limits", "usage"

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
        shaper.budgets.usage = _stored_usage(state)
        shaper.change(limits)
        self._changed = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    @property
    def limits(self) -> Limits:
        """In force."""
        return self.shaper.limits

    def standing(self) -> list[Left]:
        """How all amounts of all budgets stand."""
        return self.shaper.budgets.standing()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Called after limits have changed."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Keeps what is used, every second while that changes, until it is cancelled; then once more."""
        kept = self.shaper.budgets.charged
        try:
            while True:
                await asyncio.sleep(KEEP_SECONDS)
                if self.shaper.budgets.charged != kept:
                    kept = self.shaper.budgets.charged
                    await self._keep_usage()
        finally:
            await self._keep_usage()

    async def bear(self, work: Work, progress: Progress) -> Outcome:
        """Does work that needs peers, again and again where a budget is spent, as soon as it may go on."""
        while True:
            changed = self._changed
            try:
                return await work(progress)
            except BudgetSpent as error:
                progress.waiting_for = str(error)
                seconds = self.shaper.budgets.seconds_until(error.until, _AGAIN_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await changed.wait()

    async def change(self, changes: Mapping[str, str | None], *, clear: bool = False) -> None:
        """Sets limits by their names; None takes back what was set. Durable on return; `ConfigError` for what
        is no limit, and nothing is changed then.
        """
        async with self._changing:
            texts = {} if clear else dict(self._set)
            for name, text in changes.items():
                key = canonical_name(name)
                if text is not None:
                    texts[key] = text
                elif texts.pop(key, None) is None and key not in self.settings.texts:
                    raise NotFound(f"there is no limit {key}; `peat-sidecar limits` lists them")
            limits = self._merged(texts)
            await asyncio.to_thread(self._state.set, _KEY, json.dumps(texts) if texts else None)
            self._set = texts
            self.shaper.change(limits)
        self._changed.set()
        self._changed = asyncio.Event()
        for listener in self._listeners:
            listener()
        _log.info("limits have changed", limits=dict(limits.texts))

    async def _keep_usage(self) -> None:
        text = json.dumps(self.shaper.budgets.usage.as_values())
        try:
            await asyncio.to_thread(self._state.set, _USAGE_KEY, text)
        except PeatError as error:  # the disk is full, for example: the next time
            _log.warning("what is used of budgets cannot be kept", why=str(error))

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


def _stored_usage(state: State) -> Usage:
    try:
        return Usage.of_values(json.loads(state.get(_USAGE_KEY) or "{}"))
    except (ValueError, AttributeError):
        _log.warning("what was used of budgets cannot be read; counting begins anew")
        return Usage()
