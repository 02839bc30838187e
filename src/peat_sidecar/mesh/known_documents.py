"""The documents of packages that the formation knows and that are not here: collections and manifests, and
no layers. They tell which blobs there are, of which sizes, when nobody can be asked.

They are brought ahead, in the last class, from members that are connected; and at once where a client asks.
"""

import asyncio
import threading
from collections.abc import Sequence
from typing import Protocol

import structlog

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import IntegrityError, Misnamed, NotFound, PeatError, PeerUnavailable, SourceError
from peat_sidecar.ids import BlobHash, Digest, EndpointId
from peat_sidecar.mesh.fetching import ReachesPeers
from peat_sidecar.mesh.known_packages import ReadsPackages, repository_of
from peat_sidecar.mesh.offers import PACKAGES, Offer, Offers, offer_of
from peat_sidecar.mesh.providers import Holder, Providers
from peat_sidecar.mesh.wake import Sleep, Wake
from peat_sidecar.records import Change
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.transfer import PackageDocuments, Progress, Sources, in_thread, stored_documents

KEPT_LIMIT = 10_000
"""Packages; of more the documents are brought when they are asked for."""
ROOM_BYTES = 256 << 20
"""That the disk has to have beyond what is brought ahead of any client."""
ASKED = 4
"""Holders, at most."""
FETCH_SECONDS = 60.0
_READ = 1024
"""Packages whose documents are kept in memory: what a hash names never changes."""
_AGAIN_SECONDS = 60.0
_PAGE = 500

_log = structlog.get_logger(__name__)


class FetchesDocuments(Protocol):
    """The part of the getter that is needed here."""

    async def fetch_documents(
        self, collection: BlobHash, peers: Sources, progress: Progress, *, expected: Digest
    ) -> None:
        """Of a package, into the store."""
        ...


