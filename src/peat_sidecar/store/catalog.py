"""The packages of the store, and `oci/index.json`, which lists them for every OCI tool.

The index database knows them; index.json is written from it after each change, replaced as a whole. When
the database is lost they are read back from index.json and the manifests, walked from the roots.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import structlog

from peat_sidecar.errors import ConfigError, NotFound, PeatError, StoreFull
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.packages import Descriptor, Package, Walk
from peat_sidecar.store.companions import HEAD_BYTES, Companions
from peat_sidecar.store.failures import translated
from peat_sidecar.store.index import BlobRow, PackageRow
from peat_sidecar.store.layout import (
    COLLECTION_ANNOTATION,
    REFERENCE_ANNOTATION,
    encode_index,
    read_descriptors,
)
from peat_sidecar.store.records import StoredPackage
from peat_sidecar.store.reserve import Reserve
from peat_sidecar.store.shelf import Shelf

_log = structlog.get_logger(__name__)
_MANIFEST_LIMIT_BYTES = 4 << 20

PackagesListener = Callable[[Sequence[StoredPackage], Sequence[StoredPackage]], None]
"""Told what was listed, and what was taken out or replaced."""


class Catalog:
    """Thread-safe."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._path = shelf.layout.oci / "index.json"
        self._listeners: tuple[PackagesListener, ...] = ()
        self._reserve = Reserve(shelf.layout.reserve)
        self._is_stale = False
        """A package was removed that index.json still lists."""
        self.companions = Companions(self._read_head)
        """Of the packages that are listed; under the lock of the names."""

    def subscribe(self, listener: PackagesListener) -> Callable[[], None]:
        """Called after each change, in the thread that made it. Returns what ends it."""
        with self._shelf.naming:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._shelf.naming:
                self._listeners = tuple(each for each in self._listeners if each is not listener)

        return end

    def add(self, package: StoredPackage, mark: Callable[[], None] = lambda: None) -> None:
        """Replaces what had that reference. NotFound when a blob of it is not complete here. `mark` is called
        before it is listed, under the lock of the names.
        """
        shelf = self._shelf
        with shelf.naming:
            self._require_here(package)
            mark()
            root = package.root
            descriptor = {"mediaType": root.media_type, "digest": str(root.digest), "size": root.size}
            if root.artifact_type is not None:
                descriptor["artifactType"] = root.artifact_type
            row = PackageRow(
                package.reference, root.digest, descriptor, package.collection, package.bytes, package.blobs
            )
            replaced = shelf.index.packages("name = ?", (row.name,))
            before = replaced if package.reference else []
            shelf.index.add_package(row)
            try:
                self.write()
            except PeatError:
                shelf.index.remove_packages([row.name])
                for old in replaced:
                    shelf.index.add_package(old)
                raise
            self.companions.add(package.collection)
            for old in replaced:
                self.companions.remove(old.collection)
        self._tell([package], [_package(old) for old in before])

    def all(self) -> list[StoredPackage]:
        return [_package(row) for row in self._shelf.index.packages()]

    def find(self, name: Digest | BlobHash | str) -> StoredPackage | None:
        rows = self._shelf.index.find_packages(name)
        return _package(rows[0]) if rows else None

    def roots(self, prefix: str) -> dict[str, Descriptor]:
        return {name: _descriptor(root) for name, root in self._shelf.index.roots(prefix)}

    def describe(self, descriptors: Iterable[Descriptor]) -> None:
        """Takes note of what blobs are that came without their media types."""
        with self._shelf.naming:
            self._shelf.index.add_blobs(self._typed(descriptors))

    def remove(
        self, name: Digest | BlobHash | str, only: Callable[[StoredPackage], bool] = lambda package: True
    ) -> list[StoredPackage]:
        """Forgets the packages of that name; their blobs stay. Says which they were. `only` is asked of each,
        under the lock of the names.
        """
        with self._shelf.naming:
            rows = [row for row in self._shelf.index.find_packages(name) if only(_package(row))]
            names = [row.name for row in rows]
            try:
                self._shelf.index.remove_packages(names)
            except StoreFull:
                self._reserve.give_up()
                self._shelf.index.remove_packages(names)
            for row in rows:
                self.companions.remove(row.collection)
            self._is_stale = self._is_stale or bool(rows)
            self.write_again()
        removed = [_package(row) for row in rows]
        if removed:
            self._tell([], removed)
        return removed

    def _tell(self, added: Sequence[StoredPackage], removed: Sequence[StoredPackage]) -> None:
        for listener in self._listeners:
            listener(added, removed)

    def write_again(self) -> None:
        """After a removal: index.json may be behind while the disk is full, for what is removed makes room.
        What it lists too much is passed over when it is read back.
        """
        if self._is_stale:
            try:
                self.write()
            except StoreFull as error:
                _log.warning("index.json is written when there is room again", error=str(error))
                return
        self._reserve.fill()

    def write(self) -> None:
        """Makes index.json say what the database knows; does nothing when it does."""
        with self._shelf.naming:
            rows = sorted(self._shelf.index.packages(), key=lambda row: row.name)
            data = encode_index([_listed(row) for row in rows])
            with translated(self._path, len(data)):
                if not self._path.exists() or self._path.read_bytes() != data:
                    self._shelf.layout.replace(self._shelf.disk, self._path, data)
            self._is_stale = False

    def recover(self) -> None:
        """At start: packages that only index.json knows (the database was lost, or is older) are read back,
        those without their root are dropped.
        """
        index = self._shelf.index
        known = {row.name for row in index.packages()}
        for entry in read_descriptors(self._path) or []:
            self._read_back(entry, known)
        gone = [row.name for row in index.packages() if index.find(row.root) is None]
        if gone:
            _log.warning("packages without their manifest are dropped", packages=gone)
            index.remove_packages(gone)
        for row in index.packages():
            self.companions.add(row.collection)
        self.write()
        self._reserve.fill()

    def _read_back(self, entry: dict[str, Any], known: set[str]) -> None:
        try:
            annotations = entry.get("annotations") or {}
            reference = annotations.get(REFERENCE_ANNOTATION)
            root = _descriptor(entry)
            if (reference or f"@{root.digest}") in known:
                return
            collection = BlobHash.parse(annotations[COLLECTION_ANNOTATION])
            package = self._walk(root)
        except (PeatError, KeyError, TypeError, ValueError, AttributeError) as error:
            _log.warning("a package of index.json cannot be read back", entry=entry, error=str(error))
            return
        here = [each for each in package.blobs if self._shelf.find(each.digest) is not None]
        digests = tuple(each.digest for each in here)
        size = sum(each.size for each in here)
        self._shelf.index.add_package(
            PackageRow(reference, root.digest, _plain(entry), collection, size, digests),
        )
        self._shelf.index.add_blobs(self._typed(here))

    def _walk(self, root: Descriptor) -> Package:
        walk = Walk(root, None)
        while wanted := walk.wanted():
            for descriptor in wanted:
                row = self._shelf.find(descriptor.digest)
                if row is None or row.size > _MANIFEST_LIMIT_BYTES:
                    if descriptor.digest == root.digest:
                        raise NotFound(f"manifest {root.digest} is not in the store")
                    walk.absent(descriptor)
                else:
                    walk.feed(descriptor, self._read(row))
        return walk.package()

    def _require_here(self, package: StoredPackage) -> None:
        """All its blobs, and what goes with its collection."""
        find = self._shelf.find
        missing: list[Digest | BlobHash] = [each for each in package.blobs if find(each) is None]
        if package.root.digest not in package.blobs:
            missing.append(package.root.digest)
        if find(package.collection) is not None:
            missing += [each for each in self.companions.of(package.collection) if find(each) is None]
        if missing:
            raise NotFound(f"{missing[0]} of the package is not in the store; import or fetch it again")

    def _read_head(self, collection: BlobHash) -> bytes:
        row = self._shelf.find(collection)
        try:
            return self._read(row, HEAD_BYTES) if row is not None else b""
        except PeatError:  # it has gone, or was changed: the package is fetched by its digests then
            return b""

    def _read(self, row: BlobRow, limit: int | None = None) -> bytes:
        row, fd = self._shelf.open(row)
        try:
            with translated(self._shelf.layout.blob(row.sha256)):
                return self._shelf.disk.read(fd, row.size if limit is None else limit, 0)
        finally:
            self._shelf.disk.close(fd)

    def _typed(self, descriptors: Iterable[Descriptor]) -> list[BlobRow]:
        rows = []
        for each in descriptors:
            row = self._shelf.find(each.digest)
            if row is not None and row.media_type is None:
                rows.append(replace(row, media_type=each.media_type))
        return rows


def _listed(row: PackageRow) -> dict[str, Any]:
    annotations = {COLLECTION_ANNOTATION: str(row.collection)}
    if row.reference is not None:
        annotations[REFERENCE_ANNOTATION] = row.reference
    return row.descriptor | {"annotations": annotations}


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("mediaType", "digest", "size", "artifactType") if key in entry}


def _descriptor(entry: dict[str, Any]) -> Descriptor:
    media_type, size, artifact_type = entry["mediaType"], entry["size"], entry.get("artifactType")
    if (
        not isinstance(media_type, str)
        or not isinstance(size, int)
        or not isinstance(artifact_type, str | None)
    ):
        raise ConfigError("a descriptor has a mediaType, a digest and a size")
    return Descriptor(media_type, Digest.parse(entry["digest"]), size, artifact_type=artifact_type)


def _package(row: PackageRow) -> StoredPackage:
    described = row.descriptor
    artifact_type = described.get("artifactType")
    root = Descriptor(described["mediaType"], row.root, described["size"], artifact_type=artifact_type)
    return StoredPackage(row.reference, root, row.collection, row.blobs, row.bytes)
