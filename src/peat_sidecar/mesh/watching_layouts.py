"""Watches an OCI image layout in a folder: its packages are taken in, in place, as soon as it lists them.

A layout that is being written is waited for until it can be read; a folder that disappears (as that of a disk
which is pulled out) changes nothing of what is known, and is taken up when it comes back.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from peat_sidecar.confined import Directory
from peat_sidecar.errors import ConfigError, NotFound, PeatError, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.mesh.folder_events import FolderEvents
from peat_sidecar.mesh.pulled import PULLED, PulledListener, PulledPackage, listing_of
from peat_sidecar.mesh.sightings import Sighting, Sightings
from peat_sidecar.oci import LayoutSource, ListedPackage, list_layout
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, Transfers

REGISTRY = "layout"
"""Stands for the registry in references of packages whose layout names none: `layout/<folder>:<tag>`."""
LOOK_SECONDS = 60.0
"""So often it is looked at without an event."""
_FAULTY_SECONDS = 2.0
_FIRST_WAIT_SECONDS = 1.0
"""Blobs that are still being written are there soon."""


class LayoutWatcher:
    """One for each folder of `watch_layouts`."""

    def __init__(
        self,
        path: Path,
        announcer: PulledListener,
        importer: Importer,
        transfers: Transfers,
        store: Store,
        *,
        sleep: Callable[[float], Awaitable[object]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The folder as the operator names it; links on the way to it are followed. `sleep` stands for the
        kernel's events, in tests. `ConfigError` for the folder of the store itself.
        """
        self._path = path.expanduser().absolute()
        if self._path.resolve() == store.directory.resolve():
            raise ConfigError(
                f"{path} of watch_layouts is the store of this daemon, whose packages are known anyway;"
                " take it out"
            )
        self._clock = clock
        self._pause = sleep
        self._sightings = Sightings(
            f"layout {self._path}",
            announcer,
            importer,
            transfers,
            store,
            first_wait_seconds=_FIRST_WAIT_SECONDS,
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
        events = FolderEvents(self._path)

        async def look() -> float:
            await events.listen()
            return await self._look()

        try:
            await self._sightings.watch(look, self._pause or events.wait, _FAULTY_SECONDS)
        finally:
            events.close()

    async def _look(self) -> float:
        """Seconds after which it is to be looked at again, should nothing tell of a change before."""
        try:
            listed = await asyncio.to_thread(_list, self._path)
        except PeatError as error:
            self._sightings.failed(_explained(error, self._path))
            return _FAULTY_SECONDS
        self._sightings.note(None)
        self._sightings.saw([self._sighting(each) for each in listed])
        due = self._sightings.intake.next_due
        return LOOK_SECONDS if due is None else min(LOOK_SECONDS, max(0.1, due - self._clock()))

    def _sighting(self, listed: ListedPackage) -> Sighting:
        reference = Reference.parse(listed.reference or _own_reference(self._path, listed))
        name = str(reference)
        digest = listed.root.digest
        pulled = PulledPackage(
            reference.registry,
            reference.repository,
            name,
            arch=listed.root.platform.architecture if listed.root.platform else "",
            version=reference.tag or "",
            pull_status=PULLED,
            listed_as=listing_of(reference),
        )
        return Sighting(pulled, _LayoutPlace(self._path, digest), str(digest))


class _LayoutPlace:
    """A package in a layout's folder."""

    link = True

    def __init__(self, path: Path, digest: Digest) -> None:
        self._path = path
        self._digest = digest

    @property
    def name(self) -> str:
        return f"{self._path}@{self._digest}"

    async def digest(self) -> Digest:
        return self._digest

    async def open(self) -> LayoutSource:
        directory = await asyncio.to_thread(Directory.open, self._path)
        return LayoutSource(directory, self._digest)


def _list(path: Path) -> list[ListedPackage]:
    with Directory.open(path) as directory:
        return list_layout(directory)


def _explained(error: PeatError, path: Path) -> PeatError:
    if isinstance(error, NotFound):
        return SourceError(f"{path} is not there; it is taken up when it is")
    return error


def _own_reference(path: Path, listed: ListedPackage) -> str:
    """A name for what has none but a tag: of the folder, and of the digest where a tag cannot be one."""
    folder = re.sub(r"[^a-z0-9]+", "-", path.name.lower()).strip("-") or "packages"
    try:
        return str(Reference.parse(f"{REGISTRY}/{folder}:{listed.tag}"))
    except ConfigError:
        return listing_of(Reference(REGISTRY, folder, None, listed.root.digest))
