"""From a package whose blobs are in the store to its collection and its place among the packages."""

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import BlobHash
from peat_sidecar.packages import Descriptor, Package, collection_names, layout_files
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.wire import Collection, encode_collection


def list_package(store: Store, package: Package, reference: str | None) -> StoredPackage:
    """Lists a package under a reference, or by its root alone. `NotFound` names a blob that is
    missing. Blocks.
    """
    stored = stored_package(package, store_collection(store, package), reference)
    store.add_package(stored)
    return stored


def stored_package(package: Package, collection: BlobHash, reference: str | None) -> StoredPackage:
    """A package as the store lists it."""
    root = package.root
    artifact_type = package.documents[root.digest].artifact_type
    return StoredPackage(
        reference,
        Descriptor(root.media_type, root.digest, root.size, artifact_type=artifact_type),
        collection,
        tuple(blob.digest for blob in package.blobs),
        package.total_bytes,
    )


def store_collection(store: Store, package: Package) -> BlobHash:
    """Puts the blobs of the collection that are not the package's into the store: two files of the layout,
    the names, and the hash sequence, whose hash it gives. `NotFound` names a blob that is missing. Blocks.
    """
    hashes = []
    for blob in package.blobs:
        info = store.find(blob.digest)
        if info is None or not info.complete:
            raise NotFound(f"{blob.digest} of the package is not in the store; import it again")
        hashes.append(info.hash)
    files = store.put_many([(data, None, None) for _, data in layout_files(package)])
    entries = Collection(collection_names(package), (*(file.hash for file in files), *hashes))
    metadata, sequence = encode_collection(entries)
    _, collection = store.put_many([(metadata, None, None), (sequence, None, None)])
    return collection.hash
