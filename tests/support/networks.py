"""Two endpoints that can reach each other, over memory or over Iroh on loopback, for suites run on both."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.net import Connection, Endpoint, IrohEndpoint, MemoryNetwork, Stream

ALPN = b"/iroh-bytes/4"
KINDS = ("memory", "iroh")


def everyone(_: EndpointId, __: bytes) -> bool:
    return True


@dataclass
class Network:
    """Makes endpoints of one kind and closes them at the end."""

    kind: str
    memory: MemoryNetwork = field(default_factory=MemoryNetwork)
    _endpoints: list[Endpoint] = field(default_factory=list)

    async def endpoint(
        self,
        *,
        admit: Callable[[EndpointId, bytes], bool] = everyone,
        alpns: tuple[bytes, ...] = (ALPN,),
        stall_seconds: float | None = 5.0,
        connect_timeout_seconds: float = 5.0,
    ) -> Endpoint:
        number = len(self._endpoints) + 1
        endpoint: Endpoint
        if self.kind == "memory":
            endpoint = self.memory.endpoint(
                EndpointId(bytes([number]) * 32),
                alpns=alpns,
                stall_seconds=stall_seconds,
                connect_timeout_seconds=connect_timeout_seconds,
                admit=admit,
            )
        else:
            endpoint = await IrohEndpoint.bind(
                bytes([number]) * 32,
                bind_addresses=("127.0.0.1:0",),
                alpns=alpns,
                stall_seconds=stall_seconds,
                connect_timeout_seconds=connect_timeout_seconds,
                admit=admit,
            )
        self._endpoints.append(endpoint)
        return endpoint

    async def pair(self, *, stall_seconds: float | None = 5.0) -> tuple[Connection, Connection]:
        """A connection between two new endpoints: the dialler's end and the other's."""
        dialler = await self.endpoint(stall_seconds=stall_seconds)
        acceptor = await self.endpoint(stall_seconds=stall_seconds)
        accepting = asyncio.create_task(acceptor.accept())
        near = await dialler.connect(address_of(acceptor), ALPN)
        far = await accepting
        assert far is not None
        return near, far

    async def close(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.close()


def address_of(endpoint: Endpoint) -> PeerAddress:
    return PeerAddress(endpoint.id, endpoint.addresses())


async def stream_pair(near: Connection, far: Connection) -> tuple[Stream, Stream]:
    """One stream, seen from both ends; one byte went from near to far."""
    here = await near.open_stream()
    await here.write(b"!")
    there = await far.accept_stream()
    assert there is not None
    assert await there.read_exact(1) == b"!"
    return here, there


@contextlib.asynccontextmanager
async def network(kind: str) -> AsyncIterator[Network]:
    made = Network(kind)
    try:
        yield made
    finally:
        await made.close()
