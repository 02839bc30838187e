"""Rows about many nodes: real records and syncers, streams in memory, all in one process.

News are passed on once a second at most, where a daemon does so fifty times: this process does in a second
what a node does in a millisecond. Left out, and said in the output: what separate machines would do at the
same time is done one after another here, so seconds are those of one processor; and a signature that one node
has verified is not verified again by the next (0.1 ms each, which is 200 s for 1,000 nodes, 2,000 records).
"""

import asyncio
import contextlib
import functools
import hashlib
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from bench.measurement import Row
from bench.mesh_packages import Graph, agent, distance, package, rings
from bench.setting import Setting
from peat_sidecar.errors import PeatError
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh import Syncer
from peat_sidecar.net import Connection, MemoryEndpoint, MemoryNetwork, Stream
from peat_sidecar.records import Records, Signer, database, receiving
from peat_sidecar.wire import MESH_ALPN

KNOWN = 6
PACKAGES = 2
_WAIT_SECONDS = 3600
_NEWS_SECONDS = 1.0
_IDLE_BYTES = 50
"""A second and node: a thousand nodes are never silent all at once."""
_SAY_SECONDS = 60
_WAL_PAGES = 256
_CACHE_KIB = 1024
"""A daemon's 4,000 pages and 24 MiB would be tens of gigabytes for 1,000 nodes."""
_FILES = 10
"""Descriptors that a node's database may take."""


@dataclass(slots=True)
class Node:
    """One of them."""

    number: int
    records: Records
    syncer: Syncer
    endpoint: MemoryEndpoint
    connections: list[Connection] = field(default_factory=list)
    sessions: list[asyncio.Task[None]] = field(default_factory=list)

    def put(self, name: int, state: str = "complete") -> None:
        """Writes a package's document."""
        doc_id, document = package(self.number, name, state=state)
        self.records.put("packages", doc_id, document)


async def simulation_rows(setting: Setting, count: int) -> None:
    """From nothing to everybody having everything; then one change."""
    _allow_files(count * _FILES)
    graph = rings(count, KNOWN)
    links = sum(map(len, graph.values())) // 2
    title = f"{count} simulated nodes of {KNOWN} peers"
    nodes: list[Node] = []
    with _many_in_one_process():
        try:
            network = MemoryNetwork()
            for number in graph:
                node = await asyncio.to_thread(_open, setting.scratch / "simulated", number, network)
                nodes.append(node)
            begun = time.monotonic()
            await asyncio.gather(
                *(_link(nodes[one], nodes[other]) for one in graph for other in graph[one] if one < other)
            )
            await _complete(setting, nodes, PACKAGES * count)
            seconds = time.monotonic() - begun
            digests = {node.records.digest() for node in nodes}
            sent = await _quiet(nodes)
            stored = nodes[0].records.status().bytes
            setting.report.add(
                Row(
                    f"{title}, {PACKAGES} packages each: all converge",
                    f"{seconds:.0f} s of one process",
                    f"{links} links, {distance(graph, 0)} hops across",
                    "equal" if len(digests) == 1 else f"{len(digests)} DIFFERENT STATES",
                    "equal",
                    len(digests) == 1,
                )
            )
            setting.report.add(
                Row(
                    f"{title}: bytes sent by each, on average",
                    f"{sent / count / 1e6:.2f} MB",
                    f"{stored / 1e6:.2f} MB of records, {stored / PACKAGES / count:.0f} bytes each",
                    f"{sent / count / stored:.2f} times what there is",
                    "",
                    None,
                )
            )
            await _one_change(setting, nodes, graph, title)
        finally:
            await _close(nodes)


async def _one_change(setting: Setting, nodes: Sequence[Node], graph: Graph, title: str) -> None:
    before = await _quiet(nodes)
    begun = time.monotonic()
    await asyncio.to_thread(nodes[0].put, 0, "partial")
    own = nodes[0].records.id
    head = nodes[0].records.heads()[own].sequence
    await _until(lambda: all(node.records.since(own, head - 1) is not None for node in nodes), 0.2)
    seconds = time.monotonic() - begun
    cost = await _quiet(nodes) - before
    batch = nodes[0].records.since(own, head - 1)
    size = sum(len(record.body) + len(record.signature) for record in batch.records) if batch else 1
    setting.report.add(
        Row(
            f"{title}: one change afterwards",
            f"{cost / len(nodes):.0f} bytes sent by each",
            f"{seconds:.1f} s, farthest {distance(graph, 0)} hops; a record of {size} bytes",
            f"{cost / len(nodes) / size:.2f} times the record",
            "",
            None,
        )
    )


