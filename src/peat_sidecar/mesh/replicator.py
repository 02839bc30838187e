"""The replicator: keeps the wants of this node at what its policy says, and the store within the quota.

A level-triggered loop over the packages that a rule fits: what should be here, what is, want the difference.
The index of those packages follows the records change by change, and is read anew when those whose documents
count may be others. Nothing is done twice for one change, also across restarts.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import structlog

from peat_sidecar.errors import NotFound, PeatError
from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.mesh.arrivals import AnyTag, JudgesTags
from peat_sidecar.mesh.offered import Offered
from peat_sidecar.mesh.offers import PACKAGES, Offer
from peat_sidecar.mesh.paging import every_document
from peat_sidecar.mesh.pins import Pins
from peat_sidecar.mesh.policy import Policy
from peat_sidecar.mesh.quota import Quota
from peat_sidecar.mesh.ranking import Candidate, Held, Ranked, ranked
from peat_sidecar.mesh.wake import Sleep, Wake, rest_seconds
from peat_sidecar.mesh.want import Want
from peat_sidecar.mesh.wants import Wants
from peat_sidecar.records import Change, Document
from peat_sidecar.state import ReplicaRow, State
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.transfer import remove_package

_CHANGES_LIMIT = 10_000
"""Changes that are kept between two looks; beyond that all is read anew."""
_TROUBLE_SECONDS = 30.0
_IN_USE_SECONDS = 30.0
"""After which it is looked again for room that is used just now."""
NO_QUOTA = Quota()

_log = structlog.get_logger(__name__)


class ReadsPackages(Protocol):
    """The part of the records that is needed here."""

    def documents(self, collection: str, /, *, after: str = "", limit: int = 1000) -> list[Document]:
        """A page in the order of the ids."""
        ...

    def subscribe(self, listener: Callable[[Sequence[Change]], None], /) -> Callable[[], None]:
        """Called after each commit, in the writing thread."""
        ...


class Trusts(Protocol):
    """Whose documents decide."""

    def decides(self, document: Document) -> bool:
        """Whether a document may cause something here."""
        ...

    def on_change(self, listener: Callable[[Any], None]) -> Callable[[], None]:
        """Called when that has changed."""
        ...


class KnowsHolders(Protocol):
    """Who else has a package."""

    def claims(self, collection: BlobHash, /) -> Mapping[EndpointId, Offer]:
        """Who says that they hold some of it, this node left out. Blocks."""
        ...


class Replicator:
    """`run` drives it on the event loop."""

    def __init__(
        self,
        policy: Policy,
        records: ReadsPackages,
        wants: Wants,
        store: Store,
        state: State,
        trust: Trusts,
        providers: KnowsHolders,
        *,
        pins: Pins | None = None,
        quota: Quota = NO_QUOTA,
        tags: JudgesTags | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._policy = policy
        self._records = records
        self._wants = wants
        self._store = store
        self._state = state
        self._trust = trust
        self._providers = providers
        self._pins = pins or Pins(state)
        self._quota = quota
        self._digest = f"{policy.digest}-{quota}"
        self._sleep = sleep
        self._wake = Wake(sleep)
        self._lock = threading.Lock()
        self._changes: dict[str, Document | None] | None = None
        """By document id, since the last look; None: all is read anew."""
        self._added: set[BlobHash] = set()
        self._removed: set[BlobHash] = set()
        """Of the store, since the last look."""
        self._offered = Offered(policy, trust, tags or AnyTag())
        self._candidates: list[Candidate] = []
        """At the last look: what the policy would have."""
        self._last = Ranked((), ())
        self._coming = 0
        wants.on_change(self._wake.set)
        self._pins.on_change(self._wake.set)
        wants.on_cancel(self._want_cancelled)

    @property
    def status(self) -> str:
        """In a sentence."""
        if not self._policy.rules:
            return "nothing is fetched by itself; no rule is set"
        chosen = len(self._last.chosen)
        text = f"{chosen} wanted, {chosen - self._coming} of them here"
        text += f", {self._last.cut} without room" if self._last.cut else ""
        return text + (f", {self._last.out} taken out" if self._last.out else "")

    @property
    def quota_bytes(self) -> int:
        """What packages may take; 0: there is no quota."""
        return self._quota.of(self._store.disk_bytes)

    def look_again(self) -> None:
        """Whose documents count may have changed; from any thread."""
        with self._lock:
            self._changes = None
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        ends = [
            self._records.subscribe(self._records_changed),
            self._trust.on_change(self._trust_changed),
            self._store.on_packages(self._packages_changed),
        ]
        try:
            while True:
                await self._wake.wait(await self._turn())
        finally:
            for end in ends:
                end()

    async def _turn(self) -> float | None:
        begun = time.monotonic()
        try:
            await asyncio.to_thread(self._reconcile)
        except PeatError as error:
            _log.warning("the policy cannot be carried out", error=str(error))
            self.look_again()
            return _TROUBLE_SECONDS
        except Exception:  # noqa: BLE001 - the edge of the loop's task
            _log.exception("the policy cannot be carried out, for a reason that was not foreseen")
            self.look_again()
            return _TROUBLE_SECONDS
        await self._sleep(rest_seconds(time.monotonic() - begun))
        return _IN_USE_SECONDS if self._last.is_short else None

    # in a thread

    def _reconcile(self) -> None:
        self._follow_records()
        offers = self._wants.open_offers()  # before the store: what comes in between is there
        coming = None if offers is None else {offer.collection for offer, _ in offers}
        packages = self._store.packages()
        classes = {want.name: want.transfer_class for want in self._wants.list()}
        wanted = [offer for offer, _ in offers or ()]
        self._candidates = self._offered.candidates(wanted, packages, classes)
        replicas = self._replicas({package.collection for package in packages}, coming)
        unwanted = {each.collection for each in replicas.values() if each.unwanted_by}
        arriving = {
            want.name for want in self._wants.list() if want.origin == "policy" and want.state != "done"
        }
        quota_bytes = self.quota_bytes
        cached = self._store.cached.all() if quota_bytes else ()
        own = self._store.own.all() if quota_bytes else ()
        stays = {each.collection for each in packages if each.root.digest in own}
        upstream = {each.collection for each in packages if each.root.digest in cached}
        free = (upstream | replicas.keys()) - (coming or set()) - stays
        held = self._held(packages, free, has_quota=quota_bytes > 0)
        users = {
            offer.collection: offer.bytes
            for offer, _ in offers or ()
            if offer.collection not in held and str(offer.collection) not in arriving
        }
        beside = self._store.kept_bytes() + sum(size for size in users.values() if size <= quota_bytes)
        self._last = ranked(
            self._candidates,
            held,
            unwanted,
            quota_bytes,
            beside_bytes=beside,
            is_elsewhere=lambda collection: collection in upstream or self._is_held_by_others(collection),
        )
        for collection in self._last.evicted:
            self._evict(collection, replicas.get(collection), packages)
        self._want(held)

    def _held(
        self,
        packages: Sequence[StoredPackage],
        free: Collection[BlobHash],
        *,
        has_quota: bool,
    ) -> dict[BlobHash, Held]:
        """What is here. Only what can be had again, and nobody wants, is `free` to go for room: what was
        brought here may be the only copy.
        """
        sizes = self._store.blob_sizes() if has_quota else {}
        in_use = self._store.in_use() if has_quota else frozenset()
        found: dict[BlobHash, Held] = {}
        for package in packages:
            same = found.get(package.collection)
            is_free = package.collection in free and not self._pins.holds(package)
            found[package.collection] = Held(
                {digest: sizes.get(str(digest), 0) for digest in package.blobs},
                is_free and (same is None or same.may_go),
                self._store.uses.at(package.root.digest),
                not in_use.isdisjoint((package.collection, *package.blobs)),
            )
        return found

    def _is_held_by_others(self, collection: BlobHash) -> bool:
        """All of it, as they say."""
        return any(offer.complete for offer in self._providers.claims(collection).values())

    def _follow_records(self) -> None:
        with self._lock:
            changes, self._changes = self._changes, {}
        if changes is not None:
            for doc_id, document in changes.items():
                self._offered.note(doc_id, document)
            return
        self._offered.clear()
        for document in every_document(self._records, PACKAGES):
            self._offered.note(document.doc_id, document)

    def _replicas(
        self, here: Collection[BlobHash], coming: Collection[BlobHash] | None
    ) -> dict[BlobHash, ReplicaRow]:
        """Those that there are. What a person took out is marked, and marks that mean nothing any more go."""
        with self._lock:
            added, removed = self._added, self._removed.difference(here)
            self._added, self._removed = set(), set()
        offers = {each.offer.collection: each.offer for each in self._candidates}
        before = {row.collection: row for row in self._state.replicas()}
        rows: dict[BlobHash, ReplicaRow] = {}
        for collection in before.keys() | (removed & offers.keys()):
            row = before.get(collection) or _row(offers[collection])
            kept: ReplicaRow | None = row
            if collection in here:
                if row.unwanted_by:  # a person brought it back, or a crash left it here
                    kept = None if collection in added else replace(row, unwanted_by="")
            elif row.unwanted_by:
                kept = row if row.unwanted_by == self._digest and collection in offers else None
            elif collection in removed and collection in offers:
                kept = replace(row, unwanted_by=self._digest)
            elif coming is not None and collection not in coming:
                kept = None
            if kept is None:
                self._state.remove_replica(collection)
                continue
            if kept != before.get(collection):
                self._state.put_replica(kept)
            rows[collection] = kept
        return rows

    def _evict(self, collection: BlobHash, row: ReplicaRow | None, packages: Sequence[StoredPackage]) -> None:
        """Marked first: a crash between the two leaves a package more, and no loop."""
        if row is not None:
            self._state.put_replica(replace(row, unwanted_by=self._digest))
        for package in packages:
            if package.collection == collection:
                name = package.reference or package.root.digest
                try:
                    remove_package(self._store, name, only=lambda there: self._may_go(there, collection, row))
                    _log.info("a package is taken out for room", package=str(name))
                except NotFound:
                    self._last = replace(self._last, is_short=True)

    def _may_go(self, package: StoredPackage, collection: BlobHash, row: ReplicaRow | None) -> bool:
        """Asked in the moment in which it would go: there may be another under its name by now, and somebody
        may need it.
        """
        store, root = self._store, package.root.digest
        return (
            package.collection == collection
            and (row is not None or root in store.cached)
            and root not in store.own
            and not self._pins.holds(package)
            and store.in_use().isdisjoint((collection, *package.blobs))
        )

    def _want(self, held: dict[BlobHash, Held]) -> None:
        wanted = {str(each.offer.collection): each for each in self._last.chosen}
        wants = [each for each in self._wants.list() if each.state != "done"]
        for want in wants:
            if want.origin == "policy" and want.name not in wanted:
                self._wants.drop(want.id)
        known = {want.name: want for want in wants}
        coming = [each for each in self._last.chosen if each.offer.collection not in held]
        self._coming = len(coming)
        for each in coming:
            offer, choice = each.offer, each.choice
            there = known.get(str(offer.collection))
            if there is None or there.origin == "client":
                self._wants.add(
                    str(offer.collection),
                    choice.transfer_class,
                    arch=offer.arch,
                    origin="policy",
                    export_to=choice.export_to,
                    reference=offer.reference,
                )
            elif there.origin == "policy" and there.transfer_class is not choice.transfer_class:
                with suppress(NotFound):
                    self._wants.set_class(there.id, choice.transfer_class)

    # told, from any thread

    def _want_cancelled(self, want: Want, offer: Offer | None) -> None:
        if want.origin == "policy" and offer is not None:
            self._state.put_replica(replace(_row(offer), unwanted_by=self._digest))
        self._wake.set()

    def _trust_changed(self, _: object) -> None:
        self.look_again()
        self._wants.look_again()

    def _records_changed(self, changes: Sequence[Change]) -> None:
        found = {each.doc_id: each.document for each in changes if each.collection == PACKAGES}
        if not found:
            return
        with self._lock:
            if self._changes is not None:
                self._changes |= found
                if len(self._changes) > _CHANGES_LIMIT:
                    self._changes = None
        self._wake.set()

    def _packages_changed(self, added: Sequence[StoredPackage], removed: Sequence[StoredPackage]) -> None:
        with self._lock:
            self._added |= {package.collection for package in added}
            self._removed |= {package.collection for package in removed}
        self._wake.set()


def _row(offer: Offer) -> ReplicaRow:
    return ReplicaRow(offer.collection, offer.root, offer.reference, offer.arch, offer.agent_id, "policy")
