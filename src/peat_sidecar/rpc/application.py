"""The ASGI application: the service in all three protocols, health, readiness and metrics."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Self, cast

from connectrpc.code import Code
from connectrpc.codec import proto_binary_codec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from peat_sidecar.http import App, Receive, Scope, Send
from peat_sidecar.metrics import CONTENT_TYPE
from peat_sidecar.records import RecordsStatus
from peat_sidecar.rpc.asgi import explained, refuse
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

_WORDS = {
    404: "there is no such call; proto/peat_sidecar.proto lists them",
    405: "a call is a POST",
    415: "a call is a POST of JSON with the header `Content-Type: application/json`; one that is answered by"
    " a stream has `Content-Type: application/connect+json`, and its JSON in a frame",
}
_WANT_STATES = ("waiting", "fetching", "failed", "done")

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Stored:
    """What takes a look at the disk, or at thousands of things."""

    usage: Usage
    records: RecordsStatus
    wants: Counter[str]
    """By state."""
    exports: int

    @classmethod
    def read(cls, parts: Parts) -> Self:
        """Blocks."""
        wants: Counter[str] = Counter(want.state for want in parts.wants.list())
        return cls(parts.store.usage(), parts.records.status(), wants, len(parts.exports.pending()))


class Application:
    """What is served. `app` trusts who calls; `Access` goes around it where not everyone is."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stored: _Stored | None = None
        self._calls = Service(parts)
        self._service = PeatSidecarASGIApplication(
            cast(Any, self._calls),
            interceptors=[Failures(parts.metrics)],
            read_max_bytes=BODY_LIMIT_BYTES,
            codecs=[proto_binary_codec(), JsonCodec()],
        )
        self.app: App = Starlette(
            routes=[
                Mount(self._service.path, app=cast(Any, explained(cast(App, self._service), _WORDS))),
                _route("/healthz", self._health),
                _route("/readyz", self._ready),
                _route("/metrics", self._metrics),
                Mount("/", app=cast(Any, _not_found)),
            ]
        )
        _register(parts)
        _register_stored(parts, lambda: self._stored)

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
        self._stored = await asyncio.to_thread(_Stored.read, self._parts)
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


def _register(parts: Parts) -> None:
    metrics, peers, transfers, syncer = parts.metrics, parts.peers, parts.transfers, parts.syncer
    metrics.gauge("ready", "1 while the daemon is ready.", lambda: parts.node.phase is NodePhase.READY)
    metrics.gauge("peers", "Peers that are known.", lambda: len(peers.list()))
    metrics.gauge("connected_peers", "Peers that a connection is open to.", lambda: peers.connected)
    metrics.gauge("running_transfers", "Transfers that go on.", lambda: len(transfers.running()))
    metrics.gauge("sync_active", "1 while documents are exchanged.", lambda: parts.exchanges_documents)
    metrics.gauge("sync_sessions", "Peers that documents are exchanged with.", lambda: syncer.sessions)
    metrics.counter("sync_sent_bytes", "Bytes of the exchange of documents.", lambda: syncer.sent_bytes)
    metrics.counter("sync_received_bytes", "Bytes of the same from peers.", lambda: syncer.received_bytes)
    metrics.gauge("bans", "Peers that are kept out here.", lambda: len(peers.bans()))
    metrics.gauge("half_open_handshakes", "Of peers that dial, under way.", lambda: peers.half_open)
    metrics.counters(
        "handshakes", "Of peers that dialled, by how they ended.", "result", lambda: asdict(peers.handshakes)
    )
    metrics.counters(
        "record_faults",
        "Records that were not believed, by what is wrong.",
        "kind",
        lambda: {kind.value: count for kind, count in parts.records.fault_counts().items()},
    )


def _register_stored(parts: Parts, last: Callable[[], _Stored | None]) -> None:
    metrics = parts.metrics

    def figure(read: Callable[[_Stored], int]) -> Callable[[], float]:
        return lambda: 0 if (found := last()) is None else read(found)

    def wants() -> dict[str, float]:
        return {} if (found := last()) is None else {state: found.wants[state] for state in _WANT_STATES}

    for name, help, read in (
        ("store_blobs", "Complete blobs in the store.", lambda found: found.usage.blobs),
        ("store_bytes", "Bytes of complete blobs.", lambda found: found.usage.bytes),
        ("store_partial_blobs", "Blobs of which a part is here.", lambda found: found.usage.partial_blobs),
        ("store_partial_bytes", "Bytes of these that are here.", lambda found: found.usage.partial_bytes),
        ("store_packages", "Packages in the store.", lambda found: found.usage.packages),
        ("store_free_bytes", "Room on the disk of the store.", lambda found: found.usage.free_bytes),
        ("documents", "Documents as they are after the merge.", lambda found: found.records.documents),
        ("records", "Records, those of deleted documents too.", lambda found: found.records.records),
        ("record_bytes", "Bytes of the records.", lambda found: found.records.bytes),
        ("signers", "Nodes that have records here.", lambda found: found.records.signers),
        ("records_set_aside", "Records from a clock that is far ahead.", lambda found: found.records.ahead),
        ("pending_exports", "Packages to be written to a registry yet.", lambda found: found.exports),
    ):
        metrics.gauge(name, help, figure(read))
    metrics.gauges("wants", "Packages that are wanted, and the last that came.", "state", wants)
