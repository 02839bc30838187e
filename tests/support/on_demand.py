"""The registry endpoint of a node of a mesh, on a real socket."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

from peat_sidecar.http import Listener, Server
from peat_sidecar.mesh import KnownDocuments, KnownPackages, OnDemand, Tags
from peat_sidecar.registry.access import Access
from peat_sidecar.registry.application import Application
from peat_sidecar.registry.calls import Calls
from tests.support.mesh_nodes import MeshNode


@dataclass
class Endpoint:
    """What a test needs of it."""

    client: httpx.AsyncClient
    on_demand: OnDemand
    documents: KnownDocuments
    tags: Tags

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(f"/v2/{path}", headers=headers)


@contextlib.asynccontextmanager
async def endpoint_of(
    node: MeshNode, *, wait_seconds: float = 10.0, keeps: bool = False, access: Access | None = None
) -> AsyncIterator[Endpoint]:
    """`keeps`: documents of all known packages are brought ahead."""
    parts = node.p
    assert node.node is not None
    known = KnownPackages(parts.records, parts.trust, node.name)
    documents = KnownDocuments(
        parts.records, parts.offers, parts.providers, node.peers, node.node.getter, parts.store
    )
    on_demand = OnDemand(
        node.name,
        known,
        documents,
        offers=parts.offers,
        providers=parts.providers,
        wants=parts.wants,
        store=parts.store,
        getter=node.node.getter,
        wait_seconds=lambda: wait_seconds,
    )
    keeping = asyncio.create_task(documents.run()) if keeps else None
    tags = Tags(parts.offers, known, parts.tag_rules)
    bound = socket.create_server(("127.0.0.1", 0))
    application = Application(Calls(parts.store, on_demand, known=tags), access or Access())
    server = Server([Listener(bound, application, None, 256)])
    await server.start()
    base = f"http://127.0.0.1:{bound.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
            yield Endpoint(client, on_demand, documents, tags)
    finally:
        await server.close()
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        known.close()
