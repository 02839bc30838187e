"""Packages that are brought into a store as importers do it, made of layers."""

import json

from peat_sidecar.packages import Package, assemble, parse_manifest
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.transfer import list_package, stored_documents
from tests.support.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from tests.support.nodes import sha256_of

CONFIG = b"{}"


def image_of(*layers: bytes) -> tuple[Package, list[bytes]]:
    """A package of these layers, and its blobs, the manifest first."""
    entries = [
        {"mediaType": kind, "digest": str(sha256_of(data)), "size": len(data)}
        for kind, data in ((OCI_CONFIG, CONFIG), *((OCI_LAYER, layer) for layer in layers))
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": entries[0],
        "layers": entries[1:],
    }
    raw = json.dumps(document).encode()
    root = parse_manifest(raw, None).descriptor
    return assemble(root, {root.digest: raw}.get), [raw, CONFIG, *layers]


def bring(store: Store, reference: str | None, *layers: bytes) -> StoredPackage:
    """Its blobs one after the other, then the package; what is here already is not written again."""
    package, blobs = image_of(*layers)
    with store.hold(sha256_of(data) for data in blobs):
        for data in blobs:
            if store.find(sha256_of(data)) is None:
                store.put(data, expected=sha256_of(data))
        return list_package(store, package, reference)


def list_again(store: Store, package: StoredPackage, reference: str, *, own: bool = True) -> StoredPackage:
    """A package that is here, under another name, as one who pushes it does or, not for its own sake, one who
    pulls it through.
    """
    whole = stored_documents(package.collection, store)
    assert whole is not None
    return list_package(store, whole.package, reference, own=own)
