"""The announcer: keeps this node's `packages` documents at what it sees, holds and is getting.

A level-triggered loop: after any change it makes all documents that there should be and writes those that
differ. Until each watcher has told once what it sees, nothing that it may have said before is taken back.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import structlog

from peat_sidecar.errors import PeatError
from peat_sidecar.ids import Digest
from peat_sidecar.mesh.announcements import (
    OF_CONTENT,
    WATCHED,
    Announcements,
    Fields,
    Sight,
    collection_in,
    is_partial,
)
from peat_sidecar.mesh.contents import ContentsReader
from peat_sidecar.mesh.name_maps import NameMaps
from peat_sidecar.mesh.offers import PACKAGES, Offer, Offers
from peat_sidecar.mesh.paging import every_document
from peat_sidecar.mesh.pulled import PulledPackage
from peat_sidecar.mesh.vanished import Vanished
from peat_sidecar.mesh.wake import Sleep, Wake, rest_seconds
from peat_sidecar.records import Document
from peat_sidecar.state import State
from peat_sidecar.store import Store, StoredPackage

_TROUBLE_SECONDS = 30.0

_log = structlog.get_logger(__name__)


class KeepsDocuments(Protocol):
    """The part of the records that is needed here."""

    def put(self, collection: str, doc_id: str, document: Mapping[str, Any], /) -> bool:
        """Whether it changed."""
        ...

    def delete(self, collection: str, doc_id: str, /) -> bool:
        """Whether it was there."""
        ...

    def documents(self, collection: str, /, *, after: str = "", limit: int = 1000) -> list[Document]:
        """A page in the order of the ids."""
        ...


class TellsWanted(Protocol):
    """The part of the wants that is needed here."""

    def open_offers(self) -> Sequence[tuple[Offer, bool]] | None:
        """Packages that are wanted and known, and whether some of them has come; None: not looked up yet."""
        ...

    def on_change(self, listener: Callable[[], None]) -> None:
        """Called after wants changed."""
        ...


class TellsExported(Protocol):
    """The part of the exports that is needed here."""

    def on_change(self, listener: Callable[[], None]) -> None:
        """Called after one was done."""
        ...


class Announcer:
    """`run` drives it on the event loop; `set_pulled` may be called from any thread."""

    def __init__(
        self,
        agent_id: str,
        records: KeepsDocuments,
        store: Store,
        state: State,
        offers: Offers,
        *,
        wants: TellsWanted | None = None,
        exports: TellsExported | None = None,
        sources: Collection[str] = (),
        shares: Callable[[StoredPackage], bool] = lambda _: True,
        maps: NameMaps | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`sources`: names of watchers that will tell what they see. `shares`: whether peers may have a
        package; of others no content is told. `maps`: names that others know packages by.
        """
        self._agent_id = agent_id
        self._records = records
        self._store = store
        self._state = state
        self._offers = offers
        self._wants = wants
        self._shares = shares
        self._maps = maps or NameMaps()
        self._sleep = sleep
        self._wake = Wake(sleep)
        self._contents = ContentsReader(store)
        self._vanished = Vanished(state)
        self._lock = threading.Lock()
        self._brought: set[str] = set()
        """Collections of packages that were added to the store since the last look."""
        self._pulled: dict[str, tuple[PulledPackage, ...]] = {}
        self._silent = set(sources)
        self._faulty: set[str] = set()
        """Documents that could not be written, so that it is said once."""
        for each in (wants, exports):
            if each is not None:
                each.on_change(self._wake.set)

    def set_pulled(self, source: str, packages: Sequence[PulledPackage] | None) -> None:
        """All that a watcher sees now; None: it does not watch any more. The same again changes nothing."""
        with self._lock:
            self._silent.discard(source)
            before = self._pulled.pop(source, None)
            now = None if packages is None else tuple(packages)
            if now is not None:
                self._pulled[source] = now
        if now != before:
            self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        end = self._store.on_packages(self._packages_changed)
        try:
            while True:
                begun = time.monotonic()
                seconds = await self._turn()
                await self._sleep(rest_seconds(time.monotonic() - begun))
                await self._wake.wait(seconds)
        finally:
            end()

    async def _turn(self) -> float | None:
        try:
            return _TROUBLE_SECONDS if await asyncio.to_thread(self._announce) else None
        except PeatError as error:
            _log.warning("what this node has cannot be announced", error=str(error))
        except Exception:  # noqa: BLE001 - the edge of the loop's task
            _log.exception("what this node has cannot be announced, for a reason that was not foreseen")
        return _TROUBLE_SECONDS

    def _packages_changed(self, added: Sequence[StoredPackage], removed: Sequence[StoredPackage]) -> None:
        with self._lock:
            self._brought |= {str(each.collection) for each in added}
        self._wake.set()

    # in a thread

    def _announce(self) -> bool:
        """Whether something could not be written."""
        known = self._known()
        with self._lock:
            pulled = [each for source in sorted(self._pulled) for each in self._pulled[source]]
            complete = not self._silent
            watched = complete and bool(self._pulled)
            brought, self._brought = self._brought, set()
        self._vanished.change(drop=brought)
        covered = () if complete else {collection_in(each) for each in known.values() if WATCHED in each}
        wanted = self._wants.open_offers() if self._wants is not None else ()
        announcements = Announcements(self._sight(known, pulled, wanted or (), covered, watched=watched))
        documents = announcements.make()
        self._vanished.change(add=announcements.vanishing, drop=announcements.pulled_again())
        self._faulty &= documents.keys() | known.keys()
        for doc_id, fields in documents.items():
            if known.get(doc_id) != fields and not (not complete and WATCHED in known.get(doc_id, {})):
                self._write(doc_id, fields)
        for doc_id in known.keys() - documents.keys():
            if wanted is not None or not is_partial(known[doc_id]):
                self._take_back(doc_id, known[doc_id], watched=watched)
        return bool(self._faulty)

    def _sight(
        self,
        known: Mapping[str, Fields],
        pulled: Sequence[PulledPackage],
        wanted: Sequence[tuple[Offer, bool]],
        covered: Collection[str],
        *,
        watched: bool,
    ) -> Sight:
        exported: dict[Digest, list[str]] = {}
        for row in self._state.exports():
            if row.done:
                exported.setdefault(row.root, []).append(row.target)
        return Sight(
            self._agent_id,
            pulled,
            [self._shown(package) for package in self._store.packages() if self._shares(package)],
            self._contents.read,
            {row.collection: row for row in self._state.replicas()},
            wanted,
            exported,
            known,
            covered,
            watched,
            self._vanished.all(),
            self._owner_of_copy,
        )

    def _shown(self, package: StoredPackage) -> StoredPackage:
        """As others know it."""
        return replace(package, reference=self._maps.of(package.reference)) if package.reference else package

    def _known(self) -> dict[str, Fields]:
        prefix = f"{self._agent_id}:"
        known: dict[str, Fields] = {}
        for document in every_document(self._records, PACKAGES, after=prefix):
            if not document.doc_id.startswith(prefix):
                break
            known[document.doc_id] = dict(document.fields)
        return known

    def _owner_of_copy(self, package: StoredPackage, reference: str) -> str:
        """The first who had it."""
        others = [
            offer
            for offer in self._offers.holders(package.collection)
            if offer.agent_id != self._agent_id and not offer.origin and offer.reference == reference
        ]
        return min(others, key=lambda offer: (offer.clock, offer.doc_id)).agent_id if others else ""

    def _take_back(self, doc_id: str, fields: Fields, *, watched: bool) -> None:
        """A watcher's document loses what is said of content and of being pulled, and stays: the cluster has
        had that package. One that says nothing of either was written by a call, and is left alone.
        """
        if WATCHED in fields:
            if watched:
                lost = (*OF_CONTENT, WATCHED)
                self._write(doc_id, {name: value for name, value in fields.items() if name not in lost})
        elif not fields.keys().isdisjoint(OF_CONTENT):
            self._write(doc_id, None)

    def _write(self, doc_id: str, fields: Fields | None) -> None:
        try:
            if fields is None:
                self._records.delete(PACKAGES, doc_id)
            else:
                self._records.put(PACKAGES, doc_id, fields)
        except PeatError as error:
            if doc_id not in self._faulty:
                _log.warning("a package cannot be announced", doc_id=doc_id, error=str(error))
            self._faulty.add(doc_id)
        else:
            self._faulty.discard(doc_id)
