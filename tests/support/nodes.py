"""Nodes for tests of transfers: store, endpoint (in memory or on Iroh), provider and getter."""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from peat_sidecar.ids import BlobHash, Digest, EndpointId, PeerAddress
from peat_sidecar.mesh import Peers
from peat_sidecar.net import Endpoint, Pool
from peat_sidecar.packages import Descriptor, collection_names, layout_files, parse_manifest
from peat_sidecar.packages import assemble as assemble_package
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.transfer import Clearance, Getter, Patience, Provider, Shaper
from peat_sidecar.wire import Collection, encode_collection
from tests.support.networks import Network, address_of, everyone, network

T = TypeVar("T")
WAIT_SECONDS = 30
_EAGER_ROUNDS = 1000


@dataclass
class Node:
    """One node; `address` is how others dial it."""

    store: Store
    endpoint: Endpoint
    pool: Pool
    provider: Provider
    getter: Getter
    peers: Peers
    shaper: Shaper
    serving: asyncio.Task[None]

    @property
    def address(self) -> PeerAddress:
        return address_of(self.endpoint)

    async def vanish(self) -> None:
        """The end of the node's network; the store goes on."""
        self.shaper.close()
        await self.pool.close()
        await self.endpoint.close()
        await asyncio.wait_for(self.serving, WAIT_SECONDS)


def hasty() -> Patience:
    """Tries again at once, and gives up soon."""

    async def sleep(_: float) -> None:
        await asyncio.sleep(0.01)

    return Patience(give_up_seconds=20, sleep=sleep)


class OpenPeers(Peers):
    """Takes in whoever comes, as the endpoints of these networks do."""

    def admits(self, peer: EndpointId, alpn: bytes) -> bool:
        return everyone(peer, alpn)


async def start_node(
    store: Store, made: Network, *, stall_seconds: float = 5.0, share: Sequence[str] | None = None
) -> Node:
    peers = OpenPeers()
    endpoint = await made.endpoint(stall_seconds=stall_seconds)
    pool = Pool(endpoint)
    shaper = Shaper()
    clearance = Clearance(store, share) if share is not None else None
    provider = Provider(store, shaper, clearance.clears) if clearance is not None else Provider(store, shaper)
    getter = Getter(store, pool, patience=hasty, shaper=shaper, clearance=clearance)
    serving = asyncio.create_task(peers.run(endpoint, pool, provider))
    return Node(store, endpoint, pool, provider, getter, peers, shaper, serving)


@contextlib.asynccontextmanager
async def two_nodes(
    directory: Path, kind: str = "memory", *, stall_seconds: float = 5.0, share: Sequence[str] | None = None
) -> AsyncIterator[tuple[Node, Node, Network]]:
    """A providing node, which shares what it is told to (without that, all), and a getting one."""
    async with network(kind) as made:
        with Store.open(directory / "provider") as one, Store.open(directory / "getter") as other:
            provider = await start_node(one, made, stall_seconds=stall_seconds, share=share)
            getter = await start_node(
                other, made, stall_seconds=stall_seconds, share=() if share is not None else None
            )
            try:
                yield provider, getter, made
            finally:
                await provider.vanish()
                await getter.vanish()


async def bounded(work: Awaitable[T], seconds: float = WAIT_SECONDS) -> T:
    """Every wait of a test has an end."""
    return await asyncio.wait_for(work, seconds)


async def until(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Returns when the condition holds; looks at it each time the loop comes round, later each millisecond,
    that a condition which takes a lock does not keep all other threads from it.
    """
    async with asyncio.timeout(seconds):
        for rounds in itertools.count():
            if condition():
                return
            await asyncio.sleep(0 if rounds < _EAGER_ROUNDS else 0.001)


def sha256_of(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def content(store: Store, name: BlobHash) -> bytes:
    """A complete blob's bytes."""
    with store.reader(name) as reader:
        return reader.read(0, reader.size)


def put_package(store: Store, manifest: bytes, blobs: list[bytes]) -> StoredPackage:
    """A package by hand: its blobs, its collection and its row."""
    document = parse_manifest(manifest, None)
    root = document.descriptor
    package = assemble_package(root, {root.digest: manifest})
    types = {blob.digest: blob.media_type for blob in package.blobs}
    hashes = {}
    for data in [manifest, *blobs]:
        digest = sha256_of(data)
        hashes[digest] = store.put(data, expected=digest, media_type=types.get(digest)).hash
    files = [store.put(data).hash for _, data in layout_files(package)]
    entries = Collection(
        collection_names(package), (*files, *(hashes[blob.digest] for blob in package.blobs))
    )
    metadata, sequence = encode_collection(entries)
    store.put(metadata)
    stored = StoredPackage(
        None,
        Descriptor(root.media_type, root.digest, root.size, artifact_type=document.artifact_type),
        store.put(sequence).hash,
        tuple(blob.digest for blob in package.blobs),
        package.total_bytes,
    )
    store.add_package(stored)
    return stored
