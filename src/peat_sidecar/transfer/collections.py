"""The collection of a package that is in the store; its bytes follow from the package alone."""

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import BlobHash
from peat_sidecar.packages import Package, collection_names, layout_files
from peat_sidecar.store import Store
from peat_sidecar.wire import Collection, encode_collection


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
