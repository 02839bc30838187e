"""What clients of the registry ask for and is not here: found in the records, fetched while it is read.

Nothing is asked of anyone to find out that nobody has it. A client that reads a blob makes its package
wanted, in class high, that blob first; a want that is there already is used. When the last client has been
gone for a while, what only clients wanted ends; what came stays.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from peat_sidecar.errors import PeatError, PeerUnavailable
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.mesh.known_documents import KnownDocuments
from peat_sidecar.mesh.known_packages import KnownPackages
from peat_sidecar.mesh.offers import Offer, Offers
from peat_sidecar.mesh.providers import Providers
from peat_sidecar.mesh.reading import FetchesWhatIsRead, Reading
from peat_sidecar.mesh.wants import Wants
from peat_sidecar.packages import Descriptor
from peat_sidecar.store import Store
from peat_sidecar.transfer import PackageDocuments, in_thread

_ASKED_LIMIT = 1000
_AMONG = 8
"""Packages whose documents are brought for one blob that may be theirs, the newest."""
_SILENT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Found:
    offer: Offer
    documents: PackageDocuments


class OnDemand:
    """Lives on one event loop."""

    def __init__(
        self,
        agent_id: str,
        known: KnownPackages,
        documents: KnownDocuments,
        *,
        offers: Offers,
        providers: Providers,
        wants: Wants,
        store: Store,
        getter: FetchesWhatIsRead,
        wait_seconds: Callable[[], float] = lambda: 10.0,
    ) -> None:
        """`agent_id`: this node's. `wait_seconds`: without a byte, until a client is told to come again."""
        self._agent_id = agent_id
        self._known = known
        self._documents = documents
        self._offers = offers
        self._providers = providers
        self._wants = wants
        self._store = store
        self._getter = getter
        self._wait_seconds = wait_seconds
        self._asked: dict[BlobHash, None] = {}
        """Packages whose manifests clients have asked for, the last one last."""
        self._silent_until: dict[BlobHash, float] = {}
        """Until when nobody is waited for who was waited for in vain."""

    async def manifest(self, repository: str, name: str | Digest) -> Descriptor | None:
        """What a tag or digest stands for; its document is in the store then. Of a tag that is here and that
        the formation has a newer content of, the newer one if somebody who has it is connected.
        """
        if isinstance(name, Digest):
            found = await self._find(repository, name)
            if found is None or name not in found.documents.package.documents:
                return None
            await self._within(self._documents.bring(found.offer), found.offer)
            self._note(found.offer)
            return found.documents.blobs[name]
        offer = await in_thread(self._newest, f"{repository}:{name}")
        if offer is None:
            return None
        documents = await self._within(self._documents.bring(offer), offer)
        self._note(offer)
        return documents.package.root

    async def blob(self, repository: str, digest: Digest) -> Descriptor | None:
        """A blob of a package that the formation knows in that repository."""
        found = await self._find(repository, digest)
        return found.documents.blobs[digest] if found is not None else None

    async def open(self, repository: str, blob: Descriptor, offset: int) -> Reading:
        """Has it fetched, from that byte on; returns when that byte is here."""
        found = await self._find(repository, blob.digest)
        if found is None:
            raise PeerUnavailable(f"nobody has {blob.digest} any more")
        reading = Reading(
            self._wants,
            found.offer,
            self._store,
            self._getter,
            found.documents.hashes[blob.digest],
            blob.size,
            self._wait_seconds(),
        )
        try:
            if blob.size:
                await reading.read(offset, 1)
        except BaseException:
            await reading.aclose()
            raise
        return reading

    # what is known

    def _newest(self, reference: str) -> Offer | None:
        """What a tag means, unless what is here means it as well, or is all that can be had."""
        offer = self._offers.resolve(reference)
        here = self._store.package(reference)
        holders = self._providers.holders(offer.collection) if offer is not None else []
        if offer is None or here is None:
            return offer if holders else None
        if self._offers.tags.of(reference).is_immutable:
            return None
        can_be_had = any(each.connected and each.can_be_asked for each in holders)
        is_newer = here.root.digest != offer.root and self._is_announced(here.collection)
        return offer if is_newer and can_be_had else None

    def _is_announced(self, collection: BlobHash) -> bool:
        """Whether this node has told of it: what it has not told of yet is newer than all records."""
        return any(each.agent_id == self._agent_id for each in self._offers.holders(collection))

    async def _find(self, repository: str, digest: Digest) -> _Found | None:
        """The package that a blob or manifest is of: of several the one that clients asked for last."""
        found, unknown = await in_thread(self._look, repository, digest)
        if not found:
            named = [each for each in unknown if each.root == digest]
            return await self._find_among(named or unknown, digest)
        asked = list(self._asked)
        return max(found, key=lambda each: _place(asked, each.offer.collection))

    def _look(self, repository: str, digest: Digest) -> tuple[list[_Found], list[Offer]]:
        """Packages that hold it, and those of which it cannot be told yet; a bad one hides no other."""
        found: list[_Found] = []
        unknown: list[Offer] = []
        for offer in self._known.of(repository):
            if self._offers.is_false(offer):
                continue
            try:
                documents = self._documents.find(offer)
            except PeatError:
                continue
            if documents is None:
                unknown.append(offer)
            elif digest in documents.blobs:
                found.append(_Found(offer, documents))
        return found, unknown

    async def _find_among(self, unknown: list[Offer], digest: Digest) -> _Found | None:
        """Those whose documents have to be brought first; the first that comes with it is it."""
        tasks = [asyncio.create_task(self._brought(each)) for each in unknown[:_AMONG]]
        unavailable: PeerUnavailable | None = None
        try:
            for coming in asyncio.as_completed(tasks):
                try:
                    found = await coming
                except PeerUnavailable as error:
                    unavailable = error
                    continue
                if digest in found.documents.blobs:
                    return found
        finally:
            for task in tasks:
                task.cancel()
        if unavailable is not None:
            raise unavailable
        return None

    async def _brought(self, offer: Offer) -> _Found:
        """`PeerUnavailable` at once where nobody brought them a moment ago and nobody who has them has come
        since: a client asks for many blobs, one after another.
        """
        clock = asyncio.get_running_loop().time
        if clock() < self._silent_until.get(offer.collection, 0.0):
            holders = await in_thread(self._providers.holders, offer.collection)
            if not any(each.connected and each.can_be_asked for each in holders):
                raise PeerUnavailable(f"nobody who has {offer.reference} could be reached a moment ago")
        try:
            documents = await self._within(self._documents.bring(offer), offer)
        except PeerUnavailable:
            self._silent_until[offer.collection] = clock() + _SILENT_SECONDS
            if len(self._silent_until) > _ASKED_LIMIT:
                del self._silent_until[next(iter(self._silent_until))]
            raise
        self._silent_until.pop(offer.collection, None)
        return _Found(offer, documents)

    async def _within(self, bringing: Awaitable[PackageDocuments], offer: Offer) -> PackageDocuments:
        seconds = self._wait_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await bringing
        except TimeoutError:
            text = f"the manifest of {offer.reference} did not come within {seconds:g} s"
            raise PeerUnavailable(text) from None
        except PeatError as error:
            text = f"the manifest of {offer.reference} cannot be had now: {error}"
            raise PeerUnavailable(text) from error

    def _note(self, offer: Offer) -> None:
        self._asked.pop(offer.collection, None)
        self._asked[offer.collection] = None
        if len(self._asked) > _ASKED_LIMIT:
            del self._asked[next(iter(self._asked))]


def _place(asked: list[BlobHash], collection: BlobHash) -> int:
    return asked.index(collection) if collection in asked else -1
