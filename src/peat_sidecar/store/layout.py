"""Where things lie in the data directory, and the two files that make `oci/` an OCI image layout.

oci/oci-layout, oci/index.json, oci/blobs/<algorithm>/<hex>     complete blobs; any OCI tool can read them
trees/<hash>                                                     pre-order tree pairs, none up to 16 KiB
partial/<hash>.{data,tree,have}, partial/<digest>.download       what is not complete, and temporary files
uploads/<owner>/<id>.upload, <algorithm>-<hex>.blob             what clients send, and have sent
kept/<algorithm>-<hex>, cached/..., own/...                       marks of blobs and of packages' roots
damaged/<hex>                                                   what turned out to be damaged, by its sha256
index.db, lock, reserve
"""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.store.disk import Disk

LAYOUT_BYTES = b'{"imageLayoutVersion":"1.0.0"}'
REFERENCE_ANNOTATION = "org.opencontainers.image.ref.name"
COLLECTION_ANNOTATION = "io.peat.sidecar.collection"
"""Our own annotation in index.json: the collection's hash, so that a lost index.db costs nothing."""
TEMPORARY = ".temp"
"""How the names of files end that nobody needs after a restart."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one data directory."""

    data_dir: Path

    @property
    def oci(self) -> Path:
        return self.data_dir / "oci"

    @property
    def sha256(self) -> Path:
        return self.oci / "blobs" / "sha256"

    @property
    def sha512(self) -> Path:
        return self.oci / "blobs" / "sha512"

    @property
    def trees(self) -> Path:
        return self.data_dir / "trees"

    @property
    def partial(self) -> Path:
        return self.data_dir / "partial"

    @property
    def uploads(self) -> Path:
        return self.data_dir / "uploads"

    @property
    def kept(self) -> Path:
        """Marks of blobs that were taken in by themselves."""
        return self.data_dir / "kept"

    @property
    def cached(self) -> Path:
        """Marks of the roots of packages that can be brought again from where they came from."""
        return self.data_dir / "cached"

    @property
    def own(self) -> Path:
        """Marks of the roots of packages that were brought here for their own sake."""
        return self.data_dir / "own"

    @property
    def damaged(self) -> Path:
        """Files that turned out not to be what their names say."""
        return self.data_dir / "damaged"

    @property
    def reserve(self) -> Path:
        """Room for removals on a full disk."""
        return self.data_dir / "reserve"

    @property
    def index(self) -> Path:
        return self.data_dir / "index.db"

    def blob(self, digest: Digest) -> Path:
        return self.oci / digest.path

    def tree(self, blob_hash: BlobHash) -> Path:
        return self.trees / str(blob_hash)

    def partial_file(self, blob_hash: BlobHash, kind: str) -> Path:
        """`kind` is data, tree or have."""
        return self.partial / f"{blob_hash}.{kind}"

    def download(self, digest: Digest) -> Path:
        return self.partial / f"{digest.algorithm}-{digest.hex}.download"

    def temporary(self, kind: str) -> Path:
        """A new name in `partial/`: the same file system as all else, emptied at start."""
        return self.partial / f"{secrets.token_hex(8)}.{kind}{TEMPORARY}"

    def make(self, disk: Disk) -> None:
        """Makes the folders and `oci-layout`; safe to be cut off anywhere and to be repeated."""
        for folder in (self.sha256, self.sha512, self.trees, self.partial):
            if not folder.is_dir():
                disk.make_folder(folder)
        for folder in (self.oci / "blobs", self.oci, self.data_dir):
            disk.sync_folder(folder)
        marker = self.oci / "oci-layout"
        if not marker.is_file() or marker.read_bytes() != LAYOUT_BYTES:
            self.replace(disk, marker, LAYOUT_BYTES)

    def replace(self, disk: Disk, path: Path, data: bytes, *, durable: bool = True) -> None:
        """The file has either its old content or the new one, whatever happens; the new one is on disk after.

        Without `durable` that holds for the death of the program, and a power loss may cost both.
        """
        temporary = self.temporary("new")
        try:
            fd = disk.open(temporary, create=True)
            try:
                disk.write(fd, data, 0)
                if durable:
                    disk.sync(fd)
            finally:
                disk.close(fd)
            disk.rename(temporary, path)
        except BaseException:
            disk.unlink(temporary)
            raise
        if durable:
            disk.sync_folder(path.parent)


def encode_index(descriptors: list[dict[str, Any]]) -> bytes:
    """index.json of the whole store."""
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": descriptors,
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def read_descriptors(path: Path) -> list[dict[str, Any]] | None:
    """What index.json lists; None when it is missing or not what this program writes."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    manifests = document.get("manifests") if isinstance(document, dict) else None
    if not isinstance(manifests, list):
        return None
    return [entry for entry in manifests if isinstance(entry, dict)]


def path_of(fd: int) -> str:
    """Where the file behind a descriptor lies, for messages and symbolic links."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return f"descriptor {fd}"
