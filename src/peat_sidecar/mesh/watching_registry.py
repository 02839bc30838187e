"""Watches a registry by its catalogue and tags: every tag that a pattern names is a package of this cluster.

Tags of referrers are taken in once it is known what the tag of their subject stands for.
A new tag is taken in at once, a moved one when its turn comes to be looked at: all new tags and a bounded
number of known ones each time. What cannot be looked at stays as it was known.
"""

import asyncio
import fnmatch
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Self

from peat_sidecar.errors import ConfigError, NotFound, PeatError, Refused
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.mesh.pulled import PULLED, PulledListener, PulledPackage
from peat_sidecar.mesh.registry_places import Registries, RegistryPlace
from peat_sidecar.mesh.sightings import Sighting, Sightings
from peat_sidecar.oci import Catalogue, RegistryOptions, is_referrers_tag, subject_of_tag
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, Transfers

PACKAGES_LIMIT = 20_000
_KNOWN_AT_ONCE = 200
"""Known tags that are looked at again each time."""
_REQUESTS_AT_ONCE = 4
_MISSES = 3


@dataclass(frozen=True, slots=True)
class RegistryPattern:
    """Which tags of which repositories of one registry."""

    registry: str
    repository: str
    """A pattern as shells have them; its `*` goes across slashes."""
    tag: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `host[:port]/repository[:tag]`, with patterns for repository and tag; no tag: all."""
        registry, slash, rest = text.strip().removeprefix("docker://").partition("/")
        repository, _, tag = rest.partition(":")
        try:
            Reference.parse(f"{registry}/a")
        except ConfigError:
            slash = ""
        if not slash or not repository or "@" in rest:
            raise ConfigError(
                f"{text[:120]!r} names no registry and repository;"
                " one looks like registry.example:5000/team/*:v*, or without a tag"
            )
        return cls(registry, repository, tag or "*")

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"

    @property
    def names_one(self) -> bool:
        """Whether the repository is named itself."""
        return not any(mark in self.repository for mark in "*?[")

    def has_repository(self, name: str) -> bool:
        """Whether the pattern names it."""
        return fnmatch.fnmatchcase(name, self.repository)

    def has_tag(self, name: str) -> bool:
        """Whether the pattern names it; tags of referrers go by what they refer to."""
        return fnmatch.fnmatchcase(name, self.tag) and not is_referrers_tag(name)


@dataclass(slots=True)
class _Tag:
    """A tag that was seen."""

    repository: str
    name: str
    digest: Digest | None = None
    """What it stood for when it was looked at last; None before."""
    looked_at: float = float("-inf")


class RegistryWatcher:
    """One for each pattern of `watch_registries`."""

    def __init__(
        self,
        pattern: RegistryPattern | str,
        announcer: PulledListener,
        importer: Importer,
        transfers: Transfers,
        registries: RegistryOptions,
        store: Store,
        *,
        poll_seconds: float = 30.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ConfigError` for a pattern that is none."""
        self._pattern = RegistryPattern.parse(pattern) if isinstance(pattern, str) else pattern
        self._registries = Registries(registries)
        self._poll_seconds = poll_seconds
        self._sleep = sleep
        self._clock = clock
        self._tags: dict[str, dict[str, _Tag]] = {}
        """By repository, then by name."""
        self._misses: Counter[str] = Counter()
        self._sightings = Sightings(
            f"registry {self._pattern}", announcer, importer, transfers, store, clock=clock
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
        literal = self._pattern.repository if self._pattern.names_one else ""
        catalogue = self._registries.catalogue(self._pattern.registry, literal)
        try:
            fault = await self._list(catalogue)
        except PeatError as error:
            self._sightings.failed(error)
            return
        self._tell()
        fault = await self._look(catalogue) or fault
        self._tell()
        if fault is None:
            self._sightings.note(None)
        else:
            self._sightings.failed(fault)

    async def _list(self, catalogue: Catalogue) -> PeatError | None:
        """Brings the tags up to date. A repository that cannot be listed stays as it was, and is told of."""
        pattern, fault = self._pattern, None
        names = [pattern.repository] if pattern.names_one else await catalogue.repositories()
        found: dict[str, dict[str, _Tag]] = {}
        room = PACKAGES_LIMIT
        for repository in filter(pattern.has_repository, names):
            before = self._tags.get(repository, {})
            try:
                listed = await catalogue.tags(repository)
                tags = [name for name in listed if pattern.has_tag(name) or _is_about(name, before)]
            except PeatError as error:
                if repository not in self._tags and not self._is_hopeless(repository, error):
                    raise  # what it had before the daemon was started is not to be taken for gone
                fault = error
                found[repository] = before
            else:
                self._misses.pop(repository, None)
                found[repository] = {name: before.get(name) or _Tag(repository, name) for name in tags[:room]}
            room -= len(found[repository])
        self._tags = found
        return fault

    def _is_hopeless(self, repository: str, error: PeatError) -> bool:
        """Whether a repository that was never listed is done without, so that the others are watched."""
        self._misses[repository] += 1
        return isinstance(error, Refused) or self._misses[repository] >= _MISSES

    async def _look(self, catalogue: Catalogue) -> PeatError | None:
        """Finds out what tags stand for: of all new ones, and of those that were looked at longest ago."""
        tags = [tag for each in self._tags.values() for tag in each.values()]
        new = [tag for tag in tags if tag.digest is None]
        known = sorted((tag for tag in tags if tag.digest is not None), key=lambda tag: tag.looked_at)
        left = iter([*new, *known[:_KNOWN_AT_ONCE]])
        faults: list[PeatError] = []

        async def look_at_some() -> None:
            for tag in left:
                if faults:
                    return
                tag.looked_at = self._clock()
                try:
                    tag.digest = await catalogue.digest(tag.repository, tag.name)
                except NotFound:  # removed since it was listed
                    self._tags[tag.repository].pop(tag.name, None)
                except PeatError as error:
                    faults.append(error)

        await asyncio.gather(*(look_at_some() for _ in range(_REQUESTS_AT_ONCE)))
        return faults[0] if faults else None

    def _tell(self) -> None:
        self._sightings.saw([self._sighting(tag) for each in self._tags.values() for tag in each.values()])

    def _sighting(self, tag: _Tag) -> Sighting:
        reference = Reference(self._pattern.registry, tag.repository, tag.name)
        name = str(reference)
        pulled = PulledPackage(
            self._pattern.registry,
            tag.repository,
            name,
            version=tag.name,
            pull_status=PULLED,
            listed_as=name,
        )
        if tag.digest is None:
            return Sighting(pulled)
        return Sighting(pulled, RegistryPlace([reference], self._registries, tag.digest), str(tag.digest))


def _is_about(name: str, known: Mapping[str, _Tag]) -> bool:
    """Whether a tag lists what refers to one of those that are known: signatures, SBOMs."""
    subject = subject_of_tag(name)
    return subject is not None and any(each.digest == subject for each in known.values())
