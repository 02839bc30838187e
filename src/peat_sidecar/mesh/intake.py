"""Brings the content of packages that a watcher sees into the store.

Level-triggered: it is told all there is, each time, and begins what is lacking: two imports at once, each a
transfer like any other. One that fails is tried again after growing waits, or at once when its source says
something new of it. What the store has already is found out by the root's digest, without an import.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from peat_sidecar.errors import PeatError, Refused
from peat_sidecar.ids import Digest
from peat_sidecar.oci import Source
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, Outcome, Progress, TransferKind, Transfers, TransferState

AT_ONCE = 2
FIRST_WAIT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 900.0

_log = structlog.get_logger(__name__)


class Place(Protocol):
    """Where a package can be had."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def link(self) -> bool:
        """Whether its files are to be shared instead of copied."""
        ...

    async def digest(self) -> Digest:
        """Of the root that is there now, found out cheaply."""
        ...

    async def open(self) -> Source:
        """To be closed by the importer's side."""
        ...


@dataclass(frozen=True, slots=True)
class Lacking:
    """A package whose content is wanted here."""

    listed_as: str
    """The reference that it is listed under in the store."""
    place: Place
    mark: str
    """Another one than before: there may be other content, or it may be had now."""


@dataclass(slots=True)
class _Errand:
    """One package and how far its import is."""

    package: Lacking
    done: bool = False
    looked_at: float = 0.0
    running: bool = False
    failed: int = 0
    """Attempts in a row."""
    due: float = 0.0
    error: str = ""


class Intake:
    """One for each watcher. Lives on one event loop; close it."""

    def __init__(
        self,
        importer: Importer,
        transfers: Transfers,
        store: Store,
        *,
        changed: Callable[[], None],
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        look_again_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`changed` is called after each import. A package that is here is looked at again after a time,
        where its source does not say by itself that there is other content.
        """
        self._importer = importer
        self._transfers = transfers
        self._store = store
        self._changed = changed
        self._first_wait_seconds = first_wait_seconds
        self._look_again_seconds = look_again_seconds
        self._clock = clock
        self._errands: dict[str, _Errand] = {}
        self._queue: deque[str] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pending(self) -> int:
        """How many are on their way, or wait for their turn."""
        return sum(not each.done and not each.error for each in self._errands.values())

    @property
    def errors(self) -> list[str]:
        """Why packages are not here, one for each."""
        return [each.error for each in self._errands.values() if each.error]

    @property
    def next_due(self) -> float | None:
        """When the next attempt is due, by the clock; None for none."""
        waiting = (each.due for each in self._errands.values() if each.error and not each.running)
        return min(waiting, default=None)

    def want(self, packages: Sequence[Lacking]) -> None:
        """From now on exactly these; those that are due begin."""
        now = self._clock()
        before, self._errands = self._errands, {}
        for package in packages:
            errand = before.get(package.listed_as) or _Errand(package)
            if errand.package.mark != package.mark:
                errand.done, errand.failed, errand.due = False, 0, now
            elif errand.done and self._look_again_seconds is not None:
                errand.done = now - errand.looked_at < self._look_again_seconds
            errand.package = package
            self._errands[package.listed_as] = errand
        self._queue = deque(
            name
            for name, each in self._errands.items()
            if not each.done and not each.running and each.due <= now
        )
        self._fill()

    async def close(self) -> None:
        """Ends what goes on; what came is kept."""
        self._closed = True
        self._queue.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self) -> None:
        while self._queue and len(self._tasks) < AT_ONCE and not self._closed:
            name = self._queue.popleft()
            errand = self._errands.get(name)
            if errand is None or errand.done or errand.running:
                continue
            errand.running = True
            task = asyncio.create_task(self._run(name, errand), name=f"take in {name}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._fill()

    async def _run(self, name: str, errand: _Errand) -> None:
        package = errand.package
        try:
            await self._bring(package, referrers=errand.failed % 2 == 0)
        except PeatError as error:
            self._fail(errand, str(error), lasting=isinstance(error, _Cancelled))
        except Exception:  # noqa: BLE001 - the edge of the errand's task
            _log.exception("a package could not be taken in", package=name)
            self._fail(errand, "a fault of the daemon itself; its log says more")
        else:
            errand.done, errand.failed, errand.error = True, 0, ""
            errand.looked_at = self._clock()
        finally:
            errand.running = False
        if errand.package.mark != package.mark:  # its source has said something new meanwhile
            errand.done, errand.failed, errand.due = False, 0, 0.0
            self._queue.append(name)
        self._changed()

    def _fail(self, errand: _Errand, reason: str, *, lasting: bool = False) -> None:
        errand.failed += 1
        wait = self._first_wait_seconds * 2 ** min(errand.failed - 1, 20)
        wait = LONGEST_WAIT_SECONDS if lasting else min(wait, LONGEST_WAIT_SECONDS)
        errand.due = self._clock() + wait * random.uniform(0.8, 1.2)
        if errand.error != reason:
            _log.warning("a package could not be taken in", package=errand.package.listed_as, error=reason)
        errand.error = reason

    async def _bring(self, package: Lacking, *, referrers: bool) -> None:
        """A registry that fails over referrers still gives its packages: every other attempt is without."""
        place, listed_as = package.place, package.listed_as
        digest = await place.digest()
        known = await asyncio.to_thread(self._store.package, listed_as)
        if known is not None and known.root.digest == digest:
            return

        async def take(progress: Progress) -> Outcome:
            source = await place.open()
            try:
                imported = await self._importer.import_package(
                    source, progress, list_as=listed_as, referrers=referrers, link=place.link
                )
            finally:
                await source.close()
            return Outcome(imported.package, None, imported.referrers, imported.foreign)

        transfer = self._transfers.start(TransferKind.IMPORT, listed_as, place.name, take)
        try:
            await transfer.wait()
        except asyncio.CancelledError:
            self._transfers.cancel(transfer.id)
            raise
        if transfer.state is TransferState.CANCELLED:
            raise _Cancelled("its import was cancelled; it is tried again later, or import it by a call")
        if transfer.error is not None:
            raise transfer.error


class _Cancelled(Refused):
    """Somebody does not want it now."""
