"""From a package whose blobs are in the store to its collection and its place among the packages."""

from collections.abc import Sequence

from blake3 import blake3

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import BlobHash
from peat_sidecar.packages import Descriptor, Package, collection_names, layout_files
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.wire import Collection, encode_collection


def list_package(store: Store, package: Package, reference: str | None, *, own: bool = True) -> StoredPackage:
    """Lists a package under a reference, or by its root alone; not its `own`: it may go for room. `NotFound`
    names a blob that is missing. Blocks.
    """
    with store.hold(blob.digest for blob in package.blobs):
        files = _collection_files(store, package)
        with store.hold(BlobHash(blake3(data).digest()) for data in files):
            stored = stored_package(package, _put(store, files), reference)
            store.add_package(stored, own=own)
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
    return _put(store, _collection_files(store, package))


def _collection_files(store: Store, package: Package) -> tuple[bytes, ...]:
    """Those blobs, the hash sequence last."""
    hashes = []
    for blob in package.blobs:
        info = store.find(blob.digest)
        if info is None or not info.complete:
            raise NotFound(f"{blob.digest} of the package is not in the store; import it again")
        hashes.append(info.hash)
    files = [data for _, data in layout_files(package)]
    own = (BlobHash(blake3(data).digest()) for data in files)
    return (*files, *encode_collection(Collection(collection_names(package), (*own, *hashes))))


def _put(store: Store, files: Sequence[bytes]) -> BlobHash:
    return store.put_many([(data, None, None) for data in files])[-1].hash
