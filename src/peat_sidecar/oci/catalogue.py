"""What a registry holds: its repositories, their tags, and what a tag stands for now.

Distribution specification 1.1, section "Listing Tags", and docker-registry's `_catalog`, which other
registries have too or refuse. Both come in pages, which are followed as long as they bring something new and
the bounds allow. Names that could be in no reference are left out.
"""

import asyncio
import json
import re
from typing import Any

import httpx

from peat_sidecar.errors import ConfigError, NotFound, PeatError, Refused, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci.destinations import follow, same_origin
from peat_sidecar.oci.documents import digest_of
from peat_sidecar.oci.options import RegistryOptions
from peat_sidecar.oci.session import Answer, Session, Sleep
from peat_sidecar.packages import MANIFEST_MEDIA_TYPES

_ACCEPT = {"Accept": ", ".join(MANIFEST_MEDIA_TYPES)}
_NEXT_PAGE = re.compile(r"<([^<>]*)>[^,<]*;\s*rel=\"?next\"?")
_PAGE_NAMES = 100
"""docker-registry 2.8.2 refuses more than 1,000; others have 100 as their most."""
_PAGES_LIMIT = 2000
_NAME_CHARACTERS = 255
NAMES_LIMIT = 100_000
"""Repositories, or tags of one; what lies beyond is not seen."""


class Catalogue:
    """One registry. For one event loop; close it."""

    def __init__(
        self,
        registry: str,
        options: RegistryOptions | None = None,
        *,
        repository: str = "",
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """The registry is named by host and port; `ConfigError` for what is no such name. A repository says
        whose credentials count, where there are some for parts of the registry.
        """
        Reference.parse(f"{registry}/a")
        self.registry = registry
        self._options = options or RegistryOptions()
        self._session = Session(Reference(registry, repository), self._options, sleep=sleep)
        self._session.scopes = frozenset()  # each request says its own

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def repositories(self) -> list[str]:
        """All names of repositories. `Refused`, with the remedy, where the registry does not list them."""
        try:
            return await self._pages("_catalog", "repositories", "registry:catalog:*")
        except (NotFound, Refused) as error:
            raise Refused(
                f"{self.registry} does not list its repositories ({error});"
                " name the repository itself, without a pattern, or give credentials that may list"
            ) from None

    async def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none where it is empty or not there."""
        try:
            return await self._pages(f"{repository}/tags/list", "tags", _pull(repository))
        except NotFound:  # what docker-registry says of a repository that was emptied
            return []

    async def digest(self, repository: str, name: str) -> Digest:
        """Of the manifest that a tag or digest names, without reading it where the registry tells it."""
        url, scopes = await self._url(f"{repository}/manifests/{name}"), frozenset({_pull(repository)})
        request = self._session.request
        try:
            head = await request("HEAD", url, headers=_ACCEPT, scopes=scopes, expect=(200, 405))
            stated = head.headers.get("Docker-Content-Digest", "") if head.status == 200 else ""
            try:
                return Digest.parse(stated)
            except ConfigError:
                return digest_of((await request("GET", url, headers=_ACCEPT, scopes=scopes)).body)
        except NotFound:
            raise NotFound(
                f"{self.registry}/{repository} has no manifest {name}; look at the name, or push it first"
            ) from None

    async def _url(self, path: str) -> httpx.URL:
        return (await self._session.url("")).join(f"/v2/{path}")

    async def _pages(self, path: str, field: str, scope: str) -> list[str]:
        found: dict[str, None] = {}
        following: httpx.URL | None = await self._url(f"{path}?n={_PAGE_NAMES}")
        for _ in range(_PAGES_LIMIT):
            if following is None or len(found) >= NAMES_LIMIT:
                break
            answer = await self._session.request("GET", following, scopes=frozenset({scope}))
            before = len(found)
            found |= dict.fromkeys(self._names(answer, field))
            following = self._next_page(answer) if len(found) > before else None
        return [name for name in list(found)[:NAMES_LIMIT] if _can_be_named(name, field)]

    def _names(self, answer: Answer, field: str) -> list[str]:
        try:
            document: Any = json.loads(answer.body)
            names = document.get(field)
        except (ValueError, RecursionError, AttributeError):
            raise self._unreadable(field) from None
        if names is None:  # what Go makes of an empty list
            return []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._unreadable(field)
        return names

    def _unreadable(self, field: str) -> PeatError:
        return SourceError(f"{self.registry} gives a list of {field} that cannot be read; is it a registry?")

    def _next_page(self, answer: Answer) -> httpx.URL | None:
        link = _NEXT_PAGE.search(answer.headers.get("Link", ""))
        if not link:
            return None
        url = follow(answer.url, link[1], self._options)
        return url if same_origin(url, answer.url) else None


def _pull(repository: str) -> str:
    return f"repository:{repository}:pull"


def _can_be_named(name: str, field: str) -> bool:
    if len(name) > _NAME_CHARACTERS:
        return False
    try:
        parsed = Reference.parse(f"a/{name}" if field == "repositories" else f"a/b:{name}")
    except ConfigError:
        return False
    if field == "repositories":
        return parsed.repository == name and parsed.tag == "latest" and parsed.digest is None
    return parsed.tag == name and parsed.digest is None
