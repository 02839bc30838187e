"""What clients of the registry ask for, brought from the registry that its name begins with.

A manifest is read at once, and kept by its digest. When a client reads a blob, that blob is brought, read
while it comes, and the package that it belongs to is imported, once for all clients: the root that was asked
for, and of an index those manifests that somebody asked for, as in a sparse index.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import structlog

from peat_sidecar.errors import NotFound, PeatError, PeerUnavailable
from peat_sidecar.ids import Digest
from peat_sidecar.oci import Source
from peat_sidecar.packages import DOCUMENT_LIMIT_BYTES, Descriptor
from peat_sidecar.store import Store
from peat_sidecar.transfer.arriving_stream import ArrivingStream
from peat_sidecar.transfer.importer import Importer
from peat_sidecar.transfer.package_listing import read_small
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.seen_documents import Belonging, SeenDocuments
from peat_sidecar.transfer.threads import in_thread
from peat_sidecar.transfer.transfers import Outcome, Transfer, TransferKind, Transfers, TransferState
from peat_sidecar.transfer.upstream import Upstream

_log = structlog.get_logger(__name__)


class PullThrough:
    """Repositories are named as in the store: `registry.example/team/app`. Lives on one event loop."""

    def __init__(
        self,
        upstreams: Iterable[Upstream],
        store: Store,
        importer: Importer,
        transfers: Transfers,
        *,
        wait_seconds: Callable[[], float] = lambda: 10.0,
    ) -> None:
        """`wait_seconds`: without a byte, until a client is told to come again."""
        self._upstreams = {each.registry: each for each in upstreams}
        self._store = store
        self._importer = importer
        self._transfers = transfers
        self._wait_seconds = wait_seconds
        self._seen = SeenDocuments()
        self._imports: dict[str, tuple[Transfer, set[Digest]]] = {}
        """Those that go on, by reference, and the manifests that each is for."""
        self._downloads: dict[tuple[str, Digest], asyncio.Task[None]] = {}
        """By repository and blob: one may be refused what another is given."""

    @property
    def upstreams(self) -> list[Upstream]:
        """All of them."""
        return list(self._upstreams.values())

    def is_first(self, repository: str) -> bool:
        """Whether its registry is to be asked before the mesh."""
        upstream = self._upstreams.get(_registry(repository))
        return upstream is not None and upstream.is_first

    async def manifest(self, repository: str, name: str | Digest) -> Descriptor | None:
        """What a tag or digest stands for; its document is in the store then. None where there is no such
        upstream, it has none, or what is here is what counts.
        """
        upstream = self._upstreams.get(_registry(repository))
        if upstream is None:
            return None
        path = _path(repository)
        try:
            if isinstance(name, str) and await self._is_current(upstream, repository, name):
                return None
            root, raw = await upstream.document(path, name)
        except NotFound:
            return None
        await in_thread(self._store.put, raw, media_type=root.media_type, expected=root.digest)
        self._seen.add(repository, name, root, raw)
        if isinstance(name, str):
            await in_thread(self._list_again, f"{repository}:{name}", root)
        return root

    async def blob(self, repository: str, digest: Digest) -> Descriptor | None:
        """A blob that a manifest names which a client has got from here."""
        found = self._seen.find(repository, digest)
        return found.blob if found is not None else None

    async def open(self, repository: str, blob: Descriptor, offset: int) -> ArrivingStream:
        """Begins to bring it and its package; returns when that byte is here."""
        upstream, found = self._upstreams.get(_registry(repository)), self._seen.find(repository, blob.digest)
        if upstream is None or found is None:
            raise PeerUnavailable(f"no manifest that names {blob.digest} was asked for; ask for that first")
        upstream.require_working(_path(repository))
        bringing = self._download(upstream, repository, found.blob)
        self._import(upstream, repository, found)
        arriving = ArrivingStream(self._store, found.blob, bringing, self._wait_seconds())
        try:
            if blob.size:
                await arriving.read(offset, 1)
        except BaseException as error:
            await arriving.aclose()
            if isinstance(error, PeerUnavailable) and not bringing.done():  # else its end was judged already
                upstream.failed(_path(repository), error)
            raise
        return arriving

    async def close(self) -> None:
        """Ends what is being brought; what came is kept for the next time."""
        tasks = list(self._downloads.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for upstream in self._upstreams.values():
            await upstream.close()

    # what is here

    async def _is_current(self, upstream: Upstream, repository: str, tag: str) -> bool:
        here = await in_thread(self._store.package, f"{repository}:{tag}")
        if here is None or not upstream.is_first:
            return here is not None
        return await upstream.digest(_path(repository), tag) == here.root.digest

    def _list_again(self, reference: str, root: Descriptor) -> None:
        """A tag for what is here whole by another name."""
        package = self._store.package(root.digest)
        if package is not None and self._store.package(reference) is None:
            with suppress(NotFound):  # it was removed in this moment
                self._store.add_package(replace(package, reference=reference))

    # bringing

    def _import(self, upstream: Upstream, repository: str, found: Belonging) -> None:
        """One for all clients, unless it began before that manifest was asked for: then one after it."""
        self._imports = {
            name: each for name, each in self._imports.items() if each[0].state is TransferState.RUNNING
        }
        before, manifests = self._imports.get(found.reference, (None, set()))
        if found.manifest in manifests:
            return

        async def bring(progress: Progress) -> Outcome:
            if before is not None:
                await before.wait()
            if self._downloads:  # what clients read goes first
                await asyncio.wait(self._downloads.values())
            async with upstream.source(_path(repository), found.root.digest) as source:
                asked = _AskedFor(source, self._store, found.root)
                imported = await self._importer.import_package(
                    asked,
                    progress,
                    list_as=found.reference,
                    referrers=True,
                    referrers_in=repository,
                    own=False,
                )
            return Outcome(imported.package, referrers=imported.referrers, foreign=imported.foreign)

        try:
            started = self._transfers.start(TransferKind.IMPORT, found.reference, upstream.registry, bring)
        except PeatError as error:
            raise PeerUnavailable(str(error)) from error
        self._imports[found.reference] = started, {*manifests, found.manifest}

    def _download(self, upstream: Upstream, repository: str, blob: Descriptor) -> asyncio.Task[None]:
        """Of one blob, at once, whatever the order of the import; one for all clients."""

        async def bring() -> None:
            async with upstream.source(_path(repository), blob.digest) as source:
                await self._importer.import_blob(source, blob, Progress())

        key = repository, blob.digest
        task = self._downloads.get(key)
        if task is None or task.done():
            task = asyncio.create_task(bring(), name=f"bring {blob.digest}")
            task.add_done_callback(self._brought)
            self._downloads[key] = task
        return task

    def _brought(self, task: asyncio.Task[None]) -> None:
        self._downloads = {key: each for key, each in self._downloads.items() if each is not task}
        if not task.cancelled():
            task.exception()  # its readers tell of it


class _AskedFor:
    """A source whose manifests are those that are here, since somebody has asked for them, and what refers to
    its root.
    """

    def __init__(self, source: Source, store: Store, root: Descriptor) -> None:
        self._source = source
        self._store = store
        self._root = root
        self._referrers: set[Digest] = set()

    @property
    def name(self) -> str:
        return self._source.name

    async def resolve(self) -> Descriptor:
        return self._root

    async def read_document(self, descriptor: Descriptor) -> bytes:
        raw = await in_thread(read_small, self._store, descriptor.digest, DOCUMENT_LIMIT_BYTES)
        if raw is None and descriptor.digest in self._referrers:
            return await self._source.read_document(descriptor)
        if raw is None:
            raise NotFound(f"nobody has asked for {descriptor.digest} yet")
        return raw

    def blob(self, descriptor: Descriptor, offset: int = 0) -> AsyncGenerator[bytes, None]:
        return self._source.blob(descriptor, offset)

    def local_file(self, descriptor: Descriptor) -> int | None:
        return None

    async def referrers(self, descriptor: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        try:
            found = await self._source.referrers(descriptor, artifact_type)
        except PeatError as error:
            _log.warning("an upstream does not tell what refers to a package", why=str(error))
            return []
        self._referrers |= {each.digest for each in found}
        return found

    async def close(self) -> None:
        await self._source.close()


def _registry(repository: str) -> str:
    return repository.partition("/")[0]


def _path(repository: str) -> str:
    return repository.partition("/")[2]
