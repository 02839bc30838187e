"""Which `packages` documents this node should have, from what it sees, holds and is getting. Pure but for the
manifests that are read.

A document is written only when something in it changes, so it holds nothing that is different each time, and
what it holds stays under 1 KiB: the list of blobs is the collection, a blob like any other.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import BlobHash, Digest, Reference
from peat_sidecar.mesh.contents import Contents
from peat_sidecar.mesh.offers import Offer, listable
from peat_sidecar.mesh.policy import same_arch
from peat_sidecar.mesh.pulled import PulledPackage
from peat_sidecar.state import ReplicaRow
from peat_sidecar.store import StoredPackage

Fields = dict[str, Any]
OF_CONTENT = ("content", "origin", "exported")
"""What a document loses when its package vanishes."""
WATCHED = "pull_status"
"""A field that only watchers' documents have."""
_MARK = 12
"""Digits of a digest that tell two packages with one key apart."""


@dataclass(frozen=True, slots=True)
class Sight:
    """All that documents are made of, at one moment."""

    agent_id: str
    pulled: Sequence[PulledPackage]
    """What the watchers see, each source's in its order."""
    packages: Sequence[StoredPackage]
    contents: Callable[[StoredPackage], Contents]
    replicas: Mapping[BlobHash, ReplicaRow]
    wanted: Sequence[tuple[Offer, bool]]
    """What is being fetched, and whether some of it is here."""
    exported: Mapping[Digest, Collection[str]]
    """By root: references that packages were written to."""
    known: Mapping[str, Fields]
    """This node's documents as they are."""
    covered: Collection[str]
    """Collections in documents of watchers that have not told yet what they see."""
    watched: bool
    """All watchers have told what they see, and there are some."""
    vanished: Collection[str]
    """Collections of packages that their sources have no more."""
    owner_of_copy: Callable[[StoredPackage, str], str]
    """Agent id whose package of that reference a stored one is a copy of; empty for nobody's."""


