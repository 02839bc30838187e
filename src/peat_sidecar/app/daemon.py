"""The only place that builds things: one task group, and the order of start and stop.

Start: store (which locks the data directory), state, identity, records, endpoint, mesh, API; each is a
`ConfigError` or none of it runs. Stop, the other way round: no new calls, transfers end and keep what came,
the API answers what it was asked, the mesh ends, connections close, the store puts partial blobs away.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version

import structlog
import uvloop

from peat_sidecar.app.logs import configure_logs
from peat_sidecar.app.mesh import (
    Ground,
    Mesh,
    agent_id_of,
    follow_roster,
    formation_of,
    identity_of,
    keep_bans,
    limits_of,
    name_maps_of,
    peers_of,
)
from peat_sidecar.app.process import (
    heed_signals,
    keep_freed_memory,
    keep_going,
    leave_soon,
    raise_file_limit,
    share_arenas,
    spare_the_collector,
)
from peat_sidecar.app.upstreams import count_upstreams, pull_through_of
from peat_sidecar.classes import TransferClass
from peat_sidecar.config import Settings
from peat_sidecar.confined import Roots
from peat_sidecar.http import Listener, Server
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh import Syncer, Trust
from peat_sidecar.metrics import Metrics
from peat_sidecar.net import IrohEndpoint, Pool, watch_network
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.records import Records
from peat_sidecar.registry import Mirroring, count_requests, drop_abandoned, open_registry
from peat_sidecar.rpc import Application, Node, NodePhase, Parts, open_listeners
from peat_sidecar.state import State
from peat_sidecar.store import Store
from peat_sidecar.transfer import Clearance, Exporter, Getter, Importer, Limiter, Provider, Shaper, Transfers
from peat_sidecar.wire import ALPN, MESH_ALPN

_log = structlog.get_logger(__name__)


def serve(settings: Settings) -> None:
    """Runs the daemon in this process until SIGTERM or SIGINT."""
    share_arenas()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))
        leave_soon()


async def run(
    settings: Settings,
    ready: Callable[[], None] | None = None,
    *,
    stop: asyncio.Event | None = None,
) -> None:
    """Runs until a signal, or until `stop` is set; calls `ready` when everything is served.

    `ConfigError` when it cannot start as it is told to.
    """
    configure_logs(settings)
    raise_file_limit()
    stop = stop or asyncio.Event()
    heed_signals(stop)
    async with AsyncExitStack() as stack:
        daemon = await _Daemon.build(settings, stack)
        keep_freed_memory()
        spare_the_collector()
        await daemon.run(stop, ready)


class _Daemon:
    """What was built, while it runs."""

    def __init__(
        self,
        parts: Parts,
        application: Application,
        endpoint: IrohEndpoint,
        pool: Pool,
        provider: Provider,
        mesh: Mesh,
        listeners: list[Listener],
        registry: list[Listener],
    ) -> None:
        self._parts = parts
        self._application = application
        self._endpoint = endpoint
        self._pool = pool
        self._provider = provider
        self._mesh = mesh
        self._listeners = listeners
        self._registry = registry
        self._server = Server([*listeners, *registry])

    @classmethod
    async def build(cls, settings: Settings, stack: AsyncExitStack) -> "_Daemon":
        """Opens everything; what it opened is closed by the stack, in reverse."""
        formation = formation_of(settings)
        folder = settings.data_dir
        store = await asyncio.to_thread(Store.open, folder)
        stack.push_async_callback(asyncio.to_thread, store.close)
        state = await asyncio.to_thread(State.open, folder / "state.db")
        stack.push_async_callback(asyncio.to_thread, state.close)
        identity = identity_of(settings, formation)
        records = await asyncio.to_thread(Records.open, folder / "records.db", identity.signer)
        stack.push_async_callback(asyncio.to_thread, records.close)
        trust = await asyncio.to_thread(_trust, settings, records)
        stack.callback(trust.close)
        shaper = Shaper()
        stack.callback(shaper.close)
        syncer = Syncer(records, is_crowded=lambda: shaper.fills_links)
        stack.push_async_callback(syncer.close)
        peers = peers_of(settings, formation, state, syncer, trust)
        endpoint = await IrohEndpoint.bind(
            identity.secret_key,
            bind_addresses=settings.listen,
            alpns=[ALPN, MESH_ALPN] if formation is not None else [ALPN],
            advertise=settings.advertise,
            stall_seconds=settings.stall_seconds,
            admit=peers.admits,
        )
        stack.push_async_callback(endpoint.close)
        pool = Pool(endpoint)
        stack.push_async_callback(pool.close)
        stack.callback(watch_network(pool.returns.network_changed))
        stack.callback(follow_roster(trust, peers))
        agent_id = agent_id_of(settings, identity.signer.id)
        await asyncio.to_thread(records.claim, agent_id)
        await asyncio.to_thread(keep_bans, peers, records)
        limiter = Limiter(shaper, state, limits_of(settings))
        endpoint.on_connection = shaper.watch
        clearance = Clearance(store, settings.share, name_maps_of(settings).of)
        provider, transfers = Provider(store, shaper, clearance.clears), Transfers()
        stack.push_async_callback(transfers.close)
        ground = Ground(
            settings=settings,
            endpoint=endpoint,
            store=store,
            state=state,
            records=records,
            trust=trust,
            peers=peers,
            transfers=transfers,
            importer=Importer(store),
            exporter=Exporter(store),
            getter=Getter(store, pool, shaper=shaper, clearance=clearance),
            clearance=clearance,
            limiter=limiter,
            registries=_registries(settings),
            agent_id=agent_id,
            formation=formation,
        )
        mesh = Mesh(ground)
        stack.push_async_callback(mesh.close)
        pulls, metrics = pull_through_of(ground), _metrics(provider, shaper)
        stack.push_async_callback(pulls.close)
        count_upstreams(metrics, pulls)
        parts = Parts(
            node=Node(endpoint, version("peat-sidecar"), agent_id),
            store=store,
            peers=peers,
            transfers=transfers,
            importer=ground.importer,
            exporter=ground.exporter,
            getter=ground.getter,
            limiter=limiter,
            import_roots=Roots(settings.import_roots, option="--import-root"),
            export_roots=Roots(settings.export_roots, option="--export-root"),
            registries=ground.registries,
            metrics=metrics,
            state=state,
            records=records,
            syncer=syncer,
            trust=trust,
            providers=mesh.providers,
            wants=mesh.wants,
            replicator=mesh.replicator,
            pins=mesh.pins,
            collector=mesh.collector,
            exports=mesh.exports,
            watchers=mesh.watchers,
            app_id=settings.app_id if formation is not None else "",
        )
        application = Application(parts)
        listeners = open_listeners(application.app, settings)
        for listener in listeners:
            stack.callback(listener.close)
        elsewhere = Mirroring(mesh.on_demand, pulls, settings.registry_default)
        registry = await asyncio.to_thread(open_registry, store, settings, elsewhere, mesh.tags)
        for listener in registry:
            stack.callback(listener.close)
        count_requests(registry, parts.metrics)
        return cls(parts, application, endpoint, pool, provider, mesh, listeners, registry)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] | None) -> None:
        """Serves until `stop` is set, then takes everything down."""
        async with asyncio.TaskGroup() as group:
            peers = self._parts.peers
            accepting = group.create_task(
                peers.run(self._endpoint, self._pool, self._provider), name="accept peers"
            )
            going = [
                group.create_task(keep_going(name, run), name=name) for name, run in self._runs().items()
            ]
            try:
                await self._server.start()
                await self._mesh.start()
                self._announce()
                if ready is not None:
                    ready()
                await stop.wait()
            finally:
                self._parts.node.phase = NodePhase.SHUTTING_DOWN
                _log.info("stopping")
                self._application.close()
                for task in going:
                    task.cancel()
                await self._stop()
            await accepting
        _log.info("stopped")

    def _runs(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What goes on for as long as the daemon, by name."""
        store = self._parts.store
        return {**self._mesh.runs(), "drop abandoned uploads": lambda: drop_abandoned(store)}

    async def _stop(self) -> None:
        steps: list[Callable[[], Awaitable[None]]] = [
            self._parts.transfers.close,
            self._server.close,
            self._mesh.close,
            self._parts.peers.stop_dialling,  # before the endpoint, which would wait for the answers
            self._pool.close,
            self._endpoint.close,
        ]
        for step in steps:
            await step()

    def _announce(self) -> None:
        node = self._parts.node
        node.phase = NodePhase.READY
        apis = " ".join(str(listener.address) for listener in self._listeners)
        registry = " ".join(str(each.address).removeprefix("tcp://") for each in self._registry)
        with suppress(OSError):  # whoever started it may not listen any more
            print(f"ready: {node.address} api: {apis}{registry and f' registry: {registry}'}", flush=True)
        _log.info("ready", node=str(node.address), api=apis, registry=registry, version=node.version)


