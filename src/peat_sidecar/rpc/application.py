"""The ASGI application: the service in all three protocols, health, readiness and metrics."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from connectrpc.code import Code
from connectrpc.codec import proto_binary_codec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from peat_sidecar.metrics import CONTENT_TYPE
from peat_sidecar.rpc.asgi import App, Receive, Scope, Send, refuse
from peat_sidecar.rpc.bounds import BODY_LIMIT_BYTES
from peat_sidecar.rpc.failures import Failures
from peat_sidecar.rpc.generated.peat_sidecar_connect import PeatSidecar, PeatSidecarASGIApplication
from peat_sidecar.rpc.generated.peat_sidecar_pb import NodePhase
from peat_sidecar.rpc.json_codec import JsonCodec
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.rpc.service import Service
from peat_sidecar.store import Usage

_NO_SIDE_EFFECTS = 1
"""`google.protobuf.MethodOptions.IdempotencyLevel`."""

Handler = Callable[[Request], Awaitable[Response]]


class Application:
    """What is served. `app` trusts who calls; `Access` goes around it where not everyone is."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._usage: Usage | None = None
        self._calls = Service(parts)
        self._service = PeatSidecarASGIApplication(
            cast(Any, self._calls),
            interceptors=[Failures(parts.metrics)],
            read_max_bytes=BODY_LIMIT_BYTES,
            codecs=[proto_binary_codec(), JsonCodec()],
        )
        self.app: App = Starlette(
            routes=[
                Mount(self._service.path, app=cast(Any, self._service)),
                _route("/healthz", self._health),
                _route("/readyz", self._ready),
                _route("/metrics", self._metrics),
                Mount("/", app=cast(Any, _not_found)),
            ]
        )
        _register(parts, lambda: self._usage)

    def close(self) -> None:
        """Ends answers that have no end of their own; what is asked later gets an error."""
        self._calls.close()

    async def _health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _ready(self, request: Request) -> Response:
        phase = self._parts.phase
        ready = phase in (NodePhase.READY, NodePhase.SYNCING)
        return PlainTextResponse(f"{phase.name.lower()}\n", 200 if ready else 503)

    async def _metrics(self, request: Request) -> Response:
        self._usage = await asyncio.to_thread(self._parts.store.usage)
        return Response(self._parts.metrics.render(), media_type=CONTENT_TYPE)


def reading_paths() -> list[str]:
    """Paths of the calls that change nothing, as the .proto file says."""
    service = PeatSidecar.desc()
    reading = (each.name for each in service.methods if each.idempotency == _NO_SIDE_EFFECTS)
    return [f"/{service.type_name}/{name}" for name in reading]


def _route(path: str, handler: Handler) -> Route:
    return Route(path, cast(Any, handler), methods=["GET"])


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    text = "there is nothing at this path; the calls are at /peat.sidecar.v1.PeatSidecar/<Name>"
    await refuse(scope, send, Code.NOT_FOUND, text)


def _register(parts: Parts, usage: Callable[[], Usage | None]) -> None:
    metrics, peers, transfers = parts.metrics, parts.peers, parts.transfers

    def stored(name: str) -> Callable[[], float]:
        return lambda: float(getattr(usage(), name, 0))

    metrics.gauge("ready", "1 while the daemon is ready.", lambda: parts.node.phase is NodePhase.READY)
    metrics.gauge("peers", "Peers that are admitted.", lambda: len(peers.list()))
    metrics.gauge("connected_peers", "Peers that a connection is open to.", lambda: peers.connected)
    metrics.gauge("running_transfers", "Transfers that go on.", lambda: len(transfers.running()))
    metrics.gauge("store_blobs", "Complete blobs in the store.", stored("blobs"))
    metrics.gauge("store_bytes", "Bytes of complete blobs.", stored("bytes"))
    metrics.gauge("store_partial_blobs", "Blobs of which a part is here.", stored("partial_blobs"))
    metrics.gauge("store_partial_bytes", "Bytes of partial blobs that are here.", stored("partial_bytes"))
    metrics.gauge("store_packages", "Packages in the store.", stored("packages"))
    metrics.gauge("store_free_bytes", "Room on the disk of the store.", stored("free_bytes"))
