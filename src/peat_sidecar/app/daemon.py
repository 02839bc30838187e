"""The only place that builds things: one task group, and the order of start and stop.

Start: store (which locks the data directory), identity, endpoint, API; each is a `ConfigError` or none of it
runs. Stop, the other way round: no new calls, transfers end and keep what came, the API answers what it was
asked, connections close, the store puts partial blobs away.
"""

import asyncio
import ctypes
import gc
import os
import resource
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version

import structlog
import uvloop

from peat_sidecar.app.logs import configure_logs
from peat_sidecar.config import Settings
from peat_sidecar.confined import Roots
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh import Peers
from peat_sidecar.metrics import Metrics
from peat_sidecar.net import IrohEndpoint, Pool, load_identity
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.rpc import Application, Listener, Node, NodePhase, Parts, Server, open_listeners
from peat_sidecar.store import Store
from peat_sidecar.transfer import Exporter, Getter, Importer, Provider, Transfers
from peat_sidecar.wire import ALPN

STOP_SECONDS = 9.0
"""After a signal the process ends within this time, whatever hangs: the store bears it."""
_FILES = 65536

# malloc.h of glibc
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_log = structlog.get_logger(__name__)


def serve(settings: Settings) -> None:
    """Runs the daemon in this process until SIGTERM or SIGINT."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))


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
    _raise_file_limit()
    stop = stop or asyncio.Event()
    _heed_signals(stop)
    async with AsyncExitStack() as stack:
        daemon = await _Daemon.build(settings, stack)
        _keep_freed_memory()
        _spare_the_collector()
        await daemon.run(stop, ready)


class _Daemon:
    """What was built, while it runs."""

    def __init__(
        self, parts: Parts, endpoint: IrohEndpoint, pool: Pool, provider: Provider, listeners: list[Listener]
    ) -> None:
        self._parts = parts
        self._endpoint = endpoint
        self._pool = pool
        self._provider = provider
        self._listeners = listeners
        self._server = Server(listeners)

    @classmethod
    async def build(cls, settings: Settings, stack: AsyncExitStack) -> "_Daemon":
        """Opens everything; what it opened is closed by the stack, in reverse."""
        peers = _peers(settings)
        store = await asyncio.to_thread(Store.open, settings.data_dir)
        stack.push_async_callback(asyncio.to_thread, store.close)
        identity = load_identity(settings.data_dir / "identity.key")
        endpoint = await IrohEndpoint.bind(
            identity,
            bind_addresses=settings.listen,
            alpns=[ALPN],
            stall_seconds=settings.stall_seconds,
            admit=peers.admits,
        )
        stack.push_async_callback(endpoint.close)
        pool = Pool(endpoint)
        stack.push_async_callback(pool.close)
        provider, transfers = Provider(store), Transfers()
        stack.push_async_callback(transfers.close)
        parts = Parts(
            node=Node(endpoint, version("peat-sidecar")),
            store=store,
            peers=peers,
            transfers=transfers,
            importer=Importer(store),
            exporter=Exporter(store),
            getter=Getter(store, pool),
            import_roots=Roots(settings.import_roots, option="--import-root"),
            export_roots=Roots(settings.export_roots, option="--export-root"),
            registries=_registries(settings),
            metrics=_metrics(provider),
        )
        listeners = open_listeners(Application(parts).app, settings)
        for listener in listeners:
            stack.callback(listener.close)
        return cls(parts, endpoint, pool, provider, listeners)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] | None) -> None:
        """Serves until `stop` is set, then takes everything down."""
        async with asyncio.TaskGroup() as group:
            peers = self._parts.peers
            accepting = group.create_task(
                peers.run(self._endpoint, self._pool, self._provider), name="accept peers"
            )
            dialling = group.create_task(self._dial(), name="dial named peers")
            try:
                await self._server.start()
                self._announce()
                if ready is not None:
                    ready()
                await stop.wait()
            finally:
                self._parts.node.phase = NodePhase.SHUTTING_DOWN
                _log.info("stopping")
                dialling.cancel()
                await self._stop()
            await accepting
        _log.info("stopped")

    async def _stop(self) -> None:
        steps: list[Callable[[], Awaitable[None]]] = [
            self._parts.transfers.close,
            self._server.close,
            self._pool.close,
            self._endpoint.close,
        ]
        for step in steps:
            await step()

    async def _dial(self) -> None:
        """Each named peer once, so that it is known early who cannot be reached; a fetch dials again."""
        for known in self._parts.peers.list():
            if known.addresses:
                peer = PeerAddress(known.endpoint_id, known.addresses)
                info = await self._parts.peers.connect(peer)
                if info.last_error:
                    _log.warning("a named peer cannot be reached", peer=str(peer), error=info.last_error)

    def _announce(self) -> None:
        node = self._parts.node
        node.phase = NodePhase.READY
        apis = " ".join(str(listener.address) for listener in self._listeners)
        with suppress(OSError):  # whoever started it may not listen any more
            print(f"ready: {node.address} api: {apis}", flush=True)
        _log.info("ready", node=str(node.address), api=apis, version=node.version)


def _peers(settings: Settings) -> Peers:
    try:
        named = [PeerAddress.parse(text) for text in settings.peers]
    except ConfigError as error:
        raise ConfigError(f"peers (--peer, PEAT_SIDECAR_PEERS): {error}") from None
    try:
        allowed = [EndpointId.parse(text) for text in settings.allow]
    except ConfigError as error:
        raise ConfigError(f"allow (--allow, PEAT_SIDECAR_ALLOW): {error}") from None
    return Peers(named=named, allowed=allowed)


def _registries(settings: Settings) -> RegistryOptions:
    return RegistryOptions(
        auth_file=settings.auth_file, ca_file=settings.ca_file, plain_http=frozenset(settings.plain_http)
    )


def _metrics(provider: Provider) -> Metrics:
    metrics = Metrics()
    metrics.counter("provider_sent_bytes", "Bytes of answers to peers.", lambda: provider.sent_bytes)
    metrics.counter("provider_answered", "Requests of peers that were answered.", lambda: provider.answered)
    metrics.counter("provider_refused", "Requests of peers that were not.", lambda: provider.refused)
    return metrics


def _keep_freed_memory() -> None:
    """Has glibc keep the megabytes that streams and files are read into, instead of giving them back to the
    kernel and taking them anew each time: a fetch spends a tenth less of the processor. Other C libraries do
    as they do.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


def _spare_the_collector() -> None:
    """What lives as long as the program is not looked at again by the garbage collector. Each read of a
    stream makes a few objects that could be part of a cycle, so that the collector took a fifth of a fetch's
    time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _raise_file_limit() -> None:
    """As many open files as the system allows; the usual 1,024 are few for peers, blobs and calls at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _heed_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def stop_soon() -> None:
        if stop.is_set():  # asked twice: now
            os._exit(1)
        stop.set()
        # A thread that reads a slow disk cannot be cancelled, and would keep the process alive.
        timer = threading.Timer(STOP_SECONDS, os._exit, (1,))
        timer.daemon = True
        timer.start()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop_soon)
