"""A registry endpoint on a real socket that pulls through from a registry which misbehaves as it is told."""

import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from peat_sidecar.http import Listener, Server
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.registry.access import Access
from peat_sidecar.registry.application import Application
from peat_sidecar.registry.calls import Calls
from peat_sidecar.registry.elsewhere import Elsewhere, Nowhere
from peat_sidecar.registry.mirroring import Mirroring
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, PullThrough, Transfers, Upstream
from peat_sidecar.transfer.outages import Outages
from tests.support.images import OCI_CONFIG, OCI_LAYER, Json
from tests.support.manual_time import ManualTime
from tests.support.nodes import until
from tests.support.odd_registry import OddRegistry

NAME = "registry.example"
OPTIONS = RegistryOptions(
    stall_seconds=1, tries=2, backoff_seconds=0.001, environment={"HOME": "/nonexistent"}
)


@dataclass
class Mirror:
    """What a test needs of it."""

    client: httpx.AsyncClient
    store: Store
    transfers: Transfers
    upstream: Upstream
    odd: OddRegistry
    time: ManualTime = field(default_factory=ManualTime)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Within the upstream's names."""
        return await self.client.get(f"/v2/{NAME}/{path}", headers=headers)

    async def pull(self, path: str = "app", tag: str = "v1") -> dict[str, bytes]:
        """As a client does that has nothing: the manifest and all its blobs, by digest."""
        answer = await self.get(f"{path}/manifests/{tag}")
        assert answer.status_code == 200, answer.text
        document = answer.json()
        found = {}
        for each in [document["config"], *document["layers"]]:
            blob = await self.get(f"{path}/blobs/{each['digest']}")
            assert blob.status_code == 200, blob.text
            found[each["digest"]] = blob.content
        return found

    async def listed(self, reference: str) -> None:
        """Returns when it is a package here."""
        await until(lambda: self.store.package(reference) is not None)


@contextlib.asynccontextmanager
async def mirror(
    directory: Path,
    odd: OddRegistry,
    *,
    is_first: bool = False,
    mesh: Elsewhere | None = None,
    store: Store | None = None,
    default_registry: str = "",
    ask_seconds: float = 5.0,
    wait_seconds: float = 10.0,
) -> AsyncIterator[Mirror]:
    """`mesh`: the other place that is asked; without a store it has one of its own."""
    time = ManualTime()
    with contextlib.ExitStack() as stack:
        store = store or stack.enter_context(Store.open(directory))
        upstream = Upstream(
            NAME,
            OPTIONS,
            url=f"http://{odd.address}",
            is_first=is_first,
            outages=Outages(time),
            ask_seconds=ask_seconds,
        )
        transfers = Transfers()
        pulls = PullThrough([upstream], store, Importer(store), transfers, wait_seconds=lambda: wait_seconds)
        elsewhere = Mirroring(mesh or Nowhere(), pulls, default_registry)
        bound = socket.create_server(("127.0.0.1", 0))
        application = Application(Calls(store, elsewhere, default_registry), Access())
        server = Server([Listener(bound, application, None, 256)])
        await server.start()
        base = f"http://127.0.0.1:{bound.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
                yield Mirror(client, store, transfers, upstream, odd, time)
        finally:
            await server.close()
            await transfers.close()
            await pulls.close()


def publish(odd: OddRegistry, *layers: bytes, tag: str | None = "v1", config: bytes = b"{}") -> str:
    """An image at the upstream; its digest."""
    return odd.add_manifest(image(odd, *layers, config=config), tag=tag)


def image(odd: OddRegistry, *layers: bytes, config: bytes = b"{}") -> Json:
    """Its manifest."""

    def entry(data: bytes, media_type: str) -> Json:
        return {"mediaType": media_type, "digest": odd.add_blob(data), "size": len(data)}

    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": entry(config, OCI_CONFIG),
        "layers": [entry(each, OCI_LAYER) for each in layers],
    }
