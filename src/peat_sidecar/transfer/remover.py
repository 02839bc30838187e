"""Removal of packages, with those of their and their collections' blobs that no other package needs."""

from collections.abc import Callable
from dataclasses import dataclass

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.store import Store, StoredPackage


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed."""

    packages: tuple[StoredPackage, ...]
    deleted_blobs: int
    deleted_bytes: int


def remove_package(
    store: Store,
    name: Digest | BlobHash | str,
    *,
    only: Callable[[StoredPackage], bool] = lambda package: True,
) -> Removed:
    """Forgets the packages of that name and deletes what only they held. `NotFound` when there is none.

    Blobs that a transfer is at work with, or that were sent for a manifest that is still to come, stay.
    `only` is asked of each package in the moment in which it would go. Blocks.
    """
    packages = store.remove_package(name, only=only)
    if not packages:
        raise NotFound(f"package {str(name)[:200]!r} is not in the store")
    doomed: dict[BlobHash, None] = {}
    for package in packages:
        doomed |= dict.fromkeys(store.companions(package.collection))
        infos = (store.find(digest) for digest in package.blobs)
        doomed |= dict.fromkeys(info.hash for info in infos if info is not None and info.complete)
    gone = store.discard(doomed)
    return Removed(tuple(packages), gone.blobs, gone.bytes)
