"""Lists of tags and of repositories, in pages: what is here, and what records say that others have."""

import bisect
import json
from urllib.parse import urlencode

from peat_sidecar.registry.exchange import Answer, Request
from peat_sidecar.registry.faults import Code, Fault
from peat_sidecar.registry.known_tags import KnownTags
from peat_sidecar.registry.names import Repository, names_in
from peat_sidecar.registry.repositories import Repositories
from peat_sidecar.transfer import in_thread

_PAGE_NAMES = 10_000
"""The most of one page; more are asked for by the link to the next."""


class Listing:
    """`/v2/<name>/tags/list` and `/v2/_catalog`."""

    def __init__(self, repositories: Repositories, known: KnownTags) -> None:
        self._repositories = repositories
        self._known = known

    async def tags(self, request: Request, repository: Repository, name: str) -> Answer:
        """Of one repository."""
        tags = await in_thread(self._tags, repository)
        if tags is None:
            raise Fault(Code.NAME_UNKNOWN, f"there is no repository {repository.shown}")
        return _page(request, {"name": repository.shown}, "tags", tags)

    async def catalog(self, request: Request) -> Answer:
        """Of all, or with `?ns=` those of one registry."""
        names = await in_thread(self._names, request.query.get("ns", ""))
        return _page(request, {}, "repositories", names)

    def _tags(self, repository: Repository) -> list[str] | None:
        here, prefix = self._repositories.tags(repository), repository.reference("")
        known = [each.removeprefix(prefix) for each in self._known.references(prefix)]
        return sorted({*(here or ()), *known}) if here is not None or known else None

    def _names(self, registry: str) -> list[str]:
        known = self._known.references(f"{registry}/" if registry else "")
        return sorted({*self._repositories.names(registry), *names_in(known, registry)})


def _page(request: Request, document: dict[str, object], field: str, names: list[str]) -> Answer:
    asked = request.query.get("n", str(_PAGE_NAMES))
    if not (asked.isascii() and asked.isdigit()):
        raise Fault(Code.SIZE_INVALID, f"n={asked[:20]!r} is no number of names")
    count = min(int(asked[:9]), _PAGE_NAMES)
    start = bisect.bisect_right(names, request.query.get("last", ""))
    shown = names[start : start + count]
    headers = {"Content-Type": "application/json"}
    if shown and start + count < len(names):
        query = {"n": str(count), "last": shown[-1]}
        if request.query.get("ns"):
            query["ns"] = request.query["ns"]
        headers["Link"] = f'<{request.path}?{urlencode(query)}>; rel="next"'
    return Answer(200, headers, json.dumps({**document, field: shown}).encode())
