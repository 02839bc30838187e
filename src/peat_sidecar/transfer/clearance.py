"""Which blobs peers may have: a policy on references, so that knowing a hash is not enough.

A blob may go out when a package may that holds it, or a transfer that brings it. A file that was taken in by
itself has no reference to go by, and counts as `blob:HASH`. Anything else is a part of a package that is not
listed yet or no more (an import that goes on, a push, leftovers): whose is not known, and it stays.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import LOCAL_REGISTRY, BlobHash, Digest
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.transfer.package_listing import SEQUENCE_LIMIT_BYTES
from peat_sidecar.wire import parse_hash_sequence

DEFAULT = ("*", f"!{LOCAL_REGISTRY}/*")
"""What was pushed here without naming a registry stays."""
FETCHES = 1000
"""Remembered of those that did not end with a package."""
_CLEARED_LIMIT = 1_000_000
_HASH_BYTES = 32


class Clearance:
    """Thread-safe; lives as long as the store."""

    def __init__(
        self,
        store: Store,
        patterns: Sequence[str] = (),
        named: Callable[[str], str] = lambda name: name,
    ) -> None:
        """Patterns as shells have them, after those of `DEFAULT`: the last one that fits a reference says
        whether it is shared, `!` before it that it is not. `named`: how peers know a reference.
        """
        self._store = store
        self._patterns = (*DEFAULT, *patterns)
        self._named = named
        self._changing = threading.Lock()
        self._cleared: set[BlobHash] = set()
        self._age = 0
        self._fetches: dict[str, frozenset[BlobHash]] = {}
        store.on_packages(self._packages_changed)

    def shares(self, reference: str) -> bool:
        """Whether peers may have the package of that reference."""
        name = self._named(reference)
        fitting = [each for each in self._patterns if fnmatchcase(name, each.removeprefix("!"))]
        return bool(fitting) and not fitting[-1].startswith("!")

    def shares_package(self, package: StoredPackage) -> bool:
        """The same of a stored one; one without a reference goes by `@DIGEST`."""
        return self.shares(package.name)

    def clears(self, blob: BlobHash) -> bool:
        """Whether peers may have what is here of a blob. Blocks."""
        age = self._age
        if blob in self._cleared:
            return True
        info = self._store.find(blob)
        digests = info.digests if info is not None else ()
        held = False
        for name in self._holders(blob, digests):
            held = True
            if self.shares(name):
                self._clear(age, blob, name)
                return True
        return not held and self._is_alone(blob, digests) and self.shares(_alone(blob))

    def fetching(self, reference: str, blobs: Iterable[BlobHash]) -> None:
        """These come for a package that is to have that reference; remembered until it is listed."""
        with self._changing:
            self._fetches.pop(reference, None)
            self._fetches[reference] = frozenset(blobs)
            while len(self._fetches) > FETCHES:
                del self._fetches[next(iter(self._fetches))]

    def fetching_alone(self, blob: BlobHash) -> None:
        """It comes for its own sake; that counts as long as no package holds it."""
        self.fetching(_alone(blob), (blob,))

    def _is_alone(self, blob: BlobHash, digests: Sequence[Digest]) -> bool:
        """Whether somebody asked for it by itself, rather than that it is left of a package."""
        return _alone(blob) in self._fetches or any(each in self._store.kept for each in digests)

    def _holders(self, blob: BlobHash, digests: Sequence[Digest]) -> Iterator[str]:
        for digest in digests:
            yield from self._store.holders(digest)
        package = self._store.package(blob)
        if package is not None:  # others of the same content have the same collection
            yield from self._store.holders(package.root.digest)
        if digests:  # it is here: it may be the list of names of a collection, or a file of its layout
            for each in self._store.packages():
                if blob in self._store.companions(each.collection):
                    yield each.name
        with self._changing:
            fetches = list(self._fetches.items())
        yield from (name for name, blobs in fetches if blob in blobs and name != _alone(blob))

    def _clear(self, age: int, blob: BlobHash, name: str) -> None:
        """Remembers a blob, and with it all of the package, lest each is looked up."""
        found = {blob}
        package = self._store.package(Digest.parse(name[1:]) if name.startswith("@") else name)
        if package is not None:
            found |= self._collection(package)
        with self._changing:
            if age == self._age:
                if len(self._cleared) + len(found) > _CLEARED_LIMIT:
                    self._cleared.clear()
                self._cleared |= found

    def _collection(self, package: StoredPackage) -> set[BlobHash]:
        try:
            with self._store.reader(package.collection) as reader:
                length = min(reader.size // _HASH_BYTES * _HASH_BYTES, SEQUENCE_LIMIT_BYTES)
                return {package.collection, *parse_hash_sequence(reader.read(0, length))}
        except NotFound:  # it was removed in this moment
            return set()

    def _packages_changed(self, added: Sequence[StoredPackage], removed: Sequence[StoredPackage]) -> None:
        with self._changing:
            for package in added:
                self._fetches.pop(package.name, None)
            if removed:
                self._age += 1
                self._cleared.clear()


def _alone(blob: BlobHash) -> str:
    """How patterns name a blob of no package."""
    return f"blob:{blob}"
