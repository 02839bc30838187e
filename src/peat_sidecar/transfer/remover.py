"""Removal of packages, with those of their and their collections' blobs that no other package needs."""

from contextlib import suppress
from dataclasses import dataclass

from peat_sidecar.errors import NotFound, Refused
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.packages import LAYOUT_NAMES
from peat_sidecar.store import BlobInfo, Store, StoredPackage
from peat_sidecar.wire import parse_hash_sequence

_HASH_BYTES = 32
_OWN_BLOBS = 1 + len(LAYOUT_NAMES)
"""Blobs of a collection that are not the package's: its list of names, and the files of the layout."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed."""

    packages: tuple[StoredPackage, ...]
    deleted_blobs: int
    deleted_bytes: int


def remove_package(store: Store, name: Digest | BlobHash | str) -> Removed:
    """Forgets the packages of that name and deletes what only they held. `NotFound` when there is none.

    Blobs that are being fetched, or were sent for a manifest that is still to come, stay. Blocks.
    """
    packages = store.remove_package(name)
    if not packages:
        raise NotFound(f"package {str(name)[:200]!r} is not in the store")
    doomed: dict[BlobHash, None] = {}
    for package in packages:
        doomed |= dict.fromkeys(_own_blobs(store, package))
        infos = (store.find(digest) for digest in package.blobs)
        doomed |= dict.fromkeys(info.hash for info in infos if info is not None)
    kept = {each for package in store.packages() for each in _own_blobs(store, package)}
    blobs = size = 0
    for each in doomed:
        info = store.find(each)
        if info is None or each in kept or _is_being_pushed(store, info):
            continue
        with suppress(Refused, NotFound):
            store.delete(each)
            blobs += 1
            size += info.present
    return Removed(tuple(packages), blobs, size)


def _is_being_pushed(store: Store, blob: BlobInfo) -> bool:
    names = (blob.digest, blob.sha512)
    return any(store.uploads.is_claimed(name) for name in names if name is not None)


def _own_blobs(store: Store, package: StoredPackage) -> tuple[BlobHash, ...]:
    """The collection, and those of its blobs that are not the package's."""
    try:
        with store.reader(package.collection) as reader:
            head = reader.read(0, _OWN_BLOBS * _HASH_BYTES)
    except NotFound:
        return ()
    return (package.collection, *parse_hash_sequence(head))
