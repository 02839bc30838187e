"""What a watcher knows of its source: the packages in it, and what keeps it from knowing more.

Common to all watchers. What was known stays known through any fault, and a fault is one line in the log: when
it comes, when it becomes another one, and when it ends.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from peat_sidecar.errors import PeatError
from peat_sidecar.mesh.intake import FIRST_WAIT_SECONDS, Intake, Lacking, Place
from peat_sidecar.mesh.pulled import PulledListener, PulledPackage
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, Transfers

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A package in a source, and where its content can be had."""

    package: PulledPackage
    place: Place | None = None
    """None: nowhere, or not yet known."""
    mark: str = ""
    """Changes when there may be other content."""


class Sightings:
    """One for each watcher. Lives on one event loop; close it."""

    def __init__(
        self,
        source: str,
        announcer: PulledListener,
        importer: Importer,
        transfers: Transfers,
        store: Store,
        *,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        look_again_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The source's name is for the announcer and for logs."""
        self.source = source
        self._announcer = announcer
        self._packages: tuple[PulledPackage, ...] | None = None
        self._unplaced = 0
        self._fault: tuple[str, str] | None = None
        self.intake = Intake(
            importer,
            transfers,
            store,
            changed=self._announce,
            first_wait_seconds=first_wait_seconds,
            look_again_seconds=look_again_seconds,
            clock=clock,
        )

    @property
    def status(self) -> str:
        """One line for people."""
        parts = [] if self._fault is None else [self._fault[1]]
        if self._packages is None:
            return parts[0] if parts else "not looked at yet"
        count = len(self._packages)
        known = f"{count} package{'' if count == 1 else 's'}"
        parts.append(f"{known}, as known before" if parts else known)
        if pending := self.intake.pending + self._unplaced:
            parts.append(f"{pending} on the way")
        if errors := self.intake.errors:
            parts.append(f"{len(errors)} without content: {errors[0]}")
        return "; ".join(parts)

    def saw(self, sightings: Sequence[Sighting]) -> None:
        """All there is in the source now: the announcer hears of it, and what is lacking is brought here."""
        # In an order of its own: an agent in Go may list the same in another one each time.
        sightings = sorted(sightings, key=_order)
        self._packages = tuple(each.package for each in sightings)
        self._unplaced = sum(each.place is None and bool(each.package.listed_as) for each in sightings)
        lacking: dict[str, Lacking] = {}
        for each in sightings:
            name = each.package.listed_as
            if each.place is not None and name:
                # One reference may be several packages, of one platform each.
                before = lacking.get(name)
                mark = f"{before.mark} {each.mark}" if before else each.mark
                lacking[name] = Lacking(name, each.place, mark)
        self._announce()
        self.intake.want(list(lacking.values()))

    def failed(self, error: PeatError, kind: str = "") -> None:
        """The source cannot be looked at; what was seen stays."""
        self.note((kind or f"{type(error).__name__}: {error}", str(error)))

    def note(self, fault: tuple[str, str] | None) -> None:
        """What is wrong, as its kind and as text; None when nothing is."""
        before, self._fault = self._fault, fault
        if fault is not None and (before is None or before[0] != fault[0]):
            _log.warning(
                "a source cannot be watched; what is known stays", source=self.source, error=fault[1]
            )
        elif fault is None and before is not None:
            _log.info("a source is watched again", source=self.source)

    async def watch(
        self,
        look: Callable[[], Awaitable[float]],
        sleep: Callable[[float], Awaitable[object]],
        faulty_seconds: float,
    ) -> None:
        """Looks again and again, until it is cancelled; then imports end. `look` says how long to sleep after
        it; what it raises is logged.
        """
        try:
            while True:
                seconds = faulty_seconds
                try:
                    seconds = await look()
                except Exception:  # noqa: BLE001 - the edge of the watcher's task
                    _log.exception(
                        "a source could not be watched for a reason that was not foreseen", source=self.source
                    )
                await sleep(seconds)
        finally:
            await self.close()

    async def close(self) -> None:
        """Ends imports."""
        await self.intake.close()

    def _announce(self) -> None:
        if self._packages is not None:
            self._announcer.set_pulled(self.source, self._packages)


def _order(sighting: Sighting) -> tuple[str, ...]:
    package = sighting.package
    return package.reference, package.arch, package.registry, package.package, package.version