def _trust(settings: Settings, records: Records) -> Trust:
    admin = EndpointId.parse(settings.roster_admin) if settings.admission == "key+roster" else None
    trust = Trust(records, admin, settings.app_id)
    if admin is not None and settings.roster is not None:
        trust.load_file(settings.roster)
    if trust.waits_for_roster:
        _log.warning("there is no roster yet, so nobody can join; load one with `peat-sidecar roster load`")
    return trust


def _registries(settings: Settings) -> RegistryOptions:
    return RegistryOptions(
        auth_file=settings.auth_file, ca_file=settings.ca_file, plain_http=frozenset(settings.plain_http)
    )


def _metrics(provider: Provider, shaper: Shaper) -> Metrics:
    metrics = Metrics()
    metrics.counter("provider_sent_bytes", "Bytes of answers to peers.", lambda: provider.sent_bytes)
    metrics.counters(
        "fetched_wire_bytes",
        "Bytes of answers from peers, by the class of what was fetched.",
        "class",
        lambda: {each.value: shaper.down.heard_bytes[each] for each in TransferClass},
    )
    metrics.counter("provider_answered", "Requests of peers that were answered.", lambda: provider.answered)
    metrics.counter("provider_refused", "Requests of peers that were not.", lambda: provider.refused)
    return metrics
