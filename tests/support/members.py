"""Nodes of a formation without their records: a table of peers, an endpoint, a store to fetch from."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peat_sidecar.ids import BlobHash, EndpointId, PeerAddress
from peat_sidecar.mesh import Formation, Peers
from peat_sidecar.net import Connection, Endpoint, Pool, Stream
from peat_sidecar.store import Store
from peat_sidecar.transfer import Getter, Progress, Provider
from peat_sidecar.wire import ALPN, MESH_ALPN
from tests.support.networks import Network, address_of, network
from tests.support.nodes import bounded, hasty, until

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
ALPNS = (ALPN, MESH_ALPN)


def fleet(*keys: bytes) -> Formation:
    return Formation("fleet", keys or (KEY,))


@dataclass
class Mate:
    """One node."""

    peers: Peers
    endpoint: Endpoint
    pool: Pool
    store: Store
    getter: Getter
    running: asyncio.Task[None]
    sessions: list[EndpointId] = field(default_factory=list)
    """All that began, in their order."""

    @property
    def id(self) -> EndpointId:
        return self.endpoint.id

    @property
    def address(self) -> PeerAddress:
        return address_of(self.endpoint)

    async def meets(self, *others: "Mate") -> None:
        """Returns when there are sessions with all of them, on both sides."""
        for other in others:
            await until(lambda other=other: other.id in self.peers.sessions())  # type: ignore[misc]
            await until(lambda other=other: self.id in other.peers.sessions())  # type: ignore[misc]

    async def fetch(self, blob: BlobHash, holder: "Mate") -> bytes:
        """As a transfer does: from where the table says that the holder is."""
        address = await bounded(self.peers.reach(holder.id))
        await bounded(self.getter.fetch_blob(blob, address, Progress()))
        with self.store.reader(blob) as reader:
            return reader.read(0, reader.size)

    async def stop(self) -> None:
        await self.pool.close()
        await self.endpoint.close()
        await bounded(self.running)


class Crew:
    """The nodes of a test."""

    def __init__(self, net: Network, folder: Path, stack: contextlib.AsyncExitStack) -> None:
        self.net = net
        self._folder = folder
        self._stack = stack
        self._stores = 0

    async def join(
        self,
        *,
        formation: Formation | None = None,
        alpns: tuple[bytes, ...] = ALPNS,
        connect_timeout_seconds: float = 5.0,
        **options: Any,
    ) -> Mate:
        """A node that runs; `options` are those of `Peers`."""
        mates: list[Mate] = []

        async def session(connection: Connection, stream: Stream) -> None:
            mates[0].sessions.append(connection.remote_id)
            stream.stall_seconds = None
            while await stream.read(1000):
                pass

        peers = Peers(**{"formation": formation, "session": session} | options)
        endpoint = await self.net.endpoint(
            admit=peers.admits, alpns=alpns, connect_timeout_seconds=connect_timeout_seconds
        )
        pool = Pool(endpoint)
        store = self._stack.enter_context(Store.open(self._folder / f"store-{self._stores}"))
        self._stores += 1
        running = asyncio.create_task(peers.run(endpoint, pool, Provider(store)))
        mate = Mate(peers, endpoint, pool, store, Getter(store, pool, patience=hasty), running)
        mates.append(mate)
        self._stack.push_async_callback(mate.stop)
        await asyncio.sleep(0)
        return mate


@contextlib.asynccontextmanager
async def crew(folder: Path, kind: str = "memory") -> AsyncIterator[Crew]:
    """They are stopped at the end, and leave no task behind."""
    async with network(kind) as net, contextlib.AsyncExitStack() as stack, asyncio.timeout(60):
        yield Crew(net, folder, stack)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not task.done()]
    assert not left
