"""What the registry endpoint has been asked, for `/metrics`: counted around it, message by message."""

import re
from collections import Counter
from collections.abc import Iterable

from peat_sidecar.http import App, Listener, Message, Receive, Scope, Send
from peat_sidecar.metrics import Metrics

_KINDS = re.compile(r"/v2/.+/(?:(blobs/uploads)/[^/]*|(blobs|manifests|referrers)/[^/]+|(tags)/list)")
_UNANSWERED = "none"
"""The status where a client left first."""


def count_requests(listeners: Iterable[Listener], metrics: Metrics) -> None:
    """Counts what is asked of them, together, from now on."""
    counts = _Counts(metrics)
    for listener in listeners:
        listener.app = _Counted(listener.app, counts)


class _Counts:
    """Of all listeners."""

    def __init__(self, metrics: Metrics) -> None:
        self.requests = metrics.registry_requests
        self.running: Counter[str] = Counter()
        self.received_bytes = self.sent_bytes = 0
        metrics.gauges(
            "registry_running_requests", "Requests that are not answered yet.", "kind", lambda: self.running
        )
        metrics.counter("registry_sent_bytes", "Bytes of its answers' bodies.", lambda: self.sent_bytes)
        metrics.counter(
            "registry_received_bytes", "Bytes of bodies that were sent to it.", lambda: self.received_bytes
        )


class _Counted:
    """An application whose requests are counted."""

    def __init__(self, app: App, counts: _Counts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        counts, kind, status = self._counts, kind_of(scope["path"]), _UNANSWERED

        async def counted_receive() -> Message:
            message = await receive()
            counts.received_bytes += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = f"{message['status'] // 100}xx"
            await send(message)
            counts.sent_bytes += len(message.get("body", b""))

        counts.running[kind] += 1
        try:
            await self._app(scope, counted_receive, counted_send)
        finally:
            counts.running[kind] -= 1
            counts.requests.labels(kind, status).inc()


def kind_of(path: str) -> str:
    """`uploads`, `blobs`, `manifests`, `referrers`, `tags`, or `other`: all else, as the catalogue."""
    found = _KINDS.fullmatch(path)
    return next(filter(None, found.groups())).rpartition("/")[2] if found else "other"
