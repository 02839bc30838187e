"""One try to fetch a wanted package: the work of a transfer.

It begins with one holder; all others that are connected, or come to be, help. Where few are, some of the
others are dialled, so that nodes that get the same from one seed can give it to each other. Where all fall
silent and another could be asked, it is given up: the getter alone would wait for minutes.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.ids import BlobHash, Digest, EndpointId, PeerAddress
from peat_sidecar.mesh.arrivals import Arrivals
from peat_sidecar.mesh.offers import Offer
from peat_sidecar.mesh.providers import Holder
from peat_sidecar.mesh.wake import Sleep
from peat_sidecar.state import WantRow
from peat_sidecar.store import StoredPackage
from peat_sidecar.transfer import Outcome, Progress, Sources

LOOK_SECONDS = 1.0
SILENT_LOOKS = 15
"""Looks in a row without a byte gained, after which another holder is asked, if there is one."""
LOST_LOOKS = 3
"""The same, where the session with the holder has ended."""
DIALLED = 4
"""Other holders that a fetch dials, at most: a choice of its own, so that no few of them are asked by all."""
PARTIAL_LOOKS = 1
"""What is fetched sooner is not announced as partial: a record more for everyone, of no use to anyone."""


class FetchesPackages(Protocol):
    """The part of the getter that is needed here."""

    async def fetch_package(
        self,
        collection: BlobHash,
        peers: Sources,
        progress: Progress,
        *,
        list_as: str | None = None,
        expected: Digest | None = None,
        limit_bytes: int | None = None,
        limit_blobs: int | None = None,
    ) -> StoredPackage:
        """A package by its collection."""
        ...


class ReachesPeers(Protocol):
    """The part of the peers that is needed here."""

    async def reach(self, peer: EndpointId, /) -> PeerAddress:
        """Where it can be fetched from; `PeerUnavailable`."""
        ...

    def sessions(self) -> frozenset[EndpointId]:
        """Who is connected."""
        ...

    def seek(self, peers: Iterable[EndpointId], /) -> None:
        """Has these dialled as soon as they are back, and no others any more."""
        ...

    def subscribe(self, listener: Callable[[EndpointId, bool], None], /) -> Callable[[], None]:
        """Called when a session begins or ends. Returns what ends it."""
        ...


@dataclass(slots=True)
class Fetch:
    """One try, and how it is."""

    offer: Offer
    holder: Holder
    row: WantRow
    on_partial: Callable[[], None]
    """Called when it takes long and something has come, again and again."""
    others: Callable[[], Sequence[Holder]]
    """Holders beside it that can be asked now, connected or not."""
    sources: Sources = field(default_factory=lambda: Sources(spread=True))
    helpers: list[Holder] = field(default_factory=list)
    """Holders beside it that are asked as well."""
    dials: dict[EndpointId, asyncio.Task[None]] = field(default_factory=dict)
    """Of holders without a session, each once."""
    gained: bool = False
    was_connected: bool = False
    """To the holder, at some time of it."""

    async def run(
        self,
        progress: Progress,
        getter: FetchesPackages,
        peers: ReachesPeers,
        arrivals: Arrivals,
        sleep: Sleep = asyncio.sleep,
    ) -> Outcome:
        """Fetches, names and remembers the package."""
        offer = self.offer
        progress.transfer_class = self.row.transfer_class
        progress.waiting_for = f"a connection to peer {self.holder.endpoint_id.short}"
        await self._reach(peers, sleep)
        progress.waiting_for = ""
        name = await asyncio.to_thread(arrivals.expect, offer, self.row)
        work = getter.fetch_package(
            offer.collection,
            self.sources,
            progress,
            list_as=name,
            expected=offer.root,
            limit_bytes=offer.bytes,
            limit_blobs=offer.blobs,
        )
        await self._watched(work, progress, peers, sleep)
        package = await asyncio.to_thread(arrivals.settle, offer, self.row)
        return Outcome(package=package, foreign=tuple(progress.foreign))

    async def _reach(self, peers: ReachesPeers, sleep: Sleep) -> None:
        """Until there is somebody to ask: a dial may take long, and another may appear meanwhile."""
        peer = self.holder.endpoint_id
        failure = PeerUnavailable(f"peer {peer.short} could not be reached yet")
        reaching = asyncio.ensure_future(peers.reach(peer))
        try:
            while not reaching.done() and not self.sources.current:
                looking = asyncio.ensure_future(sleep(LOOK_SECONDS))
                try:
                    await asyncio.wait((reaching, looking), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    looking.cancel()
                if not reaching.done():
                    await self._add_others(peers)
            if reaching.done():
                self.sources.add(reaching.result())
        except PeerUnavailable as error:
            failure = error
        finally:
            reaching.cancel()
            await asyncio.gather(reaching, return_exceptions=True)
        await self._add_others(peers)
        if not self.sources.current:
            raise failure
        if peer not in self.sources:
            self.sources.faults[peer] = failure

    async def _watched(
        self, work: Awaitable[StoredPackage], progress: Progress, peers: ReachesPeers, sleep: Sleep
    ) -> None:
        fetching = asyncio.ensure_future(work)
        looking = asyncio.ensure_future(self._look(progress, peers, sleep))
        try:
            await asyncio.wait((fetching, looking), return_when=asyncio.FIRST_COMPLETED)
            if fetching.done():
                fetching.result()
            else:
                looking.result()
        finally:
            tasks = (fetching, looking, *self.dials.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, progress: Progress, peers: ReachesPeers, sleep: Sleep) -> None:
        """Ends with `PeerUnavailable` when it is time to ask another."""
        peer = self.holder.endpoint_id
        silent = looks = 0
        before, sessions = progress.wire_bytes, peers.sessions()
        while True:
            await sleep(LOOK_SECONDS)
            looks += 1
            sessions, were = peers.sessions(), sessions
            for other in sessions - were:
                self.sources.returned(other)
            silent = 0 if progress.wire_bytes > before or progress.is_held_back else silent + 1
            self.gained = self.gained or progress.wire_bytes > before
            before = progress.wire_bytes
            if looks >= PARTIAL_LOOKS and progress.done_bytes:
                self.on_partial()
            connected = peer in sessions
            self.was_connected = self.was_connected or connected
            await self._add_others(peers)
            self._dial_others(peers)
            lost = self.was_connected and not connected
            if silent >= (LOST_LOOKS if lost else SILENT_LOOKS) and self._connected(peers):
                what = "is gone" if lost else "is silent"
                raise PeerUnavailable(f"peer {peer.short} {what}; another one is asked")

    async def _add_others(self, peers: ReachesPeers) -> None:
        holder = [self.holder] if self.holder.endpoint_id in peers.sessions() else []
        for other in (*holder, *self._connected(peers)):
            if other.endpoint_id not in self.sources:
                await self._add(other, peers)

    async def _add(self, other: Holder, peers: ReachesPeers) -> None:
        with suppress(PeerUnavailable):  # it has left in this moment, or cannot be dialled
            self.sources.add(await peers.reach(other.endpoint_id))
            self.helpers += [other] if other is not self.holder else []

    def _connected(self, peers: ReachesPeers) -> list[Holder]:
        sessions = peers.sessions()
        return [each for each in self.others() if each.endpoint_id in sessions]

    def _dial_others(self, peers: ReachesPeers) -> None:
        at_work = sum(not dial.done() or id in self.sources for id, dial in self.dials.items())
        free = max(0, DIALLED - at_work)
        away = [
            each
            for each in self.others()
            if each.endpoint_id not in peers.sessions() and each.endpoint_id not in self.dials
        ]
        for other in random.sample(away, min(free, len(away))):
            dialling = self._add(other, peers)
            self.dials[other.endpoint_id] = asyncio.create_task(dialling, name="dial another holder")
