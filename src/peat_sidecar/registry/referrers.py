"""What refers to a manifest: by the subject that it names, or by an index under the tag of its digest, as
clients write it for registries without this call. Those that records tell of are shown as soon as their
manifests are here, which are brought ahead of any client.
"""

import json

from peat_sidecar.errors import NotFound, PeatError
from peat_sidecar.ids import Digest
from peat_sidecar.packages import Descriptor, Index, Manifest, parse_manifest
from peat_sidecar.registry.exchange import Answer, Request
from peat_sidecar.registry.known_tags import KnownTags
from peat_sidecar.registry.memory import Memory
from peat_sidecar.registry.names import Repository, parse_digest
from peat_sidecar.registry.repositories import Repositories
from peat_sidecar.transfer import in_thread

_INDEX = "application/vnd.oci.image.index.v1+json"
_REMEMBERED_BYTES = 16 << 20
"""Of descriptors of manifests, with their subjects: what a digest names never changes."""
_ENTRY_BYTES = 1024
"""What one takes beside its annotations."""


class Referrers:
    """`/v2/<name>/referrers/<digest>`."""

    def __init__(self, repositories: Repositories, known: KnownTags) -> None:
        self._repositories = repositories
        self._known = known
        self._read = Memory(self._read_anew, _remembered_bytes, _REMEMBERED_BYTES)

    async def get(self, request: Request, repository: Repository, name: str) -> Answer:
        """An index of them, empty where there are none."""
        found = await in_thread(self._all, repository, parse_digest(name))
        headers = {"Content-Type": _INDEX}
        if wanted := request.query.get("artifactType"):
            found = [each for each in found if each.artifact_type == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [each.to_json() for each in found]}
        return Answer(200, headers, json.dumps(index).encode())

    def _all(self, repository: Repository, digest: Digest) -> list[Descriptor]:
        found: dict[Digest, Descriptor] = {}
        for root in (*self._repositories.roots(repository), *self._coming(repository, digest)):
            subject, referrer = self._read(root)
            if subject == digest:
                found[root.digest] = referrer
        for each in self._under_tag(repository, digest):
            if each.digest not in found and self._repositories.manifest(repository, each.digest) is not None:
                found[each.digest] = each
        return list(found.values())

    def _coming(self, repository: Repository, digest: Digest) -> list[Descriptor]:
        """Manifests that are here of packages that are not."""
        known = self._known.referrers(repository.name, digest)
        found = (self._repositories.document(each) for each in known)
        return [each for each in found if each is not None]

    def _under_tag(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        listing = self._repositories.manifest(repository, f"{digest.algorithm}-{digest.hex[:64]}")
        if listing is None or not listing.is_index:
            return ()
        document = parse_manifest(self._repositories.read(listing.digest), listing.media_type)
        return document.manifests if isinstance(document, Index) else ()

    def _read_anew(self, root: Descriptor) -> tuple[Digest | None, Descriptor]:
        """Its subject, and how an index names it."""
        try:
            document = parse_manifest(self._repositories.read(root.digest), root.media_type)
        except NotFound:
            raise
        except PeatError:
            return None, root
        subject = document.subject.digest if document.subject is not None else None
        return subject, Descriptor(
            root.media_type,
            root.digest,
            root.size,
            artifact_type=_artifact_type(document),
            annotations=document.annotations,
        )


def _remembered_bytes(read: tuple[Digest | None, Descriptor]) -> int:
    return _ENTRY_BYTES + len(json.dumps(read[1].to_json()))


def _artifact_type(document: Manifest | Index) -> str | None:
    if document.artifact_type is None and isinstance(document, Manifest):
        return document.config.media_type
    return document.artifact_type
