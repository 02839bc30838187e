"""The OCI model, pure: descriptors, manifests, the walk from a root, and what a collection of it must hold.

Everything here may come from a peer or a registry that lies. What cannot be read is a `SourceError` that
says what is wrong with it, never another exception, in time and memory bounded by the length of the input.
"""

from peat_sidecar.packages.collections import (
    LAYOUT_FILE,
    LAYOUT_INDEX_LIMIT_BYTES,
    LAYOUT_NAMES,
    check_collection,
    collection_names,
    layout_files,
    layout_index,
    parse_collection_names,
    parse_layout_index,
)
from peat_sidecar.packages.descriptors import Descriptor, Platform
from peat_sidecar.packages.documents import Index, Manifest, parse_manifest
from peat_sidecar.packages.fields import DOCUMENT_LIMIT_BYTES
from peat_sidecar.packages.media_types import MANIFEST_MEDIA_TYPES
from peat_sidecar.packages.package import Package
from peat_sidecar.packages.walk import Walk, assemble

__all__ = [
    "DOCUMENT_LIMIT_BYTES",
    "LAYOUT_FILE",
    "LAYOUT_INDEX_LIMIT_BYTES",
    "LAYOUT_NAMES",
    "MANIFEST_MEDIA_TYPES",
    "Descriptor",
    "Index",
    "Manifest",
    "Package",
    "Platform",
    "Walk",
    "assemble",
    "check_collection",
    "collection_names",
    "layout_files",
    "layout_index",
    "parse_collection_names",
    "parse_layout_index",
    "parse_manifest",
]
