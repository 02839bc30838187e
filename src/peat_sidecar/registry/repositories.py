"""What is in a repository: packages of the store by their references, and blobs that were sent to it.

Knowing a digest is not enough: a blob is shown where a package of the repository holds it, or where it was
uploaded or mounted. Synchronous and thread-safe.
"""

import threading
from dataclasses import replace

from peat_sidecar.errors import NotFound, SourceError
from peat_sidecar.ids import LOCAL_REGISTRY, Digest
from peat_sidecar.packages import DOCUMENT_LIMIT_BYTES, MANIFEST_MEDIA_TYPES, Descriptor
from peat_sidecar.registry.faults import Code, Fault
from peat_sidecar.registry.names import Repository, names_in
from peat_sidecar.store import BlobInfo, Store
from peat_sidecar.transfer import remove_package


class Repositories:
    """One for the program."""

    def __init__(self, store: Store, default_registry: str = "") -> None:
        """`default_registry`: where names are looked for as well that come without a registry."""
        self.store = store
        self._default = default_registry
        self.changing = threading.Lock()
        """Held while what a tag stands for is looked at and changed."""

    def names(self, registry: str) -> list[str]:
        """Of all repositories as clients call them, or of those of one registry."""
        references = self.store.roots(f"{registry}/" if registry else "")
        return sorted(names_in(references, registry))

    def located(self, repository: Repository) -> Repository:
        """The repository that a name without a registry stands for: packages of image layouts and agents have
        registries that do not look like one, as `layout/app:v1`.
        """
        if repository.registry != LOCAL_REGISTRY or self._is_known(repository):
            return repository
        first, slash, rest = repository.path.partition("/")
        others = [replace(repository, registry=first, path=rest)] if slash else []
        if self._default:
            others.append(replace(repository, registry=self._default))
        return next(filter(self._is_known, others), repository)

    def tags(self, repository: Repository) -> list[str] | None:
        """None where nothing is known of the repository."""
        references = self.store.roots(repository.name)
        own = [reference for reference in references if repository.holds(reference)]
        if not own:
            return None
        prefix = repository.reference("")
        tags = (name.removeprefix(prefix) for name in own if name.startswith(prefix))
        return sorted(tag for tag in tags if "@" not in tag)

    def manifest(self, repository: Repository, name: str | Digest) -> Descriptor | None:
        """What a tag stands for, or a digest where it is a manifest of the repository."""
        if isinstance(name, str):
            package = self.store.package(repository.reference(name))
            return package.root if package is not None else None
        roots = (each for each in self.roots(repository) if each.digest == name)
        root = next(roots, None)
        if root is not None:
            return root
        return self.document(name) if self.blob(repository, name) is not None else None

    def document(self, digest: Digest) -> Descriptor | None:
        """A manifest that is here, in whatever repository."""
        info = self.store.find(digest)
        if info is None or not info.complete or info.size > DOCUMENT_LIMIT_BYTES:
            return None
        if info.media_type not in MANIFEST_MEDIA_TYPES:
            return None
        return Descriptor(info.media_type, digest, info.size)

    def roots(self, repository: Repository) -> list[Descriptor]:
        """Manifests that were pushed to it or came as packages, each once."""
        found = self.store.roots(repository.name)
        own = (root for reference, root in found.items() if repository.holds(reference))
        return list({root.digest: root for root in own}.values())

    def references(self, repository: Repository, digest: Digest) -> list[str]:
        """The names under which a manifest is listed in it."""
        found = self.store.roots(repository.name)
        return [name for name, root in found.items() if repository.holds(name) and root.digest == digest]

    def blob(self, repository: Repository, digest: Digest) -> BlobInfo | None:
        """A blob that is here and belongs to the repository."""
        info = self.store.find(digest)
        if info is None or not info.complete:
            return None
        claimed = any(self.store.uploads.claims(repository.name, name) for name in info.digests)
        return info if claimed or self._holders(repository, info) else None

    def read(self, digest: Digest, *, hand_out: bool = False) -> bytes:
        """A document; `NotFound` when it has gone meanwhile, `SourceError` when it is too long for one. A
        package whose root is handed out is used.
        """
        info = self.store.find(digest)
        if info is None:
            raise NotFound(f"{digest} has gone")
        if info.size > DOCUMENT_LIMIT_BYTES:
            raise SourceError(
                f"{digest} has {info.size} bytes; a manifest has {DOCUMENT_LIMIT_BYTES} at most"
            )
        if hand_out:
            self.store.uses.note(digest)
        with self.store.reader(info.hash, hand_out=hand_out) as reader:
            return reader.read(0, info.size)

    def mount(self, repository: Repository, digest: Digest, source: Repository | None) -> bool:
        """Gives the repository a blob that another one has, or with none named any; whether there was one."""
        info = self.store.find(digest)
        if info is None or not info.complete:
            return False
        if source is not None:
            there = self.blob(source, digest) is not None
        else:
            named = [name for each in info.digests for name in self.store.holders(each)]
            there = self.store.uploads.is_claimed(digest) or any(name[0] != "@" for name in named)
        return there and self.store.uploads.share(repository.name, digest)

    # taking out

    def untag(self, repository: Repository, tag: str) -> bool:
        """Takes a tag away; its manifest stays, by its digest. Whether there was such a tag."""
        with self.changing:
            package = self.store.package(repository.reference(tag))
            if package is None:
                return False
            self.keep_untagged(repository, tag)
            self.store.remove_package(repository.reference(tag))
            return True

    def keep_untagged(self, repository: Repository, tag: str) -> None:
        """Before a tag goes: lists its manifest by digest, where nothing else does."""
        package = self.store.package(repository.reference(tag))
        if package is None:
            return
        digest = package.root.digest
        if self.references(repository, digest) == [repository.reference(tag)]:
            self.store.add_package(replace(package, reference=repository.reference(digest)))

    def remove_manifest(self, repository: Repository, digest: Digest) -> bool:
        """Removes it with all its tags, and the blobs that only it held. Whether it was there."""
        with self.changing:
            references = self.references(repository, digest)
            for reference in references:
                remove_package(self.store, reference)
        if not references and self.manifest(repository, digest) is not None:
            raise _in_use(repository, digest, self._holding(repository, digest))
        return bool(references)

    def remove_blob(self, repository: Repository, digest: Digest) -> bool:
        """Takes back what was uploaded. Whether it was there."""
        info = self.blob(repository, digest)
        if info is None:
            return False
        if holders := self._holders(repository, info):
            raise _in_use(repository, digest, holders)
        for name in info.digests:
            self.store.uploads.release(repository.name, name)
        return True

    def _is_known(self, repository: Repository) -> bool:
        return any(self.store.has_reference(f"{repository.name}{mark}") for mark in ":@")

    def _holding(self, repository: Repository, digest: Digest) -> list[str]:
        info = self.store.find(digest)
        return self._holders(repository, info) if info is not None else []

    def _holders(self, repository: Repository, info: BlobInfo) -> list[str]:
        """Packages of the repository that have the blob, by whichever of its digests."""
        holders = (name for digest in info.digests for name in self.store.holders(digest))
        return [name for name in holders if repository.holds(name)]


def _in_use(repository: Repository, digest: Digest, holders: list[str]) -> Fault:
    shown = ", ".join(name.removeprefix(f"{LOCAL_REGISTRY}/") for name in holders[:5])
    return Fault(Code.UNSUPPORTED, f"{digest} belongs to {shown}; delete that first")
