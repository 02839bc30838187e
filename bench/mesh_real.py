"""Rows about real nodes: each with its Iroh endpoint on loopback, peers, formation key, records on disk.

All are in one process, so that one Python does the work of all of them: what is measured is not faster than
what separate machines would do.
"""

import asyncio
import contextlib
import hashlib
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measurement import Row, limit_row
from bench.mesh_packages import Graph, agent, package, rings
from bench.setting import Setting
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh import Formation, Peers, Syncer
from peat_sidecar.net import IrohEndpoint, Pool
from peat_sidecar.records import Records, Signer
from peat_sidecar.store import Store
from peat_sidecar.transfer import Provider
from peat_sidecar.wire import ALPN, MESH_ALPN

KNOWN = 4
_DIGEST_SECONDS = 20.0
"""More often than the 300 s of a daemon, so that a minute of idling has some."""
_IDLE_SECONDS = 60
_STORED = 5000
_WAIT_SECONDS = 120


@dataclass(slots=True)
class Node:
    """One of them."""

    number: int
    endpoint: IrohEndpoint
    pool: Pool
    records: Records
    store: Store
    syncer: Syncer
    peers: Peers
    running: asyncio.Task[None] | None = None

    @property
    def address(self) -> PeerAddress:
        return PeerAddress(self.endpoint.id, self.endpoint.addresses())

    def put(self, name: int, state: str = "complete") -> str:
        """Writes a package's document; its id."""
        doc_id, document = package(self.number, name, state=state)
        self.records.put("packages", doc_id, document)
        return doc_id

    async def close(self) -> None:
        await self.pool.close()
        await self.endpoint.close()
        if self.running is not None:
            await self.running
        await self.syncer.close()
        self.records.close()
        self.store.close()


@contextlib.asynccontextmanager
async def _mesh(directory: Path, graph: Graph) -> AsyncIterator[list[Node]]:
    formation = Formation("bench", [hashlib.sha256(b"bench").digest()])
    nodes: list[Node] = []
    try:
        for number in graph:
            node = await _node(directory / str(number), number, formation)
            nodes.append(node)
        for node in nodes:
            for other in graph[node.number]:
                node.peers.discovered(nodes[other].address, "mdns")
            provider = Provider(node.store)
            node.running = asyncio.create_task(node.peers.run(node.endpoint, node.pool, provider))
        yield nodes
    finally:
        await asyncio.gather(*(node.close() for node in nodes))


async def _node(directory: Path, number: int, formation: Formation) -> Node:
    await asyncio.to_thread(directory.mkdir, parents=True)
    key = hashlib.sha256(f"bench node {number}".encode()).digest()
    records = Records.open(directory / "records.db", Signer(key))
    records.claim(agent(number))
    syncer = Syncer(records, digest_seconds=_DIGEST_SECONDS)
    peers = Peers(formation=formation, session=syncer.run_session)
    endpoint = await IrohEndpoint.bind(
        key, bind_addresses=("127.0.0.1:0",), alpns=(ALPN, MESH_ALPN), admit=peers.admits
    )
    return Node(number, endpoint, Pool(endpoint), records, Store.open(directory / "store"), syncer, peers)


async def real_rows(setting: Setting, count: int) -> None:
    """A new record, a change, idling, and a partition that heals."""
    graph = rings(count, KNOWN)
    links = sum(map(len, graph.values())) // 2
    async with _mesh(setting.scratch / "real", graph) as nodes:
        begun = time.monotonic()
        for node in nodes:
            node.put(node.number)
        await _until(lambda: all(len(node.peers.sessions()) == len(graph[node.number]) for node in nodes))
        await _equal(nodes)
        seconds = time.monotonic() - begun
        setting.report.add(
            Row(
                f"{count} real nodes of {KNOWN} peers, from nothing",
                f"{seconds:.1f} s",
                "",
                "equal",
                "",
                None,
            )
        )
        await _new_record(setting, nodes)
        await _partition(setting, nodes, graph, 2000)
        await _idle(setting, nodes, links)
        await _change(setting, nodes)
        for node in nodes:  # as a daemon does every minute
            await asyncio.to_thread(node.records.review)
        await _partition(setting, nodes, graph, 3000)


