"""Writes a package to a registry: asks before it uploads, mounts what another repository has, tags last."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import httpx

from peat_sidecar.errors import IntegrityError, NotFound, Refused, SourceError
from peat_sidecar.ids import Reference
from peat_sidecar.oci.documents import as_referrer, checked, digest_of, referrers_tag
from peat_sidecar.oci.failures import ConnectionLost
from peat_sidecar.oci.interfaces import ReadBlob
from peat_sidecar.oci.options import RegistryOptions
from peat_sidecar.oci.session import Answer, Content, Session, Sleep
from peat_sidecar.oci.uploads import Upload, cancel_upload, has_blob, upload_location
from peat_sidecar.packages import Descriptor, Index, parse_manifest

_INDEX = "application/vnd.oci.image.index.v1+json"
_MOUNT_TRIES = 3


class RegistryTarget:
    """One repository of a registry. A `Target`."""

    def __init__(
        self, reference: Reference, options: RegistryOptions | None = None, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._reference = reference
        self._session = Session(reference, options or RegistryOptions(), push=True, sleep=sleep)

    @property
    def name(self) -> str:
        """The reference."""
        return str(self._reference)

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the repository has the blob or manifest already."""
        return await has_blob(self._session, descriptor)

    async def push_blob(
        self, descriptor: Descriptor, read: ReadBlob, *, mount_from: Sequence[str] = ()
    ) -> None:
        """Mounts the blob from one of those repositories of the same registry, or uploads it."""
        begun: httpx.URL | None = None  # a registry that cannot mount begins an upload instead
        for repository in mount_from[:_MOUNT_TRIES]:
            mounted, location = await self._mount(descriptor, repository)
            if begun and (mounted or location):
                await cancel_upload(self._session, begun)
            if mounted:
                return
            begun = location or begun
        await Upload(self._session, descriptor, read, begun).run()

    async def _mount(self, descriptor: Descriptor, repository: str) -> tuple[bool, httpx.URL | None]:
        url = (await self._session.url("blobs/uploads/")).copy_merge_params(
            {"mount": str(descriptor.digest), "from": repository}
        )
        scopes = frozenset({f"repository:{repository}:pull"})
        try:
            answer = await self._session.request("POST", url, scopes=scopes, expect=(201, 202))
        except ConnectionLost:
            raise
        except (Refused, NotFound, SourceError):
            return False, None  # whatever is wrong with mounting, an upload may still work
        if answer.status == 201:
            return True, None
        return False, upload_location(self._session, answer)

    async def push_manifest(self, descriptor: Descriptor, raw: bytes, tag: str | None = None) -> None:
        """Writes a manifest under its digest, or a tag; lists a referrer where the registry does not."""
        answer = await self._put_manifest(descriptor, raw, tag or str(descriptor.digest))
        subject, entry = as_referrer(raw, descriptor)
        if subject and "OCI-Subject" not in answer.headers:
            await self._list_referrer(referrers_tag(subject), entry)

    async def _put_manifest(self, descriptor: Descriptor, raw: bytes, name: str) -> Answer:
        checked(raw, descriptor, "the store")
        answer = await self._session.request(
            "PUT",
            await self._session.url(f"manifests/{name}"),
            headers={"Content-Type": descriptor.media_type, "Content-Length": str(len(raw))},
            content=_whole(raw),
            expect=(200, 201, 202),
        )
        stated = answer.headers.get("Docker-Content-Digest", "")
        if stated.startswith(f"{descriptor.digest.algorithm}:") and stated != str(descriptor.digest):
            raise IntegrityError(f"{self.name} took {descriptor.digest} for something else: {stated[:150]!r}")
        return answer

    async def _list_referrer(self, tag: str, entry: Descriptor) -> None:
        """Adds to the list that stands for the referrers API in registries without it."""
        manifests = []
        try:
            answer = await self._session.request(
                "GET", await self._session.url(f"manifests/{tag}"), headers={"Accept": _INDEX}
            )
            listed = parse_manifest(answer.body, _INDEX)
            manifests = list(listed.manifests) if isinstance(listed, Index) else []
        except NotFound:
            pass
        if any(other.digest == entry.digest for other in manifests):
            return
        index = {
            "schemaVersion": 2,
            "mediaType": _INDEX,
            "manifests": [each.to_json() for each in [*manifests, entry]],
        }
        raw = json.dumps(index, separators=(",", ":")).encode()
        await self._put_manifest(Descriptor(_INDEX, digest_of(raw), len(raw)), raw, tag)

    async def finish(self, root: Descriptor, name: str | None = None) -> None:
        """Nothing: the tag that was pushed last has made the package visible."""


def _whole(raw: bytes) -> Content:
    async def once() -> AsyncIterator[bytes]:
        yield raw

    return once