class KnownDocuments:
    """Lives on one event loop; `find` may be called from any thread."""

    def __init__(
        self,
        records: ReadsPackages,
        offers: Offers,
        providers: Providers,
        peers: ReachesPeers,
        getter: FetchesDocuments,
        store: Store,
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._records = records
        self._offers = offers
        self._providers = providers
        self._peers = peers
        self._getter = getter
        self._store = store
        self._clock = asyncio.get_running_loop().time
        self._read: dict[BlobHash, PackageDocuments] = {}
        self._lock = threading.Lock()
        self._bringing: dict[BlobHash, tuple[asyncio.Task[PackageDocuments], Progress]] = {}
        self._wake = Wake(sleep)
        self._lacking: dict[BlobHash, float] = {}
        """Collections that have to be looked at, and not before when."""
        self._kept: dict[BlobHash, frozenset[BlobHash]] = {}

    def find(self, offer: Offer) -> PackageDocuments | None:
        """What they say, as far as they are or were here; blocks."""
        collection = offer.collection
        found = self._read.get(collection) or stored_documents(collection, self._store)
        if found is None or found.package.root.digest != offer.root:
            return None
        with self._lock:
            self._read[collection] = found
            while len(self._read) > _READ:
                del self._read[next(iter(self._read))]
        return found

    def kept(self) -> set[BlobHash]:
        """Blobs of the store that are kept for what they say, though no package may hold them. Blocks."""
        known = {each: self._offers.resolve(str(each)) for each in tuple(self._kept)}
        for collection in [each for each, offer in known.items() if offer is None]:
            self._kept.pop(collection, None)
        return {blob for blobs in tuple(self._kept.values()) for blob in blobs}

    async def bring(
        self, offer: Offer, transfer_class: TransferClass = TransferClass.HIGH
    ) -> PackageDocuments:
        """Into the store, if they are not there; several callers share one fetch, which goes on without them.
        `PeerUnavailable` where nobody who has them can be reached.
        """
        found = await in_thread(self._here, offer)
        if found is not None:
            return found
        task, progress = self._bringing.get(offer.collection, (None, None))
        if task is None or progress is None:
            progress = Progress(transfer_class)
            task = asyncio.create_task(self._fetch(offer, progress), name="fetch documents")
            self._bringing[offer.collection] = task, progress
            task.add_done_callback(lambda done: self._over(offer.collection, done))
        elif transfer_class.rank < progress.transfer_class.rank:
            progress.transfer_class = transfer_class
        return await asyncio.shield(task)

    def _here(self, offer: Offer) -> PackageDocuments | None:
        """Only where all of them are in the store."""
        found = self.find(offer)
        if found is None:
            return None
        infos = [self._store.find(each) for each in found.stored_as]
        return found if all(each is not None and each.complete for each in infos) else None

    async def run(self) -> None:
        """Keeps them here until it is cancelled."""
        loop = asyncio.get_running_loop()

        def changed(changes: Sequence[Change]) -> None:
            offers = [offer_of(each.document) for each in changes if each.document and _is_package(each)]
            found = [each.collection for each in offers if each is not None]
            loop.call_soon_threadsafe(self._look_at, found)

        def packages_changed(_: Sequence[StoredPackage], removed: Sequence[StoredPackage]) -> None:
            loop.call_soon_threadsafe(self._look_at, [each.collection for each in removed])

        def session_changed(_: EndpointId, began: bool) -> None:
            if began:
                self._look_at(tuple(self._lacking))

        ends = [
            self._records.subscribe(changed),
            self._store.on_packages(packages_changed),
            self._peers.subscribe(session_changed),
        ]
        try:
            await self._look_at_all()
            while True:
                await self._wake.wait(await self._keep())
        finally:
            for end in ends:
                end()
            for task, _ in tuple(self._bringing.values()):
                task.cancel()

    # ahead of any client

    def _look_at(self, collections: Sequence[BlobHash]) -> None:
        for each in collections:
            is_known = each in self._lacking or each in self._kept
            if is_known or len(self._lacking) + len(self._kept) < KEPT_LIMIT:
                self._lacking[each] = 0.0
        if collections:
            self._wake.set()

    async def _look_at_all(self) -> None:
        after = ""
        while page := await asyncio.to_thread(self._records.documents, PACKAGES, after=after, limit=_PAGE):
            self._look_at([offer.collection for each in page if (offer := offer_of(each)) is not None])
            after = page[-1].doc_id

    async def _keep(self) -> float | None:
        """Looks at what is due; in how many seconds something is again."""
        for collection in [each for each, due in self._lacking.items() if due <= self._clock()]:
            try:
                is_here = await self._keep_one(collection)
            except PeatError as error:
                _log.debug("documents cannot be brought ahead", collection=str(collection), error=str(error))
                is_here = False
            if is_here:
                self._lacking.pop(collection, None)
            else:
                self._lacking[collection] = self._clock() + _AGAIN_SECONDS
        dues = self._lacking.values()
        return max(0.0, min(dues) - self._clock()) if dues else None

    async def _keep_one(self, collection: BlobHash) -> bool:
        """Whether nothing has to be done for it any more, until something changes."""
        offer = await asyncio.to_thread(self._offers.resolve, str(collection))
        if offer is None or not repository_of(offer):
            return True
        here = await in_thread(self._here, offer)
        if here is not None:
            self._kept[collection] = here.stored_as
            return True
        holders = await asyncio.to_thread(self._providers.holders, collection)
        if not any(each.connected and each.can_be_asked for each in holders):
            return False
        await asyncio.to_thread(self._store.require_room, ROOM_BYTES)
        self._kept[collection] = (await self.bring(offer, TransferClass.BULK)).stored_as
        return True

    # a fetch

    async def _fetch(self, offer: Offer, progress: Progress) -> PackageDocuments:
        holders = await asyncio.to_thread(self._providers.holders, offer.collection)
        asked = [each for each in holders if each.can_be_asked]
        asked.sort(key=lambda each: not each.connected)
        sources, by_id = Sources(), {each.endpoint_id: each for each in asked}
        failure: PeatError = PeerUnavailable(f"{len(holders)} hold it, and none of them can be asked now")
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                for each in asked[:ASKED]:
                    if sources.current and not each.connected:
                        break
                    try:
                        sources.add(await self._peers.reach(each.endpoint_id))
                    except PeerUnavailable as error:
                        failure = error
                if not sources.current:
                    raise failure
                await self._getter.fetch_documents(offer.collection, sources, progress, expected=offer.root)
        except TimeoutError:
            raise PeerUnavailable(f"its documents did not come within {FETCH_SECONDS:g} s") from None
        except Misnamed:
            self._offers.disprove(offer)
            raise
        finally:
            self._judge(offer, sources, by_id)
        found = await in_thread(self.find, offer)
        if found is None:
            raise PeerUnavailable("its documents were removed when they had come")
        return found

    def _judge(self, offer: Offer, sources: Sources, asked: dict[EndpointId, Holder]) -> None:
        for id, fault in sources.faults.items():
            if isinstance(fault, IntegrityError | SourceError):
                self._providers.gave_wrong(asked[id], offer.collection)
            elif isinstance(fault, NotFound):
                self._providers.lacks(asked[id], offer.collection)

    def _over(self, collection: BlobHash, task: "asyncio.Task[PackageDocuments]") -> None:
        self._bringing.pop(collection, None)
        if not task.cancelled():
            task.exception()


def _is_package(change: Change) -> bool:
    return change.collection == PACKAGES
