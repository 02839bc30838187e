"""What a store has as a whole: its packages, what is needed and what is left over, what it takes, whether it
is sound.
"""

from collections.abc import Callable, Container, Iterable
from contextlib import AbstractContextManager

from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.packages import Descriptor
from peat_sidecar.store.catalog import Catalog, PackagesListener
from peat_sidecar.store.discarding import Discarded, Discarding
from peat_sidecar.store.failures import translated
from peat_sidecar.store.holds import HandedOut, Holds, Name
from peat_sidecar.store.marks import Marks
from peat_sidecar.store.records import BlobInfo, StoredPackage
from peat_sidecar.store.shelf import Shelf
from peat_sidecar.store.uploads import Uploads
from peat_sidecar.store.usage import PackageUsage, usage_of
from peat_sidecar.store.uses import LastUses
from peat_sidecar.store.verifying import Verdict, verify


class Holdings:
    """The part of the store that looks at all of it."""

    def __init__(self, shelf: Shelf, catalog: Catalog) -> None:
        self._shelf = shelf
        self._catalog = catalog
        self._holds = Holds()
        self._handed_out = HandedOut()
        self.uploads = Uploads(shelf)
        """What clients are sending, and have sent, of which no package speaks yet."""
        self.uses = LastUses()
        self.kept = Marks(shelf.layout.kept)
        """Blobs that were taken in by themselves: they stay until somebody deletes them."""
        self.cached = Marks(shelf.layout.cached)
        """Roots of packages that were brought from an upstream for a client: they may go for room."""
        self.own = Marks(shelf.layout.own)
        """Roots of packages that were brought here for their own sake: they never go for room."""
        self._discarding = Discarding(shelf, catalog.companions, self.uploads, self.kept, self._holds)
        self.uploads.discard = self._discarding.discard

    # packages

    def add_package(self, package: StoredPackage, *, own: bool | None = None) -> None:
        """Lists a package whose blobs are all here, in the index and in index.json; replaces the one that had
        its reference. NotFound names a blob that is missing.

        `own`: it was brought here for its own sake; False: for a client, from where it can be had again,
        which changes nothing for one that is here; None: nobody says.
        """
        self._catalog.add(package, lambda: self._mark(package.root.digest, own))

    def packages(self) -> list[StoredPackage]:
        """All, the newest first."""
        return self._catalog.all()

    def package(self, name: Digest | BlobHash | str) -> StoredPackage | None:
        """By root digest, by collection hash, or by reference."""
        return self._catalog.find(name)

    def remove_package(
        self, name: Digest | BlobHash | str, *, only: Callable[[StoredPackage], bool] = lambda package: True
    ) -> list[StoredPackage]:
        """Forgets packages; their blobs stay until they are deleted. Returns what was removed. `only` is
        asked of each in the moment in which it would go, when nobody can list it.
        """
        removed = self._catalog.remove(name, only)
        with self._shelf.naming:
            for root in {each.root.digest for each in removed}:
                if self._catalog.find(root) is None:
                    self.own.remove(root)
        return removed

    def has_reference(self, prefix: str) -> bool:
        """Whether a package's reference begins with a text."""
        return self._shelf.index.has_reference(prefix)

    def roots(self, prefix: str = "") -> dict[str, Descriptor]:
        """The references of packages that begin with a text, in order, and what they resolve to."""
        return self._catalog.roots(prefix)

    def holders(self, digest: Digest) -> list[str]:
        """The packages that hold a blob by this digest: their references, `@root` of one without."""
        return self._shelf.index.holders([digest])

    def describe(self, descriptors: Iterable[Descriptor]) -> None:
        """Takes note of the media types of blobs that came without."""
        self._catalog.describe(descriptors)

    def on_packages(self, listener: PackagesListener) -> Callable[[], None]:
        """Calls `listener(added, removed)` after packages were listed or taken out, in the thread that did
        it; one that gave its reference to another is among the removed. Returns what ends it.
        """
        return self._catalog.subscribe(listener)

    def forget_marks(self) -> None:
        """Of packages that are not here any more."""
        with self._shelf.naming:
            here = {each.root.digest for each in self.packages()}
            for marks in (self.own, self.cached):
                for root in marks.all() - here:
                    marks.remove(root)

    def _mark(self, root: Digest, own: bool | None) -> None:
        """Called with the lock of the names held."""
        if own:
            self.own.add(root)
            self.cached.remove(root)
        elif own is False and self._catalog.find(root) is None:
            self.cached.add(root)
            self.own.remove(root)

    # what is needed

    def hold(self, names: Iterable[Name]) -> AbstractContextManager[None]:
        """Nobody deletes the blobs of these names inside; they need not be here yet."""
        return self._holds.hold(names)

    def discard(self, blobs: Iterable[BlobHash]) -> Discarded:
        """Deletes those of them that nothing needs: no package, no claim, no transfer."""
        done = self._discarding.discard(blobs)
        self._catalog.write_again()  # there may be room for it now
        return done

    def orphans(self, age_seconds: float, wanted: Container[BlobHash] = ()) -> list[BlobInfo]:
        """Complete blobs that nothing needs, and nobody wants, since so long ago."""
        return self._discarding.orphans(age_seconds, wanted)

    def in_use(self) -> frozenset[Name]:
        """The hashes and digests of blobs that are handed out, or were a moment ago."""
        hashes = self._handed_out.current()
        rows = [row for each in hashes if (row := self._shelf.find(each)) is not None]
        return hashes | {name for row in rows for name in row.digests}

    def companions(self, collection: BlobHash) -> tuple[BlobHash, ...]:
        """The collection of a package, and what goes with it: its names and the files of its layout."""
        return self._catalog.companions.of(collection)

    # what it takes, and whether it is sound

    @property
    def disk_bytes(self) -> int:
        """The size of the disk that it lies on."""
        with translated(self._shelf.layout.data_dir):
            return self._shelf.disk.total_bytes(self._shelf.layout.data_dir)

    def blob_sizes(self) -> dict[str, int]:
        """Bytes of every complete blob, by each of its digests as text."""
        return self._shelf.index.sizes()

    def package_usage(self) -> list[PackageUsage]:
        """What each package takes, the newest first."""
        return usage_of(self.packages(), self.blob_sizes())

    def kept_bytes(self) -> int:
        """What blobs take that were taken in by themselves, and are in no package."""
        rows = {row.hash: row for each in self.kept.all() if (row := self._shelf.find(each)) is not None}
        return sum(row.size for row in rows.values() if not self._shelf.index.holders(row.digests))

    def verify(self, blob: BlobHash, progress: Callable[[int], None]) -> Verdict:
        """Reads and hashes a complete blob again; a damaged one is set aside. `progress` is told of bytes."""
        row = self._shelf.find(blob)
        return verify(self._shelf, row, progress) if row is not None else Verdict.GONE

    def is_whole(self, package: StoredPackage) -> bool:
        """Whether all its blobs, its collection and what goes with it are here."""
        companions = self.companions(package.collection)
        names: list[Name] = [*package.blobs, *companions]
        return len(companions) > 1 and all(self._shelf.find(each) for each in names)
