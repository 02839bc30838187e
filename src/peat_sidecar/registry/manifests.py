"""Manifests: byte for byte what was pushed or fetched, by tag and by digest."""

import time

from peat_sidecar.errors import IntegrityError, NotFound, PeatError
from peat_sidecar.ids import Digest
from peat_sidecar.packages import DOCUMENT_LIMIT_BYTES, Descriptor
from peat_sidecar.registry.blobs import is_known, names_of
from peat_sidecar.registry.elsewhere import Elsewhere
from peat_sidecar.registry.exchange import Answer, Request
from peat_sidecar.registry.faults import Code, Fault, sought
from peat_sidecar.registry.known_tags import KnownTags
from peat_sidecar.registry.names import Repository, parse_digest, parse_name
from peat_sidecar.registry.pushing import push_manifest
from peat_sidecar.registry.repositories import Repositories
from peat_sidecar.transfer import in_thread


class Manifests:
    """`/v2/<name>/manifests/<reference>`."""

    def __init__(self, repositories: Repositories, elsewhere: Elsewhere, known: KnownTags) -> None:
        self._repositories = repositories
        self._elsewhere = elsewhere
        self._known = known

    async def get(self, request: Request, repository: Repository, name: str) -> Answer:
        """GET and HEAD; what the client accepts changes nothing, since the digest is over the bytes."""
        named = parse_name(name)
        found = await self._find(repository, named)
        if found is None:
            raise _unknown(repository, name)
        names = names_of(found.digest)
        if isinstance(named, str):
            names |= await in_thread(self._told, repository.reference(named), found.digest)
        headers = {**names, "Content-Type": found.media_type}
        if is_known(request, found.digest):
            return Answer(304, names)
        if request.method == "HEAD":
            return Answer(200, headers | {"Content-Length": str(found.size)})
        try:
            read = self._repositories.read
            return Answer(200, headers, await in_thread(read, found.digest, hand_out=True))
        except (NotFound, IntegrityError):  # it was removed, or its owner has changed the file
            raise _unknown(repository, name) from None

    def _told(self, reference: str, root: Digest) -> dict[str, str]:
        """Whose record says that the tag stands for that, and how old it is."""
        told = self._known.told(reference, root)
        if told is None:
            return {}
        age = max(0, int(time.time() - told.at))
        return {"Peat-Tag-Age": str(age), "Peat-Tag-Signer": str(told.signer)}

    async def _find(self, repository: Repository, name: str | Digest) -> Descriptor | None:
        """What is here by its digest asks nobody; what a tag stands for may have changed elsewhere."""
        here = await in_thread(self._repositories.manifest, repository, name)
        if here is not None and isinstance(name, Digest):
            return here
        try:
            with sought():
                return await self._elsewhere.manifest(repository.name, name) or here
        except PeatError:
            if here is None:
                raise
            return here

    async def put(self, request: Request, repository: Repository, name: str) -> Answer:
        """By tag, with `?digest=` where it is to have a certain one, or by digest."""
        named = parse_name(name)
        stated = named if isinstance(named, Digest) else None
        if stated is None and request.query.get("digest"):
            stated = parse_digest(request.query["digest"])
        raw = await request.body(DOCUMENT_LIMIT_BYTES)
        tag = named if isinstance(named, str) else None
        media_type = request.header("content-type").partition(";")[0].strip() or None
        pushed = await in_thread(
            push_manifest,
            self._repositories,
            repository,
            raw,
            media_type,
            tag=tag,
            digest=stated,
            is_immutable=tag is not None and self._known.is_immutable(repository.reference(tag)),
        )
        headers = {
            "Location": repository.url(f"manifests/{pushed.digest}"),
            "Docker-Content-Digest": str(pushed.digest),
        }
        if pushed.subject is not None:
            headers["OCI-Subject"] = str(pushed.subject)
        return Answer(201, headers)

    async def delete(self, request: Request, repository: Repository, name: str) -> Answer:
        """A tag alone, or a manifest with all its tags."""
        named = parse_name(name)
        if isinstance(named, Digest):
            removed = await in_thread(self._repositories.remove_manifest, repository, named)
        else:
            removed = await in_thread(self._repositories.untag, repository, named)
        if not removed:
            raise _unknown(repository, name)
        return Answer(202)


def _unknown(repository: Repository, name: str) -> Fault:
    return Fault(
        Code.MANIFEST_UNKNOWN, f"{repository.shown} has no manifest {name}", detail={"reference": name}
    )
