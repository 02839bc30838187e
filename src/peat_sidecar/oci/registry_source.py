"""Reads a package from a registry: distribution specification 1.1, and what real registries make of it."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator

import httpx

from peat_sidecar.errors import ConfigError, IntegrityError, NotFound, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci.destinations import follow, same_origin
from peat_sidecar.oci.documents import checked, digest_of, referrers_in, referrers_tag
from peat_sidecar.oci.failures import ConnectionLost, NoRegistry
from peat_sidecar.oci.options import RegistryOptions
from peat_sidecar.oci.session import Answer, Session, Sleep
from peat_sidecar.packages import MANIFEST_MEDIA_TYPES, Descriptor, Index, parse_manifest

_INDEX = "application/vnd.oci.image.index.v1+json"
_ACCEPT = {"Accept": ", ".join(MANIFEST_MEDIA_TYPES)}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_NEXT_PAGE = re.compile(r"<([^<>]*)>[^,<]*;\s*rel=\"?next\"?")
_PAGES = 100
# A connection that is lost after so much is none of those tries in a row that gain nothing.
_GAIN_BYTES = 64 << 10


class RegistrySource:
    """One repository of a registry, and in it the package that a tag or a digest names. A `Source`."""

    def __init__(
        self, reference: Reference, options: RegistryOptions | None = None, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._reference = reference
        self._session = Session(reference, options or RegistryOptions(), sleep=sleep)
        self._root: tuple[Descriptor, bytes] | None = None
        self._honours_ranges = True

    @property
    def name(self) -> str:
        """The reference."""
        return str(self._reference)

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def resolve(self) -> Descriptor:
        """The manifest or index that the reference names; a digest goes before a tag."""
        wanted = self._reference.digest
        name = str(wanted) if wanted else self._reference.tag or "latest"
        answer = await self._get_manifest(name)
        stated = _stated_digest(answer, wanted)
        algorithm = (wanted or stated or digest_of(b"")).algorithm
        digest = digest_of(answer.body, algorithm)
        if wanted not in (None, digest) or (stated and stated != digest_of(answer.body, stated.algorithm)):
            raise IntegrityError(f"{self.name} gives wrong bytes for {wanted or stated}: theirs are {digest}")
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        if media_type == "text/html":
            raise NoRegistry(f"{self.name} is answered with a web page; is a portal to be logged in at?")
        document = parse_manifest(answer.body, media_type if media_type in MANIFEST_MEDIA_TYPES else None)
        root = Descriptor(
            document.descriptor.media_type, digest, len(answer.body), artifact_type=document.artifact_type
        )
        self._root = root, answer.body
        return root

    async def read_document(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or index, checked."""
        if self._root and self._root[0].digest == descriptor.digest:
            return checked(self._root[1], descriptor, self.name)
        answer = await self._get_manifest(str(descriptor.digest))
        return checked(answer.body, descriptor, self.name)

    async def _get_manifest(self, name: str) -> Answer:
        url = await self._session.url(f"manifests/{name}")
        try:
            return await self._session.request("GET", url, headers=_ACCEPT)
        except NotFound:
            place = f"{self._reference.registry}/{self._reference.repository}"
            raise NotFound(f"{place} has no manifest {name}; look at the name, or push it first") from None

    async def blob(self, descriptor: Descriptor, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The blob's bytes from an offset on, across lost connections; exactly as many as it has."""
        url = await self._session.url(f"blobs/{descriptor.digest}")
        position, failed = offset, 0
        while position < descriptor.size:
            begun = position
            try:
                async with contextlib.aclosing(self._stretch(url, descriptor, position)) as pieces:
                    async for piece in pieces:
                        position += len(piece)
                        yield piece
                if position < descriptor.size:
                    raise ConnectionLost(
                        f"{self.name} ends {descriptor.digest} at {position} of {descriptor.size} bytes"
                    )
            except ConnectionLost as lost:
                failed = 1 if position - begun >= _GAIN_BYTES else failed + 1
                await self._session.pause(lost, failed)

    async def _stretch(
        self, url: httpx.URL, descriptor: Descriptor, position: int
    ) -> AsyncGenerator[bytes, None]:
        """What one connection gives, from a position on."""
        ranged = position > 0 and self._honours_ranges
        headers = {"Range": f"bytes={position}-"} if ranged else {}
        async with self._session.attempt("GET", url, headers=headers) as response:
            skip = position - self._begin(response, descriptor, position, ranged=ranged)
            left = descriptor.size - position
            async for piece in response.aiter_raw():
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                wanted, skip = piece[skip:], 0
                if len(wanted) > left:
                    raise self._wrong_size(descriptor, "more")
                left -= len(wanted)
                yield wanted

    def _begin(self, response: httpx.Response, descriptor: Descriptor, position: int, *, ranged: bool) -> int:
        """Where in the blob the body begins; raises when it is no part of this blob."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise SourceError(f"{self.name} sends blobs in another encoding than asked for")
        if response.status_code == 200:
            length = response.headers.get("Content-Length")
            if length is not None and length != str(descriptor.size):
                raise self._wrong_size(descriptor, length)
            return 0
        if response.status_code == 404:
            raise NotFound(f"{self.name} has no blob {descriptor.digest}, though its manifest names it")
        if ranged and response.status_code in (206, 416):
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status_code == 206 and found and int(found[1]) == position:
                if found[3] not in ("*", str(descriptor.size)):
                    raise self._wrong_size(descriptor, found[3])
                return position
            # A range that is refused, or another one than asked for: from now on all of it, and skip.
            self._honours_ranges = False
            raise ConnectionLost(f"{self.name} does not continue {descriptor.digest} at byte {position}")
        empty = Answer(response.status_code, response.headers, b"", response.url)
        raise self._session.failure(empty)

    def _wrong_size(self, descriptor: Descriptor, length: str) -> IntegrityError:
        return IntegrityError(
            f"{self.name} has {length} bytes of {descriptor.digest}, its manifest says {descriptor.size}"
        )

    def local_file(self, descriptor: Descriptor) -> int | None:
        """None: the blobs of a registry are elsewhere."""
        return None

    async def referrers(self, descriptor: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        """What refers to a manifest: by the API, or where that is missing by the tag made of its digest."""
        url = await self._session.url(f"referrers/{descriptor.digest}")
        first = url.copy_merge_params({"artifactType": artifact_type}) if artifact_type else url
        found: dict[Digest, Descriptor] = {}
        following: httpx.URL | None = first
        for _ in range(_PAGES):
            if following is None:
                break
            answer = await self._session.request(
                "GET", following, headers={"Accept": _INDEX}, expect=(200, 400, 404, 405)
            )
            index = _as_index(answer)
            if index is None:
                return await self._referrers_by_tag(descriptor, artifact_type)
            found |= {entry.digest: entry for entry in referrers_in(index, artifact_type)}
            following = self._next_page(answer)
        return list(found.values())

    def _next_page(self, answer: Answer) -> httpx.URL | None:
        link = _NEXT_PAGE.search(answer.headers.get("Link", ""))
        if not link:
            return None
        url = follow(answer.url, link[1], self._session.options)
        return url if same_origin(url, answer.url) else None

    async def _referrers_by_tag(self, descriptor: Descriptor, artifact_type: str | None) -> list[Descriptor]:
        try:
            answer = await self._get_manifest(referrers_tag(descriptor.digest))
        except NotFound:
            return []
        index = _as_index(answer)
        return referrers_in(index, artifact_type) if index else []


def _as_index(answer: Answer) -> Index | None:
    """A list of referrers; None for what a registry without the API says (often 404 in plain text)."""
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    if answer.status != 200 or media_type != _INDEX:
        return None
    document = parse_manifest(answer.body, media_type)
    return document if isinstance(document, Index) else None


def _stated_digest(answer: Answer, wanted: Digest | None) -> Digest | None:
    """What `Docker-Content-Digest` says, where it says something that can be checked."""
    text = answer.headers.get("Docker-Content-Digest", "")
    algorithm, _, _ = text.partition(":")
    if algorithm not in ("sha256", "sha512"):
        return None
    try:
        return Digest.parse(text)
    except ConfigError as error:
        raise SourceError(f"the registry sends a bad Docker-Content-Digest: {error}") from None
