"""The store: blobs by hash and digest, complete and partial, on disk as an OCI image layout.

What is under a blob's name is complete and proven; what is partial is served as far as it is verified; after
the death of the program or of the power, no wrong byte is ever given out. Synchronous and thread-safe.
"""

from peat_sidecar.store.discarding import Discarded
from peat_sidecar.store.disk import Disk, Entry
from peat_sidecar.store.partial import PartialBlob
from peat_sidecar.store.reader import BlobReader
from peat_sidecar.store.records import BlobInfo, StoredPackage, Usage
from peat_sidecar.store.store import Store
from peat_sidecar.store.uploads import Upload, Uploads
from peat_sidecar.store.usage import PackageUsage
from peat_sidecar.store.verifying import Verdict
from peat_sidecar.store.writer import BlobWriter

__all__ = [
    "BlobInfo",
    "BlobReader",
    "BlobWriter",
    "Discarded",
    "Disk",
    "Entry",
    "PackageUsage",
    "PartialBlob",
    "Store",
    "StoredPackage",
    "Upload",
    "Uploads",
    "Usage",
    "Verdict",
]
