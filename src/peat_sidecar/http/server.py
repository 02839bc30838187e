"""Listeners: hypercorn's HTTP/1.1 and HTTP/2 on sockets of our own.

Hypercorn brings the protocols; accepting is done here, because it bounds neither the number of connections
nor the end of a slow one.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import structlog
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from peat_sidecar.config import ApiAddress
from peat_sidecar.errors import ConfigError
from peat_sidecar.http.asgi import App, Receive, Scope, Send
from peat_sidecar.http.connection import Connection
from peat_sidecar.http.sockets import remove_socket_file, socket_file

CONNECTIONS_LIMIT = 128
"""Per listener, unless it has a limit of its own; each may hold about 200 KB in buffers."""
IDLE_SECONDS = 75.0
"""A connection without a request is closed after so long; no usual interval of pollers, so that calls and
closes seldom cross."""
FIRST_SECONDS = 20.0
"""The first request has to begin within this time."""
_LATE = 1.5
"""Of the idle time; what hypercorn has not closed by then is cut."""
_HANDSHAKE_SECONDS = 10.0
_GRACE_SECONDS = 3.0
_CUT_SECONDS = 1.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Listener:
    """A bound socket and what is served on it."""

    bound: socket.socket
    app: App
    tls: ssl.SSLContext | None = None
    connections_limit: int | None = None
    _file: tuple[str, int] | None = field(init=False)

    def __post_init__(self) -> None:
        self._file = socket_file(self.bound)

    @property
    def address(self) -> ApiAddress:
        """Where it is, with the port that was taken."""
        name = self.bound.getsockname()
        if self.bound.family == socket.AF_UNIX:
            return ApiAddress(path=Path(name))
        return ApiAddress(host=name[0], port=name[1])

    def close(self) -> None:
        """Nobody finds it any more; the file of a unix socket goes. Closing twice is fine."""
        if self._file is not None:
            remove_socket_file(self._file)
            self._file = None
        self.bound.close()


class Server:
    """Serves from `start` to `close`. Lives on one event loop."""

    def __init__(self, listeners: Iterable[Listener], *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._listeners = tuple(listeners)
        self._idle_seconds = idle_seconds
        self._config = _config(idle_seconds)
        self._context = WorkerContext(None)
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Accepts from now on."""
        for listener in self._listeners:
            serve = _Handler(self, listener).serve
            if listener.bound.family == socket.AF_UNIX:
                self._servers.append(await asyncio.start_unix_server(serve, sock=listener.bound))
                continue
            handshake: dict[str, Any] = {"ssl_handshake_timeout": _HANDSHAKE_SECONDS} if listener.tls else {}
            self._servers.append(
                await asyncio.start_server(serve, sock=listener.bound, ssl=listener.tls, **handshake)
            )

    async def close(self) -> None:
        """Accepts no more, lets answers come to their end for a few seconds, then cuts."""
        for server in self._servers:
            server.close()
        for listener in self._listeners:
            listener.close()
        await self._context.terminated.set()
        tasks = set(self._connections)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_CUT_SECONDS)


class _Handler:
    """The connections of one listener."""

    def __init__(self, server: Server, listener: Listener) -> None:
        self._server = server
        self._app = listener.app
        self._name = str(listener.address)
        self._limit = listener.connections_limit or CONNECTIONS_LIMIT
        self._open = 0
        self._full = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= self._limit:
            if not self._full:
                _log.warning("connections are refused: too many are open", at=self._name)
            self._full = True
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        connections = self._server._connections
        connections.add(task)
        self._open += 1
        try:
            await self._serve(task, reader, writer)
        except asyncio.CancelledError:
            _log.debug("a connection was cut", at=self._name)  # the outermost frame of its task
        except Exception as error:  # noqa: BLE001 - the edge of the connection's task
            # Hypercorn trips over bytes that come after an answer was given early, and over broken frames.
            _log.debug("a connection ended in a fault", at=self._name, error=repr(error))
        finally:
            self._open -= 1
            self._full = self._open >= self._limit // 2 and self._full
            connections.discard(task)
            with suppress(Exception):
                writer.transport.abort()

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        loop, server = asyncio.get_running_loop(), self._server
        idle = _Idle(self._app, writer.transport, task, server._idle_seconds)
        app = ASGIWrapper(cast(Any, idle))
        try:
            await Connection(app, loop, server._config, server._context, {}, reader, writer)
        finally:
            idle.end()


class _Idle:
    """Cuts a connection that has had no request for some time.

    Hypercorn does so too, but forgets it from a preface of HTTP/2 to the first request after it, and stands
    still for ever where a body goes on after its answer.
    """

    def __init__(
        self, app: App, transport: asyncio.WriteTransport, task: asyncio.Task[None], seconds: float
    ) -> None:
        self._app = app
        self._transport = transport
        self._task = task
        self._seconds = seconds
        self._requests = 0
        self._ended = False
        self._timer = self._start(min(FIRST_SECONDS, seconds))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._timer.cancel()
        self._requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests -= 1
            if not self._requests and not self._ended:
                self._timer = self._start(self._seconds * _LATE)

    def end(self) -> None:
        """The connection is gone."""
        self._ended = True
        self._timer.cancel()

    def _start(self, seconds: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._cut)

    def _cut(self) -> None:
        self._transport.abort()
        self._task.cancel()


def tls_context(certificate: Path, key: Path, setting: str) -> ssl.SSLContext:
    """TLS 1.2 or later with HTTP/2. `ConfigError` when the files are no certificate with its key; `setting`
    is how the names of the two settings begin.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(
            f"{setting}_tls_cert {certificate} and {setting}_tls_key {key} cannot be used: {reason};"
            " both are PEM files, and the key is that of the certificate"
        ) from None
    return context


def _config(idle_seconds: float) -> Config:
    config = Config()
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.keep_alive_timeout = cast(int, idle_seconds)
    config.h2_max_concurrent_streams = 64
    config.websocket_max_message_size = 0
    return config
