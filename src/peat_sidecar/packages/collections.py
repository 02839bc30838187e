"""What a collection of a package holds: an OCI image layout, made from the content alone.

The entries are `oci-layout` and `index.json`, with bytes that follow from the root's descriptor, then
`blobs/<algorithm>/<hex>` of every blob of the package in the order of `Package.blobs`. A getter that has a
peer's collection goes these steps, and takes nothing from it but which hash belongs to which digest:

    digests = parse_collection_names(names)          # names are digests, never paths that a peer chose
    root = parse_layout_index(<bytes of index.json>)
    walk the documents from the root; one that is not among the digests is absent
    check_collection(names, package)
"""

import json
import re
from collections.abc import Sequence

from peat_sidecar.errors import ConfigError, IntegrityError
from peat_sidecar.ids import Digest
from peat_sidecar.packages.descriptors import Descriptor
from peat_sidecar.packages.fields import DOCUMENT_LIMIT_BYTES
from peat_sidecar.packages.media_types import MANIFEST_MEDIA_TYPES, OCI_INDEX
from peat_sidecar.packages.package import Package
from peat_sidecar.packages.walk import ENTRIES_LIMIT

LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
"""The bytes of `oci-layout`."""
LAYOUT_NAMES = ("oci-layout", "index.json")
"""The first two entries."""
LAYOUT_INDEX_LIMIT_BYTES = 512
"""More than any `index.json` of a collection has: a longer one is none."""

_LAYOUT_INDEX = re.compile(
    rb'\{"schemaVersion":2,"mediaType":"' + re.escape(OCI_INDEX.encode()) + rb'","manifests":\[\{'
    rb'"mediaType":"([a-z0-9./+-]{1,100})","digest":"([a-z0-9]{1,10}:[0-9a-f]{1,128})","size":([0-9]{1,8})\}\]\}'
)
_BLOB_NAME = re.compile(r"blobs/([a-z0-9]{1,10})/([0-9a-f]{1,128})")


def layout_index(root: Descriptor) -> bytes:
    """The bytes of `index.json`: one descriptor of three fields, no annotation."""
    entry = {"mediaType": root.media_type, "digest": str(root.digest), "size": root.size}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    return json.dumps(index, separators=(",", ":")).encode()


def parse_layout_index(raw: bytes) -> Descriptor:
    """The root that `index.json` of a collection names; `IntegrityError` for any but the fixed bytes."""
    found = _LAYOUT_INDEX.fullmatch(raw) if len(raw) <= LAYOUT_INDEX_LIMIT_BYTES else None
    if found is not None and found[1].decode() in MANIFEST_MEDIA_TYPES:
        try:
            root = Descriptor(found[1].decode(), Digest.parse(found[2].decode()), int(found[3]))
        except ConfigError:
            root = None
        if root and 0 < root.size <= DOCUMENT_LIMIT_BYTES and layout_index(root) == raw:
            return root
    raise IntegrityError("index.json of the collection has other bytes than one package's; it is refused")


def layout_files(package: Package) -> list[tuple[str, bytes]]:
    """Names and bytes of the entries that are no blobs of the package."""
    return list(zip(LAYOUT_NAMES, (LAYOUT_FILE, layout_index(package.root)), strict=True))


def collection_names(package: Package) -> tuple[str, ...]:
    """The names of all entries, in their order."""
    return LAYOUT_NAMES + tuple(blob.digest.path for blob in package.blobs)


def parse_collection_names(names: Sequence[str]) -> tuple[Digest, ...]:
    """The digests that the names of a collection speak of, from the third name on, in their order.

    `IntegrityError` for names that no package has. Which of the two are the package's own is not known yet.
    """
    if len(names) > len(LAYOUT_NAMES) + ENTRIES_LIMIT:
        raise IntegrityError(f"the collection has {len(names)} entries, more than a package may")
    if tuple(names[:2]) != LAYOUT_NAMES:
        raise IntegrityError("the collection is none of a package: it does not begin with an image layout")
    digests = dict.fromkeys(_parse_blob_name(name) for name in names[2:])
    if len(digests) != len(names) - 2:
        raise IntegrityError("the collection names a blob twice; it is refused")
    return tuple(digests)


def check_collection(names: Sequence[str], package: Package, *, max_bytes: int | None = None) -> None:
    """Checks that a collection holds this package and nothing else, and no more than was said.

    The package is the walk from the collection's root, with those documents absent that the names lack, so a
    sparse index passes with each of its manifests there as a whole or not at all. Else `IntegrityError`.
    """
    expected = collection_names(package)
    if tuple(names) != expected:
        raise IntegrityError(
            f"the collection is not that of {package.root.digest}: {_difference(names, expected)}"
        )
    if max_bytes is not None and package.total_bytes > max_bytes:
        raise IntegrityError(
            f"package {package.root.digest} has {package.total_bytes} bytes, and {max_bytes} were announced"
        )


def _parse_blob_name(name: str) -> Digest:
    found = _BLOB_NAME.fullmatch(name)
    try:
        if found:
            return Digest(found[1], found[2])
    except ConfigError:
        pass
    raise IntegrityError(f"the collection has an entry {name[:80]!r}, which no package has")


def _difference(names: Sequence[str], expected: Sequence[str]) -> str:
    for number, (name, due) in enumerate(zip(names, expected, strict=False)):
        if name != due:
            return f"entry {number} is {name[:160]!r} where {due} is due"
    if len(names) > len(expected):
        return f"it has {len(names) - len(expected)} entries more than the package"
    return f"{expected[len(names)]} is not in it"
