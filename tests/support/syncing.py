"""Nodes with records and a syncer, linked by streams over memory or Iroh; and a peer with a script."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peat_sidecar.errors import PeatError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.sync import Syncer
from peat_sidecar.net import Connection, Endpoint, Stream
from peat_sidecar.records import Batch, Records, SignedRecord, Signer
from peat_sidecar.wire import (
    Batches,
    Digest,
    Frame,
    FrameReader,
    Heads,
    News,
    Want,
    WireBatch,
    WireRecord,
    encode_frame,
)
from tests.support.networks import ALPN, Network, address_of, network, stream_pair
from tests.support.nodes import bounded, until

Sleep = Callable[[float], Any]


async def never(_: float) -> None:
    """A sleep for nodes that do nothing by the clock."""
    await asyncio.Event().wait()


@dataclass
class SyncNode:
    """One node."""

    records: Records
    syncer: Syncer
    signer: Signer
    endpoint: Endpoint

    def put(self, collection: str, doc_id: str, **fields: Any) -> None:
        self.records.put(collection, doc_id, fields)

    def content(self) -> dict[tuple[str, str], str]:
        """All documents, by collection and id, as JSON."""
        return {
            (collection, document.doc_id): document.json
            for collection in self.records.collections()
            for document in self.records.documents(collection)
        }


@dataclass
class Link:
    """A session between two nodes."""

    near: Connection
    far: Connection
    tasks: tuple[asyncio.Task[None], asyncio.Task[None]]

    async def cut(self) -> None:
        """Both learn of it."""
        self.near.close()
        self.far.close()
        await asyncio.wait(self.tasks)
        for task in self.tasks:
            with contextlib.suppress(PeatError):
                task.result()


@dataclass
class SyncMesh:
    """Nodes and the links between them."""

    directory: Path
    network: Network
    nodes: list[SyncNode] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    async def node(self, **options: Any) -> SyncNode:
        """A new one, whose syncer compares digests only when a session begins, if not told otherwise."""
        endpoint = await self.network.endpoint(stall_seconds=None)
        signer = Signer(bytes([len(self.nodes) + 1]) * 32)
        records = Records.open(self.directory / f"{len(self.nodes)}.db", signer)
        node = SyncNode(records, Syncer(records, **({"sleep": never} | options)), signer, endpoint)
        self.nodes.append(node)
        return node

    async def link(self, one: SyncNode, other: SyncNode) -> Link:
        """Connects them."""
        near, far = await connected(one.endpoint, other.endpoint)
        here, there = await stream_pair(near, far)
        tasks = (
            asyncio.create_task(one.syncer.run_session(near, here)),
            asyncio.create_task(other.syncer.run_session(far, there)),
        )
        link = Link(near, far, tasks)
        self.links.append(link)
        return link

    async def hostile(self, node: SyncNode) -> "ScriptedPeer":
        """A peer of that node which does as it is told."""
        endpoint = await self.network.endpoint(stall_seconds=None)
        near, far = await connected(endpoint, node.endpoint)
        here, there = await stream_pair(near, far)
        session = asyncio.create_task(node.syncer.run_session(far, there))
        self.links.append(Link(near, far, (session, session)))
        return ScriptedPeer(near, here, session)

    async def equal(self, nodes: Sequence[SyncNode] | None = None) -> None:
        """Returns when all hold the same."""
        chosen = nodes or self.nodes
        await until(lambda: len({node.records.digest() for node in chosen}) == 1)
        assert len({tuple(sorted(node.content().items())) for node in chosen}) == 1

    async def quiet(self, *, though_asking: bool = False) -> int:
        """Returns when nothing is sent any more: bytes that all have sent so far."""
        sent, still = -1, 0
        async with asyncio.timeout(30):
            while still < 20:
                now = sum(node.syncer.sent_bytes for node in self.nodes)
                arrived = sum(node.syncer.received_bytes for node in self.nodes)
                busy = not though_asking and any(node.syncer.is_syncing for node in self.nodes)
                still = still + 1 if (now, arrived) == sent and not busy else 0
                sent = (now, arrived)
                await asyncio.to_thread(int)  # a turn of the threads that records are read in
                await asyncio.sleep(0.002)
        return sent[0]

    async def close(self) -> None:
        for link in self.links:
            await bounded(link.cut())
        for node in self.nodes:
            await node.syncer.close()
            node.records.close()


@contextlib.asynccontextmanager
async def mesh(directory: Path, kind: str = "memory") -> AsyncIterator[SyncMesh]:
    async with network(kind) as made:
        one = SyncMesh(directory, made)
        try:
            yield one
        finally:
            await one.close()


async def connected(dialler: Endpoint, acceptor: Endpoint) -> tuple[Connection, Connection]:
    accepting = asyncio.create_task(acceptor.accept())
    near = await dialler.connect(address_of(acceptor), ALPN)
    far = await bounded(accepting)
    assert far is not None
    return near, far


class ScriptedPeer:
    """Says what it is told to, and keeps what it hears."""

    def __init__(self, connection: Connection, stream: Stream, session: asyncio.Task[None]) -> None:
        self.connection = connection
        self.stream = stream
        self.session = session
        """The node's end."""
        self.heard: list[Frame] = []
        self._reader = FrameReader()
        self.reads = asyncio.create_task(self._read())

    async def say(self, *frames: Frame) -> None:
        await self.stream.write(b"".join(map(encode_frame, frames)))

    async def hear(self, kind: type[Frame], count: int = 1) -> list[Any]:
        """Returns when so many frames of a kind have come."""
        await until(lambda: sum(isinstance(frame, kind) for frame in self.heard) >= count)
        return [frame for frame in self.heard if isinstance(frame, kind)]

    async def meet(self, *claims: Any) -> None:
        """Goes through the beginning: holds only what it claims to, and gives nothing."""
        await self.hear(Digest)
        await self.say(Digest(bytes(16), begins=True), Heads(tuple(claims), asks=True))
        await self.hear(Heads)

    async def end(self) -> None:
        """Why the node has ended the session is raised."""
        await bounded(asyncio.shield(self.session))

    def wants(self) -> dict[EndpointId, list[int]]:
        """What it was asked for: from which sequence on, each time."""
        asked: dict[EndpointId, list[int]] = {}
        for frame in self.heard:
            if isinstance(frame, Want):
                for signer, after in frame.wanted:
                    asked.setdefault(signer, []).append(after)
        return asked

    async def _read(self) -> None:
        with contextlib.suppress(PeatError):
            while data := await self.stream.read(1 << 16):
                self.heard += self._reader.feed(data)


def wire(batch: Batch | None) -> WireBatch:
    """As it travels."""
    assert batch is not None
    return wire_batch(batch.signer, batch.after, batch.upto, batch.records)


def wire_batch(signer: EndpointId, after: int, upto: int, records: Iterable[SignedRecord]) -> WireBatch:
    return WireBatch(signer, after, upto, tuple(WireRecord(each.signature, each.body) for each in records))


__all__ = ["Batches", "News", "ScriptedPeer", "SyncMesh", "SyncNode", "mesh", "never", "wire", "wire_batch"]
