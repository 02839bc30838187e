"""What is deleted without being asked for, beside packages that go for room: blobs that nothing needs, and
parts of blobs that nobody goes on with. And when packages were used is remembered, coarsely.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from peat_sidecar.errors import ConfigError, NotFound, PeatError, Refused
from peat_sidecar.ids import BlobHash
from peat_sidecar.mesh.quotes import hashes_of
from peat_sidecar.mesh.want_table import WantTable
from peat_sidecar.state import State
from peat_sidecar.store import BlobInfo, Store

ORPHAN_SECONDS = 24 * 3600.0
"""For what an import or fetch left that broke off: its next try finds it."""
PART_SECONDS = 7 * 24 * 3600.0
LOOK_SECONDS = 600.0
_LOOKS_PER_SWEEP = 6

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Garbage:
    """What may be deleted."""

    orphans: tuple[BlobInfo, ...]
    """Complete blobs that nothing needs."""
    parts: tuple[BlobInfo, ...]
    """Parts that nobody goes on with."""
    downloads: tuple[int, ...] = ()
    """The bytes of each part that was to be imported, and that nobody goes on with."""


class Collector:
    """`run` drives it on the event loop; the rest blocks, and may be called from any thread."""

    def __init__(
        self,
        store: Store,
        state: State,
        wants: WantTable,
        *,
        kept: Callable[[], Iterable[BlobHash]] = tuple,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`kept`: blobs that are needed though no package holds them."""
        self._kept = kept
        self._store = store
        self._state = state
        self._wants = wants
        self._sleep = sleep
        store.uses.load(state.uses())

    async def run(self) -> None:
        """Until it is cancelled."""
        for look in itertools.count(1):
            await self._sleep(LOOK_SECONDS)
            try:
                await asyncio.to_thread(self.remember_uses)
                if look % _LOOKS_PER_SWEEP == 0:
                    await asyncio.to_thread(self.collect)
            except PeatError as error:
                _log.warning("the store cannot be looked after", error=str(error))

    def remember_uses(self) -> None:
        """Writes what has changed by more than a little."""
        here = {each.root.digest for each in self._store.packages()}
        self._store.forget_marks()
        fresh, gone = self._store.uses.to_write(here)
        if fresh or gone:
            self._state.put_uses(fresh, gone)

    def garbage(self, age_seconds: float | None = None) -> Garbage:
        """What `collect` would delete; of another age than the usual ones where one is named."""
        wanted = self._wanted()
        if wanted is None:
            return Garbage((), ())
        orphans = self._store.orphans(ORPHAN_SECONDS if age_seconds is None else age_seconds, wanted)
        parts = self._store.old_parts(PART_SECONDS if age_seconds is None else age_seconds)
        downloads = self._store.old_downloads(PART_SECONDS if age_seconds is None else age_seconds)
        unwanted = tuple(each for each in parts if each.hash not in wanted)
        return Garbage(tuple(orphans), unwanted, tuple(downloads))

    def collect(self, age_seconds: float | None = None) -> Garbage:
        """Deletes it; each blob is looked at once more in that moment. What was deleted."""
        found = self.garbage(age_seconds)
        self._store.discard(each.hash for each in found.orphans)
        parts = []
        for part in found.parts:
            with suppress(NotFound, Refused):  # somebody goes on with it, or it is whole by now
                self._store.delete_part(part.hash)
                parts.append(part)
        downloads: list[int] = []
        if found.downloads:
            downloads = self._store.expire_downloads(PART_SECONDS if age_seconds is None else age_seconds)
        orphans = tuple(each for each in found.orphans if self._store.find(each.hash) is None)
        if orphans or parts or downloads:
            count = len(parts) + len(downloads)
            _log.info("what nothing needs is deleted", blobs=len(orphans), parts=count)
        return Garbage(orphans, tuple(parts), tuple(downloads))

    def _wanted(self) -> set[BlobHash] | None:
        """Of all that is wanted, as far as it is known; None while the wants were not looked at."""
        offers = self._wants.open_offers()
        if offers is None:
            return None
        collections = {offer.collection for offer, _ in offers}
        for want in self._wants.list():
            if want.state != "done":
                with suppress(ConfigError):
                    collections.add(BlobHash.parse(want.name))
        return collections.union(self._kept(), *(hashes_of(each, self._store) for each in collections))
