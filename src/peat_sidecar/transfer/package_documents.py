"""What the documents of a package say of it: which blobs it is made of, of which sizes and hashes."""

from collections.abc import Mapping
from dataclasses import dataclass

from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.packages import DOCUMENT_LIMIT_BYTES, Descriptor, Package, assemble, check_collection
from peat_sidecar.store import Store
from peat_sidecar.transfer.package_listing import read_small, stored_listing


@dataclass(frozen=True, slots=True)
class PackageDocuments:
    """Of a package whose layers need not be here."""

    package: Package
    blobs: Mapping[Digest, Descriptor]
    hashes: Mapping[Digest, BlobHash]
    """As its collection claims; each is proven when its blob is here."""
    stored_as: frozenset[BlobHash]
    """What they are in the store: the collection, its files, and the manifests."""


def stored_documents(collection: BlobHash, store: Store) -> PackageDocuments | None:
    """From the store; None where one of them is not here. Blocks.

    A `PeatError` where they are none of one package: what was fetched and then refused is in the store too.
    """
    listing = stored_listing(collection, store)
    if listing is None:
        return None

    def read(digest: Digest) -> bytes | None:
        return read_small(store, digest, DOCUMENT_LIMIT_BYTES) if digest in listing.hashes else None

    package = assemble(listing.root, read)
    if any(each.digest in listing.hashes for each in package.missing):
        return None
    check_collection(listing.names, package)
    manifests = (listing.hashes[digest] for digest in package.documents)
    stored_as = frozenset((collection, *listing.companions, *manifests))
    blobs = {each.digest: each for each in package.blobs}
    return PackageDocuments(package, blobs, listing.hashes, stored_as)