def _open(directory: Path, number: int, network: MemoryNetwork) -> Node:
    directory.mkdir(parents=True, exist_ok=True)
    signer = Signer(hashlib.sha256(f"bench node {number}".encode()).digest())
    records = Records.open(directory / f"{number}.db", signer)
    records.claim(agent(number))
    endpoint = network.endpoint(signer.id, alpns=(MESH_ALPN,), stall_seconds=None)
    node = Node(number, records, Syncer(records, news_seconds=_NEWS_SECONDS), endpoint)
    for name in range(PACKAGES):
        node.put(number * PACKAGES + name)
    return node


async def _link(one: Node, other: Node) -> None:
    address = PeerAddress(other.endpoint.id, other.endpoint.addresses())
    near = await one.endpoint.connect(address, MESH_ALPN)
    far = await other.endpoint.accept()
    here = await near.open_stream()
    await here.write(b"!")
    # Whoever has dialled: the acceptor's connections come in the order in which they are accepted.
    there = await far.accept_stream() if far is not None else None
    if far is None or there is None:
        raise RuntimeError("a simulated node has closed its endpoint")
    await there.read_exact(1)
    for node, connection, stream in (one, near, here), (other, far, there):
        node.connections.append(connection)
        node.sessions.append(asyncio.create_task(_session(node.syncer, connection.remote_id, stream)))


async def _session(syncer: Syncer, peer: EndpointId, stream: Stream) -> None:
    with contextlib.suppress(PeatError):
        await syncer.run_session(peer, stream)


async def _close(nodes: Sequence[Node]) -> None:
    for node in nodes:
        for connection in node.connections:
            connection.close()
    await asyncio.gather(*(task for node in nodes for task in node.sessions))
    for node in nodes:
        await node.endpoint.close()
        await node.syncer.close()
        node.records.close()


async def _complete(setting: Setting, nodes: Sequence[Node], records: int) -> None:
    """Returns when each node has so many records; says now and then how many of them do."""

    def lacking() -> int:
        return sum(node.records.status().records < records for node in nodes)

    said = time.monotonic()
    while missing := await asyncio.to_thread(lacking):
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            held = sum(node.records.status().records for node in nodes) / len(nodes)
            setting.console.print(f"  {missing} nodes lack something; {held:.0f} of {records} on average")
        await asyncio.sleep(2)


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(_WAIT_SECONDS):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - nodes raise no events
            await asyncio.sleep(seconds)


async def _quiet(nodes: Sequence[Node]) -> int:
    """Bytes sent in all, once no more are than idle sessions send."""
    sent, before = sum(node.syncer.sent_bytes for node in nodes), -1
    async with asyncio.timeout(_WAIT_SECONDS):
        while before < 0 or sent - before > _IDLE_BYTES * len(nodes):
            await asyncio.sleep(1)
            before, sent = sent, sum(node.syncer.sent_bytes for node in nodes)
    return sent


@contextlib.contextmanager
def _many_in_one_process() -> Iterator[None]:
    """Each signature is verified by the first node that meets it; databases keep little in memory."""
    verify = functools.lru_cache(maxsize=1 << 20)(vars(receiving)["is_signed"])
    with (
        _replaced(receiving, "is_signed", verify),
        _replaced(database, "_WAL_PAGES", _WAL_PAGES),
        _replaced(database, "_CACHE_KIB", _CACHE_KIB),
    ):
        yield


@contextlib.contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    names = vars(module)
    before, names[name] = names[name], value
    try:
        yield
    finally:
        names[name] = before


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, max(soft, count + 512)) if hard != resource.RLIM_INFINITY else max(soft, count + 512)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
