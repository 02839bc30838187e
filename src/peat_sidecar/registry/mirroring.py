"""The mesh and upstream registries as one place where content comes from, each first where it is to be."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from peat_sidecar.errors import PeatError, PeerUnavailable
from peat_sidecar.ids import LOCAL_REGISTRY, Digest
from peat_sidecar.packages import Descriptor
from peat_sidecar.registry.elsewhere import Arriving, Elsewhere
from peat_sidecar.transfer import PullThrough

T = TypeVar("T")


class Mirroring:
    """`Elsewhere` over both. What one of them cannot bring now is asked of the other."""

    def __init__(self, mesh: Elsewhere, upstreams: PullThrough, default_registry: str = "") -> None:
        """`default_registry`: where names are looked for as well that come without a registry."""
        self._default = default_registry
        self._mesh = mesh
        self._upstreams = upstreams

    async def manifest(self, repository: str, name: str | Digest) -> Descriptor | None:
        """As `Elsewhere`."""
        return await self._first(repository, lambda place, known: place.manifest(known, name))

    async def blob(self, repository: str, digest: Digest) -> Descriptor | None:
        """As `Elsewhere`."""
        return await self._first(repository, lambda place, known: place.blob(known, digest))

    async def open(self, repository: str, blob: Descriptor, offset: int) -> Arriving:
        """As `Elsewhere`."""

        async def open_at(place: Elsewhere, known: str) -> Arriving | None:
            found = await place.blob(known, blob.digest)
            return await place.open(known, found, offset) if found is not None else None

        arriving = await self._first(repository, open_at)
        if arriving is None:
            raise PeerUnavailable(f"nobody has {blob.digest} any more")
        return arriving

    async def _first(self, repository: str, ask: Callable[[Elsewhere, str], Awaitable[T | None]]) -> T | None:
        """What the first place has that has something; else why one of them could not say."""
        failure: PeatError | None = None
        for known in self._names(repository):
            places: tuple[Elsewhere, Elsewhere] = self._mesh, self._upstreams
            for place in reversed(places) if self._upstreams.is_first(known) else places:
                try:
                    found = await ask(place, known)
                except PeatError as error:
                    failure = failure or error
                    continue
                if found is not None:
                    return found
        if failure is not None:
            raise failure
        return None

    def _names(self, repository: str) -> list[str]:
        registry, _, path = repository.partition("/")
        others = [f"{self._default}/{path}"] if registry == LOCAL_REGISTRY and self._default else []
        return [repository, *others]
