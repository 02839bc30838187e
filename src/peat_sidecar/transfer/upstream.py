"""One registry that packages are pulled through from: asked in short, and not while it is known to fail."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from peat_sidecar.errors import IntegrityError, NotFound, PeatError, PeerUnavailable, Refused, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import Catalogue, ConnectionLost, NoRegistry, RegistryOptions, RegistrySource
from peat_sidecar.packages import Descriptor
from peat_sidecar.transfer.outages import Outages

ASK_SECONDS = 10.0
"""For a question and its answer, whatever happens: a handshake and a token over a satellite take six."""
SILENCE_SECONDS = 4.0
"""Within that."""
STALL_SECONDS = 5.0
"""Silence in the middle of a blob, since a client waits."""
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Upstream:
    """Paths are those of repositories within the registry. What it does not do in time, or answers as no
    registry does, is `PeerUnavailable`; so is everything for a while after that.
    """

    def __init__(
        self,
        registry: str,
        options: RegistryOptions,
        *,
        url: str = "",
        is_first: bool = False,
        outages: Outages | None = None,
        ask_seconds: float = ASK_SECONDS,
    ) -> None:
        """`is_first`: it decides what a tag stands for, while it can be asked; else the mesh does. `url`:
        scheme and host of where it is reached instead of by its name.
        """
        self.registry = registry
        self.is_first = is_first
        self.asked: Counter[str] = Counter()
        """Questions, by how they ended: `answered`, `absent`, `failed`."""
        scheme, _, host = url.partition("://")
        self._place = host or registry
        plain = options.plain_http | ({host} if scheme == "http" else set())
        stall = min(options.stall_seconds, STALL_SECONDS)
        self._options = replace(options, plain_http=frozenset(plain), stall_seconds=stall)
        self._hasty = replace(
            self._options, tries=1, stall_seconds=min(stall, SILENCE_SECONDS), connect_seconds=SILENCE_SECONDS
        )
        self._asking: dict[str, asyncio.Future[Any]] = {}
        self._outages = outages or Outages()
        self._ask_seconds = ask_seconds

    async def digest(self, path: str, tag: str) -> Digest:
        """What a tag stands for there, without reading it. `NotFound` where it has none."""

        async def ask() -> Digest:
            catalogue = Catalogue(self._place, self._hasty, repository=path)
            try:
                return await catalogue.digest(path, tag)
            finally:
                await catalogue.close()

        return await self._share(f"what is {path}:{tag}", path, ask)

    async def document(self, path: str, name: str | Digest) -> tuple[Descriptor, bytes]:
        """A manifest or index by tag or digest. `NotFound` where it has none."""
        reference = self._reference(path, name)

        async def ask() -> tuple[Descriptor, bytes]:
            source = RegistrySource(reference, self._hasty)
            try:
                root = await source.resolve()
                return root, await source.read_document(root)
            finally:
                await source.close()

        return await self._share(f"read {reference}", path, ask)

    @asynccontextmanager
    async def source(self, path: str, digest: Digest) -> AsyncIterator[RegistrySource]:
        """A package of it, read as patiently as any import; a failure is remembered as others are."""
        source = RegistrySource(self._reference(path, digest), self._options)
        try:
            yield source
        except (SourceError, Refused, IntegrityError) as error:
            self.failed(path, error)
            raise
        finally:
            await source.close()

    @property
    def is_failing(self) -> bool:
        """Whether it is left alone for now."""
        return self.registry in self._outages

    def require_working(self, path: str) -> None:
        """`PeerUnavailable` while it, or that repository, is left alone."""
        self._outages.require_none(self.registry, f"{self.registry}/{path}")

    def failed(self, path: str, error: PeatError) -> None:
        """It is left alone for a while. An answer of a registry, though it is no or cannot be used (refused,
        wrong bytes, an old kind of manifest), says nothing of its other repositories.
        """
        self.asked["failed"] += 1
        of_all = isinstance(error, ConnectionLost | NoRegistry | PeerUnavailable)
        place = self.registry if of_all else f"{self.registry}/{path}"
        if place not in self._outages:
            _log.warning("an upstream fails, and is left alone for a while", place=place, why=str(error))
        self._outages.failed(place, str(error))

    async def close(self) -> None:
        """Asks no more; who waits for an answer gets none."""
        asking = list(self._asking.values())
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _reference(self, path: str, name: str | Digest) -> Reference:
        if isinstance(name, Digest):
            return Reference(self._place, path, None, name)
        return Reference(self._place, path, name)

    async def _share(self, question: str, path: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Asked once for all who want to know it now; a client that leaves takes nobody's answer away."""
        asking = self._asking.get(question)
        if asking is None:
            asking = self._asking[question] = asyncio.ensure_future(self._ask(path, ask))

            def answered(done: "asyncio.Future[T]") -> None:
                del self._asking[question]
                if not done.cancelled():
                    done.exception()  # told to those who are still there

            asking.add_done_callback(answered)
        answer: T = await asyncio.shield(asking)
        return answer

    async def _ask(self, path: str, ask: Callable[[], Awaitable[T]]) -> T:
        self.require_working(path)
        try:
            async with asyncio.timeout(self._ask_seconds):
                answer = await ask()
        except NotFound:
            self.asked["absent"] += 1
            self._outages.worked(self.registry)
            raise
        except TimeoutError:
            error = PeerUnavailable(f"{self._place} has not answered within {self._ask_seconds:g} s")
            self.failed(path, error)
            raise error from None
        except PeatError as error:
            self.failed(path, error)
            raise PeerUnavailable(str(error)) from error
        self.asked["answered"] += 1
        self._outages.worked(self.registry)
        self._outages.worked(f"{self.registry}/{path}")
        return answer
