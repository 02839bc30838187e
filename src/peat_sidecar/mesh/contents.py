"""What the mesh is told of a package in the store: its architecture, its manifest, its subject. Blocks."""

import json
import threading
from dataclasses import dataclass

from peat_sidecar.errors import PeatError
from peat_sidecar.ids import Digest
from peat_sidecar.packages import DOCUMENT_LIMIT_BYTES, Descriptor, Index, Manifest, parse_manifest
from peat_sidecar.store import Store, StoredPackage

_REMEMBERED = 4096
_ARCH_LIMIT = 64
_DEPTH_LIMIT = 4
_UNKNOWN = "unknown"
"""Platform of attestations."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Of one root."""

    arch: str
    """As `amd64`; `multi` for an index of several; empty where nothing says it."""
    is_index: bool
    manifest: Digest | None
    """The root, or the only manifest that is here of an index."""
    subject: Digest | None
    """What a signature or an SBOM refers to."""


class ContentsReader:
    """Reads manifests and configs of a store, each root once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[Digest, int], Contents] = {}
        self._lock = threading.Lock()

    def read(self, package: StoredPackage) -> Contents:
        """What cannot be read says nothing."""
        key = package.root.digest, len(package.blobs)  # of an index more or fewer platforms may be here
        with self._lock:
            if key in self._known:
                return self._known[key]
        contents = self._contents(package)
        with self._lock:
            self._known[key] = contents
            while len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        return contents

    def _contents(self, package: StoredPackage) -> Contents:
        root = self._document(package.root.digest, package.root.media_type)
        if root is None:
            return Contents("", package.root.is_index, None, None)
        subject = root.subject.digest if root.subject is not None else None
        found: dict[Digest, str] = {}
        self._collect(root, frozenset(package.blobs), found, 0, None)
        platforms = {arch for arch in found.values() if arch}
        arch = "multi" if len(platforms) > 1 else next(iter(platforms), "")
        return Contents(
            arch, isinstance(root, Index), next(iter(found)) if len(found) == 1 else None, subject
        )

    def _collect(
        self,
        document: Manifest | Index,
        here: frozenset[Digest],
        found: dict[Digest, str],
        depth: int,
        named: Descriptor | None,
    ) -> None:
        """Manifests that are here, with their architectures."""
        if isinstance(document, Manifest):
            stated = named.platform.architecture if named is not None and named.platform else ""
            if stated != _UNKNOWN:
                found[document.descriptor.digest] = stated or self._arch(document.config.digest)
            return
        for each in document.manifests:
            child = self._document(each.digest, each.media_type) if each.digest in here else None
            if child is not None and depth < _DEPTH_LIMIT:
                self._collect(child, here, found, depth + 1, each)

    def _document(self, digest: Digest, media_type: str) -> Manifest | Index | None:
        raw = self._read(digest)
        if raw is None:
            return None
        try:
            return parse_manifest(raw, media_type)
        except PeatError:
            return None

    def _arch(self, config: Digest) -> str:
        raw = self._read(config)
        try:
            fields = json.loads(raw or b"")
        except (ValueError, RecursionError):
            return ""
        arch = fields.get("architecture") if isinstance(fields, dict) else None
        return arch if isinstance(arch, str) and len(arch) <= _ARCH_LIMIT and arch.isprintable() else ""

    def _read(self, digest: Digest) -> bytes | None:
        try:
            info = self._store.find(digest)
            if info is None or not info.complete or info.size > DOCUMENT_LIMIT_BYTES:
                return None
            with self._store.reader(info.hash) as reader:
                return reader.read(0, info.size)
        except PeatError:
            return None
