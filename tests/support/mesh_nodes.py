"""Nodes of a mesh for tests: real records, state, store and transfers over the network in memory.

Sessions are links that a test makes and takes away; what goes over them is what sync would bring, at once.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peat_sidecar.config import ReplicateRule
from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh.announcer import Announcer
from peat_sidecar.mesh.arrivals import Arrivals
from peat_sidecar.mesh.name_maps import NameMaps
from peat_sidecar.mesh.offers import Offers
from peat_sidecar.mesh.pins import Pins
from peat_sidecar.mesh.policy import Platforms, Policy
from peat_sidecar.mesh.providers import Providers
from peat_sidecar.mesh.quota import Quota
from peat_sidecar.mesh.registry_exports import RegistryExports
from peat_sidecar.mesh.replicator import Replicator
from peat_sidecar.mesh.tag_policies import TagPolicies
from peat_sidecar.mesh.tag_rules import TagRules
from peat_sidecar.mesh.trust import Trust
from peat_sidecar.mesh.wake import Sleep
from peat_sidecar.mesh.wants import Wants
from peat_sidecar.net import Pool
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.packages import parse_manifest
from peat_sidecar.rate import Limits
from peat_sidecar.records import Records, Signer
from peat_sidecar.state import State
from peat_sidecar.store import Disk, Store, StoredPackage
from peat_sidecar.transfer import Clearance, Exporter, Getter, Limiter, Provider, Shaper, Transfers
from tests.support.manifests import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, encoded
from tests.support.manual_time import ManualTime
from tests.support.networks import Network, address_of, everyone, network
from tests.support.nodes import Node, OpenPeers, hasty, put_package, sha256_of, until
from tests.support.real_files import real_bytes


class LinkedPeers:
    """Peers as the wants see them."""

    def __init__(self) -> None:
        self.addresses: dict[EndpointId, PeerAddress] = {}
        self.linked: set[EndpointId] = set()
        self.near: dict[EndpointId, PeerAddress] = {}
        """Those that can be dialled, though there is no session."""
        self.asked: list[EndpointId] = []
        self.sought: frozenset[EndpointId] = frozenset()
        self._listeners: list[Callable[[EndpointId, bool], None]] = []

    async def reach(self, peer: EndpointId) -> PeerAddress:
        self.asked.append(peer)
        if peer in self.near:
            return self.near[peer]
        if peer not in self.linked:
            raise PeerUnavailable(f"peer {peer.short} cannot be reached")
        return self.addresses[peer]

    def sessions(self) -> frozenset[EndpointId]:
        return frozenset(self.linked)

    def seek(self, peers: Iterable[EndpointId]) -> None:
        self.sought = frozenset(peers)

    def subscribe(self, listener: Callable[[EndpointId, bool], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def change(self, peer: PeerAddress, began: bool) -> None:
        self.addresses[peer.endpoint_id] = peer
        (self.linked.add if began else self.linked.discard)(peer.endpoint_id)
        for listener in tuple(self._listeners):
            listener(peer.endpoint_id, began)


async def _at_once(_: float) -> None:
    await asyncio.sleep(0)


@dataclass
class Parts:
    """What is built anew when a node starts again."""

    records: Records
    state: State
    store: Store
    transfers: Transfers
    trust: Trust
    wants: Wants
    replicator: Replicator
    announcer: Announcer
    exports: RegistryExports
    providers: Providers
    offers: Offers
    tag_rules: TagRules
    limiter: Limiter
    pins: Pins
    tasks: list[asyncio.Task[None]]


@dataclass
class MeshNode:
    """One node."""

    name: str
    directory: Path
    made: Network
    signer: Signer
    time: ManualTime
    rules: Sequence[ReplicateRule] = ()
    platforms: Sequence[str] = ("linux/amd64",)
    quota_bytes: int = 0
    share: Sequence[str] = ()
    maps: Sequence[str] = ()
    tag_policies: Sequence[str] = ()
    disk: Disk | None = None
    registries: RegistryOptions = field(default_factory=RegistryOptions)
    peers: LinkedPeers = field(default_factory=LinkedPeers)
    getter_of: Callable[[Getter], object] = lambda getter: getter
    node: Node | None = None
    parts: Parts | None = None
    ends: list[Callable[[], None]] = field(default_factory=list)
    clock: Callable[[], float] | None = None
    day: Callable[[], float] | None = None
    """The time of day, as the wants see it."""
    settle: Sleep = field(default=_at_once)
    """Between two looks of announcer and replicator."""

    @property
    def id(self) -> EndpointId:
        return self.signer.id

    @property
    def address(self) -> PeerAddress:
        assert self.node is not None
        return self.node.address

    @property
    def p(self) -> Parts:
        assert self.parts is not None
        return self.parts

    async def start(self) -> None:
        store = await asyncio.to_thread(Store.open, self.directory / "store", disk=self.disk)
        if self.node is None:
            self.node = await _endpoint(store, self.made, self.id)
        else:
            self.node.provider = Provider(store, self.node.shaper)
            self.node.getter = Getter(store, self.node.pool, patience=hasty, shaper=self.node.shaper)
        state = State.open(self.directory / "state.db")
        now = self.clock or _now()
        records = Records.open(self.directory / "records.db", self.signer, now=now)
        records.claim(self.name)
        trust = Trust(records, None, "test")
        platforms = Platforms(self.platforms)
        policies = TagPolicies.parse(self.tag_policies, [self.id])
        offers, rules = Offers(records, trust, platforms, policies), TagRules(policies, records)
        providers = Providers(records, offers, self.id, self.peers.sessions, clock=self.time)
        transfers = Transfers()
        exports = RegistryExports(
            state,
            store,
            Exporter(store),
            transfers,
            self.registries,
            clock=self.time,
            sleep=self.time.sleep,
        )
        limiter = Limiter(self.node.shaper, state, Limits.parse({}))
        wants = Wants(
            state,
            records,
            store,
            self.getter_of(self.node.getter),  # type: ignore[arg-type]
            transfers,
            self.peers,
            offers=offers,
            providers=providers,
            arrivals=Arrivals(store, state, platforms, exports, rules, offers),
            approve_above=lambda: limiter.limits.budgets.approve_above,
            now=self.day or self.time,
            clock=self.time,
            sleep=self.time.sleep,
        )
        limiter.on_change(wants.limits_changed)
        policy, pins = Policy(self.rules, platforms), Pins(state)
        replicator = Replicator(
            policy,
            records,
            wants,
            store,
            state,
            trust,
            providers,
            pins=pins,
            quota=Quota(self.quota_bytes),
            tags=rules,
            sleep=self.settle,
        )
        maps = NameMaps.parse(self.maps)
        announcer = Announcer(
            self.name,
            records,
            store,
            state,
            offers,
            wants=wants,
            exports=exports,
            shares=Clearance(store, self.share, maps.of).shares_package,
            maps=maps,
            sleep=self.settle,
        )
        loops = (wants.run(), replicator.run(), announcer.run(), exports.run())
        tasks = [asyncio.create_task(each) for each in loops]
        self.parts = Parts(
            records,
            state,
            store,
            transfers,
            trust,
            wants,
            replicator,
            announcer,
            exports,
            providers,
            offers,
            rules,
            limiter,
            pins,
            tasks,
        )

    async def stop(self) -> None:
        """Of the program; its network stays."""
        parts, self.parts = self.parts, None
        if parts is None:
            return
        for end in self.ends:
            end()
        self.ends.clear()
        for task in parts.tasks:
            task.cancel()
        await asyncio.gather(*parts.tasks, return_exceptions=True)
        await parts.transfers.close()
        parts.trust.close()
        parts.records.close()
        parts.state.close()
        await asyncio.to_thread(parts.store.close)

    def content(self, reference: str) -> StoredPackage | None:
        return self.p.store.package(reference)

    def document(self, doc_id: str) -> dict[str, object]:
        found = self.p.records.get("packages", doc_id)
        return dict(found.fields) if found is not None else {}

    def add(
        self, reference: str | None, layers: Sequence[bytes], *, arch: str = "amd64", **fields: object
    ) -> StoredPackage:
        """A package that a person imports here."""
        stored = put_image(self.p.store, layers, arch=arch, **fields)
        self.p.store.remove_package(stored.root.digest)
        named = StoredPackage(reference, stored.root, stored.collection, stored.blobs, stored.bytes)
        self.p.store.add_package(named)
        return named


def put_image(
    store: Store, layers: Sequence[bytes], *, arch: str = "amd64", **fields: object
) -> StoredPackage:
    config = encoded(
        {"architecture": arch, "os": "linux", "layers": [str(sha256_of(each)) for each in layers]}
    )
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": str(sha256_of(config)), "size": len(config)},
        "layers": [
            {"mediaType": OCI_LAYER, "digest": str(sha256_of(each)), "size": len(each)} for each in layers
        ],
    } | fields
    manifest = json.dumps(document, separators=(",", ":")).encode()
    assert parse_manifest(manifest, None)
    return put_package(store, manifest, [config, *layers])


async def _endpoint(store: Store, made: Network, id: EndpointId) -> Node:
    endpoint = made.memory.endpoint(
        id, alpns=(b"/iroh-bytes/4",), stall_seconds=5.0, connect_timeout_seconds=5.0, admit=everyone
    )
    pool = Pool(endpoint)
    shaper = Shaper()
    provider = Provider(store, shaper)
    peers = OpenPeers()
    serving = asyncio.create_task(peers.run(endpoint, pool, provider))
    getter = Getter(store, pool, patience=hasty, shaper=shaper)
    return Node(store, endpoint, pool, provider, getter, peers, shaper, serving)


def _now() -> Callable[[], float]:
    """Seconds that go on by a hundredth at each look, so that later is later."""
    at = [1_700_000_000.0]

    def now() -> float:
        at[0] += 0.01
        return at[0]

    return now


class Mesh:
    """All nodes of a test."""

    def __init__(self, directory: Path, made: Network) -> None:
        self.directory = directory
        self.made = made
        self.time = ManualTime()
        self.nodes: dict[str, MeshNode] = {}
        self.clock = _now()

    async def node(self, name: str, **options: object) -> MeshNode:
        directory = self.directory / name
        directory.mkdir()
        seed = bytes([len(self.nodes) + 1]) * 32
        Ed25519PrivateKey.from_private_bytes(seed)
        made = MeshNode(
            name,
            directory,
            self.made,
            Signer(seed),
            self.time,
            clock=self.clock,
            **options,  # type: ignore[arg-type]
        )
        self.nodes[name] = made
        await made.start()
        return made

    def link(self, one: MeshNode, other: MeshNode) -> None:
        """A session between them: records go to and fro from now on."""
        loop = asyncio.get_running_loop()

        def exchange() -> None:
            if other.id in one.peers.linked and one.parts and other.parts:
                copy_records(one, other)
                copy_records(other, one)

        for near in (one, other):
            near.ends.append(near.p.records.on_advanced(lambda _: loop.call_soon_threadsafe(exchange)))
        one.peers.change(other.address, True)
        other.peers.change(one.address, True)
        exchange()

    def unlink(self, one: MeshNode, other: MeshNode) -> None:
        one.peers.change(other.address, False)
        other.peers.change(one.address, False)


def copy_records(source: MeshNode, target: MeshNode) -> None:
    known = target.p.records.heads()
    for signer, head in source.p.records.heads().items():
        after = known[signer].sequence if signer in known else 0
        while after < head.sequence and (batch := source.p.records.since(signer, after)) is not None:
            target.p.records.merge([batch], source.id)
            after = batch.upto


@contextlib.asynccontextmanager
async def mesh(directory: Path) -> AsyncIterator[Mesh]:
    async with network("memory") as made:
        all_nodes = Mesh(directory, made)
        try:
            yield all_nodes
        finally:
            for node in all_nodes.nodes.values():
                await node.stop()
                if node.node is not None:
                    await node.node.vanish()


def layer(number: int, size: int = 40_000) -> bytes:
    """Another one for each number."""
    return real_bytes(size, number * size)


async def calm(*nodes: MeshNode) -> None:
    """Until their loops have looked at everything and wait for something new."""
    quiet = 0

    def is_quiet() -> bool:
        nonlocal quiet
        wakes = [each._wake for node in nodes for each in (node.p.wants, node.p.replicator, node.p.announcer)]
        is_waiting = all(wake.is_waiting and not wake._event.is_set() for wake in wakes)
        quiet = quiet + 1 if is_waiting else 0
        return quiet > 20

    await until(is_quiet)


async def wanted(node: MeshNode, name: str, state: str) -> None:
    """Until the want of that name is in that state."""
    await until(lambda: any(each.state == state for each in node.p.wants.list() if each.name == name))


__all__ = ["Mesh", "MeshNode", "address_of", "copy_records", "layer", "mesh", "put_image", "wanted"]
