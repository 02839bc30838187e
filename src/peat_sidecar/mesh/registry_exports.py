"""Writes packages that have arrived to the cluster's registry, until it has worked.

What has to be written is remembered in the state: a registry that is down for a week gets it when it is back.
"""

import asyncio
import hashlib
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Protocol

import structlog

from peat_sidecar.errors import ConfigError, PeatError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.mesh.wake import Sleep, Wake
from peat_sidecar.oci import RegistryOptions, RegistryTarget, Target
from peat_sidecar.state import ExportRow, State
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.transfer import (
    Exporter,
    Outcome,
    Progress,
    Transfer,
    TransferKind,
    Transfers,
    TransferState,
)

FIRST_WAIT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 1800.0
AT_ONCE = 2

_log = structlog.get_logger(__name__)


class OpensTargets(Protocol):
    """Makes a target of a reference."""

    def __call__(self, reference: Reference, options: RegistryOptions) -> Target: ...


def target_of(reference: str, export_to: str, root: Digest) -> Reference:
    """Where a package is written to: `host[:port][/prefix]` keeps its repository and tag; a place with a tag
    of its own is taken as it is. A package without a reference goes by its digest. `ConfigError`.
    """
    place = export_to.strip().removeprefix("docker://").rstrip("/")
    registry, _, prefix = place.partition("/")
    if ":" in prefix.rpartition("/")[2]:
        return Reference.parse(place)
    try:
        named = Reference.parse(reference)
    except ConfigError:
        named = Reference(registry, f"packages/{root.hex[:12]}", root.hex[:12])
    repository = f"{prefix}/{named.repository}" if prefix else named.repository
    return Reference.parse(f"{registry}/{repository}:{named.tag or root.hex[:12]}")


class RegistryExports:
    """`run` writes; `add` may be called from any thread."""

    def __init__(
        self,
        state: State,
        store: Store,
        exporter: Exporter,
        transfers: Transfers,
        registries: RegistryOptions,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        open_target: OpensTargets = RegistryTarget,
    ) -> None:
        self._state = state
        self._store = store
        self._exporter = exporter
        self._transfers = transfers
        self._registries = registries
        self._now = now
        self._clock = clock
        self._open_target = open_target
        self._wake = Wake(sleep)
        self._not_before: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        """By target: two versions are not written to one tag at once."""
        self._listeners: list[Callable[[], None]] = []

    def add(self, package: StoredPackage, reference: str, export_to: str) -> ExportRow:
        """Remembers that a package has to be written there, also when it was before, and any other
        package that had to be is forgotten. Blocks.
        """
        target = str(target_of(reference, export_to, package.root.digest))
        id = hashlib.sha256(f"{package.root.digest} {target}".encode()).hexdigest()[:16]
        known = None
        for each in self._state.exports():
            if each.id == id:
                known = each
            elif each.target == target:  # another version, which must not be written after this one
                self._state.remove_export(each.id)
                self._not_before.pop(each.id, None)
        if known is not None and not known.done:
            return known
        row = ExportRow(id, package.root.digest, target, self._now())
        self._state.put_export(row)
        self._wake.set()
        return row

    def pending(self) -> list[ExportRow]:
        """What has to be written yet, the oldest first, each with what went wrong last. Blocks."""
        return sorted((row for row in self._state.exports() if not row.done), key=lambda row: row.created_at)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Called after each one that is done."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                await self._wake.wait(await self._turn())
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # inside

    async def _turn(self) -> float | None:
        """Begins what is due; how long until the next is."""
        try:
            rows = await asyncio.to_thread(self._due)
        except PeatError as error:
            _log.warning("exports cannot be looked up", error=str(error))
            return LONGEST_WAIT_SECONDS
        now = self._clock()
        for row in rows:
            if len(self._running) >= AT_ONCE:
                return None  # the end of one wakes
            if row.target not in self._running and self._not_before.get(row.id, 0.0) <= now:
                task = asyncio.create_task(self._export(row), name=f"export {row.target}")
                self._running[row.target] = task
                task.add_done_callback(partial(self._over, row.target))
        waits = [self._not_before.get(row.id, 0.0) - now for row in rows if row.target not in self._running]
        return max(0.0, min(waits)) if waits else None

    def _due(self) -> list[ExportRow]:
        """Rows of packages that are not here any more are forgotten."""
        due = []
        roots = {package.root.digest for package in self._store.packages()}
        for row in self._state.exports():
            if row.root not in roots:
                self._state.remove_export(row.id)
                self._not_before.pop(row.id, None)
            elif not row.done:
                due.append(row)
        return due

    def _over(self, target: str, _: asyncio.Task[None]) -> None:
        del self._running[target]
        self._wake.set()

    async def _export(self, row: ExportRow) -> None:
        error = await self._try(row)
        if error is None:
            changed = replace(row, done=True, last_error="")
        else:
            attempts = row.attempts + 1
            wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * math.exp2(min(attempts - 1, 20)))
            self._not_before[row.id] = self._clock() + wait * random.uniform(0.8, 1.0)
            changed = replace(row, attempts=attempts, last_error=error)
            _log.warning("a package could not be exported", target=row.target, error=error, attempts=attempts)
        try:
            await asyncio.to_thread(self._remember, changed)
        except PeatError as failure:  # it will be exported once more, which finds everything there
            self._not_before[row.id] = self._clock() + LONGEST_WAIT_SECONDS
            _log.warning("an export cannot be remembered", target=row.target, error=str(failure))
            return
        if error is None:
            self._not_before.pop(row.id, None)
            for listener in self._listeners:
                listener()

    def _remember(self, row: ExportRow) -> None:
        if any(each.id == row.id for each in self._state.exports()):  # else another version is to be there
            self._state.put_export(row)

    async def _try(self, row: ExportRow) -> str | None:
        """What went wrong; None: nothing."""
        reference = Reference.parse(row.target)
        try:
            transfer = self._transfers.start(
                TransferKind.EXPORT,
                row.target,
                reference.registry,
                partial(self._write, row, reference),
            )
        except PeatError as error:
            return str(error)
        try:
            await transfer.wait()
        except asyncio.CancelledError:
            self._cancel(transfer)
            raise
        if transfer.state is TransferState.CANCELLED:
            return "the transfer was cancelled"
        return str(transfer.error) if transfer.error is not None else None

    async def _write(self, row: ExportRow, reference: Reference, progress: Progress) -> Outcome:
        package = await asyncio.to_thread(self._store.package, row.root)
        if package is None:
            return Outcome()
        target = self._open_target(reference, self._registries)
        try:
            await self._exporter.export_package(package, target, progress, tag=reference.tag)
        finally:
            await target.close()
        return Outcome(package=package)

    def _cancel(self, transfer: Transfer) -> None:
        with suppress(PeatError):
            self._transfers.cancel(transfer.id)
