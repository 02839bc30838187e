"""Watches the cluster's agent: what it is, what is deployed, what its registries have pulled.

Every few seconds the agent is asked. `nodes/{agent id}` and `deployments/{agent id}:{name}` are written where
something has changed; that the agent lives is no change, but is written once a day. What was pulled goes to
the announcer, and its content is brought here from the agent's registries. An agent that is down, slow or
wrong changes nothing of what is known.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from peat_sidecar.agent import AgentError, AgentStatus, DeployedPackage, PulledRegistry
from peat_sidecar.errors import ConfigError, PeatError, Refused
from peat_sidecar.mesh.pulled import PulledListener, PulledPackage, listing_of, places_of
from peat_sidecar.mesh.registry_places import Registries, RegistryPlace
from peat_sidecar.mesh.sightings import Sighting, Sightings
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, Transfers

LIVENESS_SECONDS = 86_400.0
_CHECK_SECONDS = 600.0
"""So often what was written is compared with the records again, should anybody else have changed it."""
_LOOK_AGAIN_SECONDS = 600.0
"""So often a registry is asked whether a tag has moved that the agent says nothing new of."""
_PAGE = 1000


class Agent(Protocol):
    """The client of the agent's API."""

    async def status(self) -> AgentStatus: ...
    async def packages(self) -> list[DeployedPackage]: ...
    async def pulled(self) -> list[PulledRegistry]: ...


class _Document(Protocol):
    @property
    def fields(self) -> Mapping[str, Any]: ...


class Documents(Protocol):
    """What is needed of the records."""

    def put(self, collection: str, doc_id: str, document: Mapping[str, Any], /) -> bool: ...
    def delete(self, collection: str, doc_id: str, /) -> bool: ...
    def get(self, collection: str, doc_id: str, /) -> _Document | None: ...
    def list_ids(self, collection: str, /, *, after: str = ..., limit: int = ...) -> list[str]: ...


