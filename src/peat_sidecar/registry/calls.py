"""All calls of the registry, found by path and method."""

import re
from collections.abc import Awaitable, Callable, Mapping

from peat_sidecar.registry.blobs import Blobs
from peat_sidecar.registry.elsewhere import Elsewhere, Nowhere
from peat_sidecar.registry.exchange import Answer, Request
from peat_sidecar.registry.faults import Code, Fault
from peat_sidecar.registry.known_tags import KnownTags, NoTags
from peat_sidecar.registry.listing import Listing
from peat_sidecar.registry.manifests import Manifests
from peat_sidecar.registry.names import Repository, parse_repository
from peat_sidecar.registry.referrers import Referrers
from peat_sidecar.registry.repositories import Repositories
from peat_sidecar.registry.uploads import Uploads
from peat_sidecar.store import Store
from peat_sidecar.transfer import in_thread

Call = Callable[[Request, Repository, str], Awaitable[Answer]]


class Calls:
    """One for the program, whatever the number of listeners."""

    def __init__(
        self,
        store: Store,
        elsewhere: Elsewhere | None = None,
        default_registry: str = "",
        known: KnownTags | None = None,
    ) -> None:
        """`elsewhere`: where what is not here comes from; None: from nowhere. `default_registry`: where names
        are looked for as well that come without a registry. `known`: what records say of names.
        """
        elsewhere, known = elsewhere or Nowhere(), known or NoTags()
        repositories = Repositories(store, default_registry)
        self._repositories = repositories
        blobs, uploads = Blobs(repositories, elsewhere), Uploads(repositories)
        manifests, referrers = Manifests(repositories, elsewhere, known), Referrers(repositories, known)
        self._listing = Listing(repositories, known)
        upload = {"GET": uploads.get, "PATCH": uploads.patch, "PUT": uploads.put, "DELETE": uploads.delete}
        self._routes: list[tuple[re.Pattern[str], Mapping[str, Call]]] = [
            (_route(r"tags/(list)"), _reading(self._listing.tags)),
            (_route(r"referrers/([^/]+)"), _reading(referrers.get)),
            (
                _route(r"manifests/([^/]+)"),
                {**_reading(manifests.get), "PUT": manifests.put, "DELETE": manifests.delete},
            ),
            (_route(r"blobs/uploads(/?)"), {"POST": uploads.begin}),
            (_route(r"blobs/uploads/([^/]+)"), upload),
            (_route(r"blobs/([^/]+)"), {**_reading(blobs.get), "DELETE": blobs.delete}),
        ]

    async def answer(self, request: Request) -> Answer:
        """`Fault` where there is no such call, or as the call has it."""
        if request.path in ("/v2", "/v2/"):
            _require_method(request, ("GET", "HEAD"))
            return Answer(200, {"Content-Type": "application/json"}, b"{}")
        if request.path == "/v2/_catalog":
            _require_method(request, ("GET", "HEAD"))
            return await self._listing.catalog(request)
        for route, methods in self._routes:
            if found := route.fullmatch(request.path):
                _require_method(request, tuple(methods))
                namespace, host = request.query.get("ns", ""), request.header("host")
                named = parse_repository(found[1], namespace, host)
                repository = await in_thread(self._repositories.located, named)
                return await methods[request.method](request, repository, found[2])
        raise Fault(
            Code.NAME_UNKNOWN, f"{request.path[:120]!r} is no path of a registry; they begin with /v2/"
        )


def _route(rest: str) -> re.Pattern[str]:
    return re.compile(rf"/v2/(.+)/{rest}")


def _reading(call: Call) -> dict[str, Call]:
    return {"GET": call, "HEAD": call}


def _require_method(request: Request, methods: tuple[str, ...]) -> None:
    if request.method not in methods:
        allowed = {"Allow": ", ".join(methods)}
        raise Fault(Code.UNSUPPORTED, f"{request.method[:20]} does nothing here", headers=allowed)
