"""What packages take: alone, and together with others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peat_sidecar.store.records import StoredPackage


@dataclass(frozen=True, slots=True)
class PackageUsage:
    """Of one package."""

    package: StoredPackage
    own_bytes: int
    """Of blobs that no other package holds: what its removal frees."""
    shared_bytes: int


def usage_of(packages: Sequence[StoredPackage], sizes: Mapping[str, int]) -> list[PackageUsage]:
    """In the order of the packages; `sizes` are those of complete blobs, by their digests as text."""
    holders = Counter(digest for package in packages for digest in package.blobs)
    found = []
    for package in packages:
        own = sum(sizes.get(str(digest), 0) for digest in package.blobs if holders[digest] == 1)
        whole = sum(sizes.get(str(digest), 0) for digest in package.blobs)
        found.append(PackageUsage(package, own, whole - own))
    return found