class AgentWatcher:
    """One for the daemon, where an agent is configured."""

    def __init__(
        self,
        client: Agent,
        agent_id: str,
        records: Documents,
        announcer: PulledListener,
        importer: Importer,
        transfers: Transfers,
        registries: RegistryOptions,
        store: Store,
        *,
        poll_seconds: float = 10.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._agent_id = agent_id
        self._papers = _Papers(records, now, clock)
        self._registries = Registries(registries)
        self._poll_seconds = poll_seconds
        self._sleep = sleep
        self._sightings = Sightings(
            "agent",
            announcer,
            importer,
            transfers,
            store,
            look_again_seconds=_LOOK_AGAIN_SECONDS,
            clock=clock,
        )

    @property
    def source(self) -> str:
        """Under which name the announcer hears of it."""
        return self._sightings.source

    @property
    def status(self) -> str:
        """One line for people: what is known, and what is wrong."""
        return self._sightings.status

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            await self._sightings.watch(self._look_in, self._sleep, self._poll_seconds)
        finally:
            await self._registries.close()

    async def _look_in(self) -> float:
        await self._poll()
        return self._poll_seconds

    async def _poll(self) -> None:
        """Each of the three calls by itself: one that fails does not keep the others from being heard."""
        faults: dict[str, str] = {}
        for step in (self._take_status, self._take_deployed, self._take_pulled):
            try:
                await step()
            except AgentError as error:
                faults[error.kind] = str(error)
                if error.unreachable:
                    break
            except PeatError as error:
                faults[f"{type(error).__name__} of {step.__name__}"] = str(error)
        self._sightings.note((" ".join(faults), "; ".join(faults.values())) if faults else None)

    async def _take_status(self) -> None:
        said = await self._client.status()
        node = {"agent_id": self._agent_id, "node_type": "uds-remote-agent", **asdict(said)}
        await self._papers.file("nodes", {self._agent_id: node})

    async def _take_deployed(self) -> None:
        packages = await self._client.packages()
        documents = {}
        for each in sorted(packages, key=lambda one: (one.name, one.namespace_override, one.flavor)):
            key = f"{self._agent_id}:{each.name}"
            if key in documents:  # once more, elsewhere in the cluster
                key = f"{key}@{each.namespace_override or each.flavor or each.version}"
            documents[key] = {
                "agent_id": self._agent_id,
                "package": each.name,
                "version": each.version,
                "status": each.status,
                "flavor": each.flavor,
                "namespace_override": each.namespace_override,
                "annotations": dict(each.annotations),
            }
        await self._papers.file("deployments", documents, begin=f"{self._agent_id}:")

    async def _take_pulled(self) -> None:
        self._sightings.saw(list(self._sighted(await self._client.pulled())))

    def _sighted(self, registries: Sequence[PulledRegistry]) -> list[Sighting]:
        found = []
        for registry in registries:
            host = registry.host or registry.name
            for package in registry.packages:
                for tag in package.tags:
                    places = places_of(registry.host, package.repository, tag.reference)
                    pulled = PulledPackage(
                        host,
                        package.name or package.repository,
                        tag.reference,
                        tag.arch,
                        tag.version,
                        tag.total_bytes,
                        tag.status,
                        tag.downloaded_bytes,
                        listing_of(places[0]) if places else "",
                    )
                    place = RegistryPlace(places, self._registries) if places else None
                    found.append(Sighting(pulled, place, f"{tag.version}/{tag.total_bytes}/{tag.status}"))
        return found


class _Papers:
    """Documents of this node, written where they differ from what they should say."""

    def __init__(self, records: Documents, now: Callable[[], float], clock: Callable[[], float]) -> None:
        self._records = records
        self._now = now
        self._clock = clock
        self._filed: dict[str, tuple[float, float, dict[str, dict[str, Any]]]] = {}
        """By collection: when compared, when something is due, and what it was."""

    async def file(
        self, collection: str, documents: dict[str, dict[str, Any]], *, begin: str | None = None
    ) -> None:
        """Puts them; with a beginning of names, others that begin so are deleted. `ConfigError` says which
        cannot be put, after all others were.
        """
        clock, now = self._clock(), self._now()
        compared, written, before = self._filed.get(collection, (0.0, 0.0, None))
        recent = clock - compared < _CHECK_SECONDS and 0 <= now - written < LIVENESS_SECONDS
        if recent and before == documents:
            return
        self._filed.pop(collection, None)
        oldest = await asyncio.to_thread(self._put, collection, documents, begin, now)
        self._filed[collection] = clock, oldest, documents

    def _put(
        self, collection: str, documents: dict[str, dict[str, Any]], begin: str | None, now: float
    ) -> float:
        """When the oldest sign of life among them is from."""
        oldest, wrong = now, []
        for doc_id, fields in documents.items():
            try:
                seen = self._put_one(collection, doc_id, fields, now)
            except (ConfigError, Refused) as error:
                wrong.append(f"{collection}/{doc_id[:200]}: {error}")
            else:
                oldest = min(oldest, seen)
        if begin is not None:
            for doc_id in self._listed(collection, begin):
                if doc_id not in documents:
                    self._records.delete(collection, doc_id)
        if wrong:
            more = f" (and {len(wrong) - 1} others)" if len(wrong) > 1 else ""
            raise ConfigError(f"what the agent says cannot be written down: {wrong[0]}{more}")
        return oldest

    def _put_one(self, collection: str, doc_id: str, fields: dict[str, Any], now: float) -> float:
        """When its sign of life is from."""
        document = self._records.get(collection, doc_id)
        said = dict(document.fields) if document is not None else {}
        seen = said.pop("last_seen", None)
        if isinstance(seen, int) and 0 <= now - seen < LIVENESS_SECONDS and said == fields:
            return float(seen)
        self._records.put(collection, doc_id, {**fields, "last_seen": int(now)})
        return now

    def _listed(self, collection: str, begin: str) -> list[str]:
        found: list[str] = []
        after = begin
        while page := self._records.list_ids(collection, after=after, limit=_PAGE):
            own = [doc_id for doc_id in page if doc_id.startswith(begin)]
            found += own
            if len(own) < len(page):
                break
            after = page[-1]
        return found