async def _new_record(setting: Setting, nodes: Sequence[Node]) -> None:
    seconds = [
        await _spread(nodes, writer, 1000 + writer.number) for writer in nodes[:: max(1, len(nodes) // 9)]
    ]
    setting.report.add(
        limit_row(
            f"a new package record on all of {len(nodes)} real nodes, slowest of {len(seconds)}",
            max(seconds),
            "s",
            under=5,
            beside=f"median {statistics.median(seconds):.2f} s",
        )
    )


async def _spread(nodes: Sequence[Node], writer: Node, name: int) -> float:
    """Seconds from the write until the last node has merged it."""
    missing = {node.number for node in nodes}
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    doc_id, _ = package(writer.number, name)

    def arrived(number: int) -> None:
        missing.discard(number)
        if not missing:
            done.set()

    def listener(node: Node) -> Callable[[Sequence[object]], None]:
        def hear(changes: Sequence[object]) -> None:
            if any(getattr(change, "doc_id", None) == doc_id for change in changes):
                loop.call_soon_threadsafe(arrived, node.number)

        return hear

    ends = [node.records.subscribe(listener(node)) for node in nodes]
    begun = time.monotonic()
    await asyncio.to_thread(writer.put, name)
    async with asyncio.timeout(_WAIT_SECONDS):
        await done.wait()
    seconds = time.monotonic() - begun
    for end in ends:
        end()
    return seconds


async def _change(setting: Setting, nodes: Sequence[Node]) -> None:
    """What one change costs, before and after a great many records were stored."""
    before = await _cost(nodes, "partial")
    first = nodes[0]
    begun = time.monotonic()
    await asyncio.to_thread(lambda: [first.put(10_000 + number) for number in range(_STORED)])
    written = time.monotonic() - begun
    await _equal(nodes)
    seconds = time.monotonic() - begun
    setting.report.add(
        Row(
            f"{_STORED} records, on all of {len(nodes)} real nodes",
            f"{seconds:.1f} s",
            f"{written:.1f} s to write them",
            f"{len(nodes) * _STORED / seconds:.0f} merged/s in all",
            "",
            None,
        )
    )
    after = await _cost(nodes, "complete")
    setting.report.add(
        Row(
            f"bytes of one change, sent by each of {len(nodes)}",
            f"{after:.0f} with {_STORED} stored",
            f"{before:.0f} without",
            f"{after / before:.2f}",
            "about 1",
            after < 1.3 * before,
        )
    )


async def _cost(nodes: Sequence[Node], state: str) -> float:
    """Bytes that each node sends because one document changes, on average of five."""
    sent = await _quiet(nodes)
    for writer in nodes[:5]:
        await asyncio.to_thread(writer.put, writer.number, state)
        await _equal(nodes)
    return (await _quiet(nodes) - sent) / 5 / len(nodes)


async def _idle(setting: Setting, nodes: Sequence[Node], links: int) -> None:
    await _quiet(nodes)
    frames = _sent(nodes)
    datagrams = _datagrams(nodes)
    await asyncio.sleep(_IDLE_SECONDS)
    minutes = links * _IDLE_SECONDS / 60
    setting.report.add(
        limit_row(
            f"idle connection, a minute, digests every {_DIGEST_SECONDS:g} s",
            (_sent(nodes) - frames) / minutes,
            "bytes",
            under=1024,
            beside=f"{(_datagrams(nodes) - datagrams) / minutes:.0f} bytes of UDP with QUIC's keep-alives",
        )
    )


async def _partition(setting: Setting, nodes: Sequence[Node], graph: Graph, name: int) -> None:
    """`name`: from which on each node writes one package."""
    half = len(nodes) // 2
    across = [(one, other) for one in graph for other in graph[one] if one < half <= other]
    for one, other in across:
        nodes[one].peers.disconnect(nodes[other].endpoint.id)
        nodes[other].peers.disconnect(nodes[one].endpoint.id)
    await _until(lambda: not any(_across(node, nodes, half) for node in nodes))
    deleted = nodes[0].put(0)
    await asyncio.to_thread(nodes[0].records.delete, "packages", deleted)
    for node in nodes:
        await asyncio.to_thread(node.put, name + node.number)
    await _quiet(nodes)
    begun = time.monotonic()
    await asyncio.gather(*(_reconnect(nodes[one], nodes[other]) for one, other in across))
    await _equal(nodes)
    seconds = time.monotonic() - begun
    stored = nodes[0].records.status().records
    kept = all(node.records.get("packages", deleted) is None for node in nodes)
    setting.report.add(
        limit_row(
            f"two halves of {half}, {stored} records stored, each node wrote: healed until equal",
            seconds,
            "s",
            under=5,
            beside=f"{len(across)} links dialled; the delete {'stays' if kept else 'IS UNDONE'}",
        )
    )


async def _reconnect(one: Node, other: Node) -> None:
    await one.peers.connect(other.address)
    await other.peers.connect(one.address)


def _across(node: Node, nodes: Sequence[Node], half: int) -> bool:
    sides: dict[EndpointId, bool] = {each.endpoint.id: each.number < half for each in nodes}
    return any(sides[peer] != (node.number < half) for peer in node.peers.sessions())


async def _equal(nodes: Sequence[Node]) -> None:
    await _until(lambda: len({node.records.digest() for node in nodes}) == 1)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - nodes raise no events
            await asyncio.sleep(0.02)


async def _quiet(nodes: Sequence[Node]) -> int:
    """Bytes sent in all, once no more are (but for digests)."""
    async with asyncio.timeout(_WAIT_SECONDS):
        sent = -1
        while sent != (sent := _sent(nodes)):  # noqa: ASYNC110
            await asyncio.sleep(0.25)
    return sent


def _sent(nodes: Sequence[Node]) -> int:
    return sum(node.syncer.sent_bytes for node in nodes)


def _datagrams(nodes: Sequence[Node]) -> int:
    return sum(info.sent_bytes for node in nodes for info in node.peers.list())
