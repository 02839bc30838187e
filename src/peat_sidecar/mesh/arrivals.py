"""What is done with a package that has come from the formation: it is named, and remembered as a replica.

A version that it replaces gives up the name; it is deleted when policy had brought it, and kept under a
pinned name (`reference@digest`) when a person had. Of packages for several platforms, one of this cluster has
the name and the others are pinned. Every step can be done again, so that a crash between two of them is
mended by the next try.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import BlobHash
from peat_sidecar.mesh.contents import ContentsReader
from peat_sidecar.mesh.offers import Offer
from peat_sidecar.mesh.policy import Platforms, same_arch
from peat_sidecar.state import ReplicaRow, State, WantRow
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.transfer import remove_package


class TakesExports(Protocol):
    """Who writes arrived packages to registries."""

    def add(self, package: StoredPackage, reference: str, export_to: str) -> object:
        """Remembers that it has to be written there."""
        ...


class JudgesTags(Protocol):
    """The part of the tag rules that is needed here."""

    def is_immutable(self, reference: str, /) -> bool:
        """Whether the tag stays at what it stands for."""
        ...

    def admits(self, offer: Offer, /) -> bool:
        """Whether its signer may say what its tag stands for."""
        ...


class AnyTag:
    """Every tag may move, by whomever."""

    def is_immutable(self, reference: str, /) -> bool:
        """No."""
        return False

    def admits(self, offer: Offer, /) -> bool:
        """Yes."""
        return True


class ResolvesNames(Protocol):
    """The part of the offers that is needed here."""

    def resolve(self, name: str, *, arch: str = "") -> Offer | None:
        """The package that a name means."""
        ...


class Arrivals:
    """Blocks; thread-safe."""

    def __init__(
        self,
        store: Store,
        state: State,
        platforms: Platforms,
        exports: TakesExports | None = None,
        tags: JudgesTags | None = None,
        offers: ResolvesNames | None = None,
    ) -> None:
        self._store = store
        self._state = state
        self._platforms = platforms
        self._exports = exports
        self._tags = tags or AnyTag()
        self._offers = offers
        self._contents = ContentsReader(store)

    def expect(self, offer: Offer, row: WantRow) -> str | None:
        """A fetch begins: it is a replica from the first moment that it can be listed, as what is returned;
        None: by its root alone.
        """
        if self._replica(offer.collection) is None and self._store.package(offer.collection) is None:
            self._remember(offer, row)
        taken = self._store.package(offer.listed_as) if offer.listed_as else None
        if (taken is not None and taken.root.digest != offer.root) or not self._tags.admits(offer):
            return offer.pinned_as or None
        return offer.listed_as or None

    def has(self, offer: Offer) -> bool:
        """Whether the package is here under the name that it should have."""
        if not offer.listed_as:
            return self._store.package(offer.collection) is not None
        plain, pinned = self._store.package(offer.listed_as), self._store.package(offer.pinned_as)
        if pinned is not None and not self._tags.admits(offer):
            return True
        if plain is not None and plain.collection == offer.collection:
            return True
        return pinned is not None and plain is not None and not self._replaces(offer, plain)

    def settle(self, offer: Offer, row: WantRow, *, fetched: bool = True) -> StoredPackage:
        """Names, remembers and hands on a package whose blobs are all here. `NotFound` when they are not.

        One that was here already is not made a replica of anyone's because a person wants it.
        """
        package = self._store.package(offer.collection)
        if package is None:
            raise NotFound(f"package {offer.collection} was removed when it had come; want it again")
        if offer.listed_as:
            package = self._name(package, offer)
        if fetched or row.origin == "policy" or self._replica(offer.collection) is not None:
            self._remember(offer, row)
        if row.export_to and self._exports is not None:
            self._exports.add(package, offer.listed_as, row.export_to)
        return package

    def _remember(self, offer: Offer, row: WantRow) -> None:
        known = self._replica(offer.collection)
        stays = known is not None and known.origin == "user" and not known.unwanted_by
        self._state.put_replica(
            ReplicaRow(
                offer.collection,
                offer.root,
                offer.reference,
                offer.arch,
                offer.origin or offer.agent_id,
                "user" if stays else row.origin,
            )
        )

    def _name(self, package: StoredPackage, offer: Offer) -> StoredPackage:
        plain = self._store.package(offer.listed_as)
        if plain is not None and plain.collection == offer.collection:
            return plain
        if not self._tags.admits(offer) or (plain is not None and not self._replaces(offer, plain)):
            return self._list_as(package, offer.pinned_as)
        if plain is not None:
            self._retire(plain, offer)
        named = self._list_as(package, offer.listed_as)
        if package.reference == offer.pinned_as:
            self._store.remove_package(offer.pinned_as)
        return named

    def _list_as(self, package: StoredPackage, name: str) -> StoredPackage:
        named = replace(package, reference=name)
        if package.reference != name:
            self._store.add_package(named)
        return named

    def _retire(self, old: StoredPackage, offer: Offer) -> None:
        if old.reference is None:
            return
        known = self._replica(old.collection)
        if known is not None and known.origin == "policy" and self._is_version(offer, old):
            with suppress(NotFound):
                remove_package(self._store, old.reference)
        else:
            self._list_as(old, f"{old.reference}@{old.root.digest}")

    def _replaces(self, offer: Offer, old: StoredPackage) -> bool:
        """Whether it takes over the name."""
        if self._is_version(offer, old):
            return self._is_meant(offer) and not self._tags.is_immutable(offer.listed_as)
        return self._platforms.runs(offer.arch) and not self._platforms.runs(self._arch(old))

    def _is_meant(self, offer: Offer) -> bool:
        """Whether its tag stands for it by the records: an old version may be asked for by its digest."""
        if self._offers is None:
            return True
        meant = self._offers.resolve(offer.listed_as, arch=offer.arch)
        return meant is None or meant.root == offer.root

    def _is_version(self, offer: Offer, old: StoredPackage) -> bool:
        """Whether it is another version of the same, and not the same for another platform."""
        return same_arch(self._arch(old), offer.arch)

    def _arch(self, package: StoredPackage) -> str:
        known = self._replica(package.collection)
        return known.arch if known is not None else self._contents.read(package).arch

    def _replica(self, collection: BlobHash) -> ReplicaRow | None:
        return self._state.replica(collection)
