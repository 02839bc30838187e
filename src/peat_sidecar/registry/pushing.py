"""From a manifest that was pushed to a package of this node.

All that it names has to be in the repository already, but for its subject, for layers that their licence
keeps elsewhere, and for blobs that it carries itself. Blocks.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass

from peat_sidecar.errors import NotFound, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.packages import Descriptor, Package, assemble, parse_manifest
from peat_sidecar.registry.faults import Code, Fault
from peat_sidecar.registry.names import Repository
from peat_sidecar.registry.repositories import Repositories
from peat_sidecar.transfer import list_package, remove_package


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a manifest became."""

    digest: Digest
    subject: Digest | None


def push_manifest(
    repositories: Repositories,
    repository: Repository,
    raw: bytes,
    media_type: str | None,
    *,
    tag: str | None,
    digest: Digest | None,
    is_immutable: bool = False,
) -> Pushed:
    """Under a tag, or by its digest alone. A manifest that loses its tag stays, by its digest; where tags are
    immutable none loses it, and the new one is refused.
    """
    algorithm = digest.algorithm if digest is not None else "sha256"
    actual = Digest(algorithm, hashlib.new(algorithm, raw).hexdigest())
    if digest is not None and digest != actual:
        raise Fault(Code.DIGEST_INVALID, f"the manifest has digest {actual} where {digest} was said")
    try:
        document = parse_manifest(raw, media_type)
    except SourceError as error:
        raise Fault(Code.MANIFEST_INVALID, str(error)) from None
    root = Descriptor(document.descriptor.media_type, actual, len(raw))
    package = _assembled(repositories, repository, root, raw)
    with repositories.store.hold(blob.digest for blob in package.blobs):
        for blob in package.blobs:
            _require(repositories, repository, package, blob)
        _take(repositories, repository, package, raw, tag, is_immutable=is_immutable)
    return Pushed(actual, document.subject.digest if document.subject is not None else None)


def _take(
    repositories: Repositories,
    repository: Repository,
    package: Package,
    raw: bytes,
    tag: str | None,
    *,
    is_immutable: bool,
) -> None:
    """Lists the package, whose blobs are all here but for the manifest."""
    store, root = repositories.store, package.root
    store.put(raw, media_type=root.media_type, expected=root.digest)
    store.describe(package.blobs)
    with repositories.changing:
        if tag is not None:
            _tag(repositories, repository, package, tag, is_immutable=is_immutable)
        else:  # under all its names: it may have been less, and somebody else's, until now
            names = repositories.references(repository, root.digest)
            for name in names or [repository.reference(root.digest)]:
                list_package(store, package, name)
        _drop_children(repositories, repository, package)
    for blob in package.blobs:  # the package holds it from now on
        store.uploads.release(repository.name, blob.digest)


def _assembled(repositories: Repositories, repository: Repository, root: Descriptor, raw: bytes) -> Package:
    def read(digest: Digest) -> bytes | None:
        if digest == root.digest:
            return raw
        if repositories.blob(repository, digest) is None:
            return None
        return repositories.read(digest)

    try:
        package = assemble(root, read)
    except SourceError as error:
        raise Fault(Code.MANIFEST_INVALID, str(error)) from None
    for child in package.missing:
        if (child.is_manifest or child.is_index) and repositories.manifest(repository, child.digest) is None:
            raise _unknown(repository, child)
    return package


def _require(repositories: Repositories, repository: Repository, package: Package, blob: Descriptor) -> None:
    if blob.digest in package.documents:
        return
    info = repositories.blob(repository, blob.digest)
    if info is None and blob.data is not None:
        repositories.store.put(blob.data, media_type=blob.media_type, expected=blob.digest)
    elif info is None:
        raise _unknown(repository, blob)
    elif info.size != blob.size:
        raise Fault(
            Code.MANIFEST_INVALID,
            f"{blob.digest} has {info.size} bytes, and the manifest says {blob.size} of it",
        )


def _tag(
    repositories: Repositories, repository: Repository, package: Package, tag: str, *, is_immutable: bool
) -> None:
    store, digest = repositories.store, package.root.digest
    before = store.package(repository.reference(tag))
    if is_immutable and before is not None and before.root.digest != digest:
        stays = f"{tag} is immutable here and stands for {before.root.digest}"
        raise Fault(Code.DENIED, f"{stays}; push under another tag, or delete this one first")
    if before is not None and before.root.digest != digest:
        repositories.keep_untagged(repository, tag)
    list_package(store, package, repository.reference(tag))
    store.remove_package(repository.reference(digest))


def _drop_children(repositories: Repositories, repository: Repository, package: Package) -> None:
    """Manifests of an index were pushed before it by digest; now they are a part of its package."""
    for digest, document in package.documents.items():
        if digest != package.root.digest and document.subject is None:
            with suppress(NotFound):
                remove_package(repositories.store, repository.reference(digest))


def _unknown(repository: Repository, blob: Descriptor) -> Fault:
    return Fault(
        Code.MANIFEST_BLOB_UNKNOWN,
        f"the manifest names {blob.digest}, which {repository.shown} has not; push that first",
        detail={"digest": str(blob.digest)},
    )
