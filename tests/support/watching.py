"""What watchers are given in tests: turns instead of time, papers instead of records, and an ear."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from peat_sidecar.errors import ConfigError
from peat_sidecar.mesh.pulled import PulledPackage
from tests.support.nodes import bounded


class Turns:
    """The pauses of a watcher: each lasts until it is the watcher's turn."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._asleep = asyncio.Event()
        self._go = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Given to the watcher."""
        self.pauses.append(seconds)
        self._asleep.set()
        await self._go.wait()
        self._go.clear()

    async def settled(self) -> None:
        """Until the watcher pauses."""
        await bounded(self._asleep.wait())

    async def next(self, times: int = 1) -> None:
        """The watcher has so many turns, each until it pauses again."""
        for _ in range(times):
            await self.settled()
            self._asleep.clear()
            self._go.set()
            await self.settled()


class Clock:
    """A clock that stands still."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


class Ear:
    """In the announcer's place."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[PulledPackage, ...]]] = []

    def set_pulled(self, source: str, packages: Sequence[PulledPackage] | None) -> None:
        assert packages is not None
        self.told.append((source, tuple(packages)))

    @property
    def packages(self) -> tuple[PulledPackage, ...]:
        """What was heard last."""
        return self.told[-1][1]

    @property
    def references(self) -> list[str]:
        return [each.reference for each in self.packages]


@dataclass
class Paper:
    """A document."""

    fields: Mapping[str, Any]


@dataclass
class Papers:
    """In the records' place: documents by collection and name, and how often they were touched."""

    documents: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    puts: int = 0
    reads: int = 0
    refused: Callable[[str, Mapping[str, Any]], bool] = lambda doc_id, document: False

    def put(self, collection: str, doc_id: str, document: Mapping[str, Any], /) -> bool:
        if self.refused(doc_id, document):
            raise ConfigError(f"{doc_id} is too large; make it smaller")
        self.puts += 1
        self.documents.setdefault(collection, {})[doc_id] = json.loads(json.dumps(document))
        return True

    def delete(self, collection: str, doc_id: str, /) -> bool:
        return self.documents.get(collection, {}).pop(doc_id, None) is not None

    def get(self, collection: str, doc_id: str, /) -> Paper | None:
        self.reads += 1
        found = self.documents.get(collection, {}).get(doc_id)
        return Paper(dict(found)) if found is not None else None

    def list_ids(self, collection: str, /, *, after: str = "", limit: int = 1000) -> list[str]:
        return sorted(name for name in self.documents.get(collection, {}) if name > after)[:limit]


class Runs(Protocol):
    def run(self) -> Awaitable[None]: ...


@contextlib.asynccontextmanager
async def running(watcher: Runs) -> AsyncIterator[None]:
    """A watcher at work; its end leaves nothing behind."""
    task = asyncio.ensure_future(watcher.run())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await bounded(task)