@dataclass(slots=True)
class Announcements:
    """Makes the documents; one use."""

    sight: Sight
    documents: dict[str, Fields] = field(default_factory=dict)
    vanishing: set[str] = field(default_factory=set)
    """Collections of which that is seen now."""
    _by_name: dict[str, list[StoredPackage]] = field(default_factory=dict)
    """Stored packages by reference, without what pins it."""
    _told: set[tuple[BlobHash, str | None]] = field(default_factory=set)
    """Stored packages that are in a document."""

    def make(self) -> dict[str, Fields]:
        """Documents by id. What is not among them has vanished."""
        for package in self.sight.packages:
            self._by_name.setdefault(_base(package.reference or ""), []).append(package)
        self._pulled()
        if self.sight.watched:
            gone = (each for key, each in self.sight.known.items() if key not in self.documents)
            self.vanishing = {collection_in(each) for each in gone if WATCHED in each} - {""}
        self._stored()
        self._coming()
        return self.documents

    def _pulled(self) -> None:
        seen: set[tuple[str, str, str, str]] = set()
        for each in self.sight.pulled:
            identity = each.registry, each.package, each.reference, each.arch
            if not each.reference or identity in seen:  # two watchers may see one package
                continue
            seen.add(identity)
            fields: Fields = {
                "agent_id": self.sight.agent_id,
                "registry": each.registry,
                "package": each.package,
                "reference": each.reference,
                "arch": each.arch,
                "version": each.version,
                "total_bytes": each.total_bytes,
                "pull_status": each.pull_status,
            }
            package = self._content_of(each)
            mark = hashlib.sha256("\0".join(identity).encode()).hexdigest()
            if package is not None:
                self._told.add((package.collection, package.reference))
                row = self.sight.replicas.get(package.collection)
                fields |= self._content(package, each.reference, each.arch, row.agent_id if row else "")
                mark = package.root.digest.hex
            self._put(each.reference, each.arch, fields, mark)

    def _content_of(self, pulled: PulledPackage) -> StoredPackage | None:
        """What the store has of it, under the name itself before pinned ones."""
        name = listable(pulled.listed_as or pulled.reference)
        if not name:
            return None
        for each in sorted(self._by_name.get(name, ()), key=lambda one: one.reference != name):
            if same_arch(self.sight.contents(each).arch, pulled.arch):
                return each
        return None

    def _stored(self) -> None:
        """Packages that no watcher has named; those under their own name before pinned ones."""
        for package in sorted(self.sight.packages, key=lambda each: "@" in (each.reference or "@")):
            if (package.collection, package.reference) in self._told:
                continue
            if str(package.collection) in self.sight.covered:
                continue
            is_given_up = str(package.collection) in self.vanishing | set(self.sight.vanished)
            if is_given_up and package.collection not in self.sight.replicas:
                continue
            row = self.sight.replicas.get(package.collection)
            listed = package.reference or ""
            reference = row.reference if row is not None and row.reference else listed
            arch = row.arch if row is not None else self.sight.contents(package).arch
            origin = row.agent_id if row is not None else self._copied_from(package, reference, arch)
            fields = self._named(reference, arch, listed, package.bytes)
            fields |= self._content(package, reference, arch, origin)
            self._put(reference or str(package.root.digest), arch, fields, package.root.digest.hex)

    def _copied_from(self, package: StoredPackage, reference: str, arch: str) -> str:
        """Once a copy, always a copy: else it would seem to be newer than the package itself."""
        known = self.sight.known.get(self._key(reference or str(package.root.digest), arch), {})
        content = known.get("content")
        if isinstance(content, dict) and content.get("collection") == str(package.collection):
            return str(known.get("origin", ""))
        return self.sight.owner_of_copy(package, reference)

    def _coming(self) -> None:
        """What is being fetched is announced once some of it is here, and stays so until it is or goes."""
        for offer, is_partial in self.sight.wanted:
            name = offer.reference or str(offer.root)
            key = self._key(name, offer.arch)
            if self._is_told(key, offer, self.documents):
                continue
            if not is_partial and not self._is_told(key, offer, self.sight.known):
                continue
            fields = self._named(offer.reference, offer.arch, offer.listed_as, offer.bytes)
            content: Fields = {
                "root": str(offer.root),
                "collection": str(offer.collection),
                "blobs": offer.blobs,
                "bytes": offer.bytes,
                "state": "partial",
            }
            if offer.listed_as != listable(offer.reference):
                content["listed_as"] = offer.listed_as
            fields |= {"content": content, "origin": offer.origin or offer.agent_id}
            self._put(name, offer.arch, fields, offer.root.hex)

    def pulled_again(self) -> set[str]:
        """Collections of stored packages that watchers see."""
        return {str(collection) for collection, _ in self._told}

    # parts of documents

    def _named(self, reference: str, arch: str, listed: str, size: int) -> Fields:
        """What says which package it is, where no watcher says it."""
        known = self.sight.known.get(self._key(reference, arch), {})
        registry, package, version = _parts(_base(listed))
        return {
            "agent_id": self.sight.agent_id,
            "registry": known.get("registry") or registry,
            "package": known.get("package") or package,
            "reference": reference,
            "arch": arch,
            "version": known.get("version") or version,
            "total_bytes": size,
        }

    def _content(self, package: StoredPackage, reference: str, arch: str, origin: str) -> Fields:
        contents = self.sight.contents(package)
        root = str(package.root.digest)
        content: Fields = {"root": root}
        if contents.is_index:
            content["index"] = root
        if contents.manifest is not None:
            content["manifest"] = str(contents.manifest)
        content |= {
            "collection": str(package.collection),
            "blobs": len(package.blobs),
            "bytes": package.bytes,
            "state": "complete",
        }
        if contents.subject is not None:
            content["subject"] = str(contents.subject)
        if contents.arch and contents.arch != arch:
            content["arch"] = contents.arch
        listed = package.reference or ""
        if package.collection in self.sight.replicas:
            listed = _base(listed)
        if listed != listable(reference):
            content["listed_as"] = listed
        fields: Fields = {"content": content}
        if origin and origin != self.sight.agent_id:
            fields["origin"] = origin
        if exported := self.sight.exported.get(package.root.digest):
            fields["exported"] = sorted(exported)
        return fields

    def _key(self, name: str, arch: str) -> str:
        return f"{self.sight.agent_id}:{name}-{arch}"

    @staticmethod
    def _is_told(key: str, offer: Offer, documents: Mapping[str, Fields]) -> bool:
        """Whether one with that key, or with the mark of that root, is of the offered content."""
        found = (documents.get(each, {}) for each in (key, _marked(key, offer.root.hex)))
        return any(collection_in(each) == str(offer.collection) for each in found)

    def _put(self, name: str, arch: str, fields: Fields, mark: str) -> None:
        """Of two with one key the second is told apart by its digest."""
        key = self._key(name, arch)
        if key in self.documents:
            key = _marked(key, mark)
        self.documents[key] = fields


def _marked(key: str, mark: str) -> str:
    return f"{key}@{mark[:_MARK]}"


def _base(reference: str) -> str:
    """Without what pins it."""
    return reference.partition("@")[0]


def _parts(reference: str) -> tuple[str, str, str]:
    try:
        parsed = Reference.parse(reference)
    except ConfigError:
        return "", "", ""
    return parsed.registry, parsed.repository, parsed.tag or ""


def collection_in(fields: Fields) -> str:
    """Of a document; empty for none."""
    content = fields.get("content")
    return str(content.get("collection", "")) if isinstance(content, dict) else ""


def is_partial(fields: Fields) -> bool:
    """Whether a document is of content that was still being fetched."""
    content = fields.get("content")
    return isinstance(content, dict) and content.get("state") == "partial"
