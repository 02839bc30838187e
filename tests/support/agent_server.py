"""The cluster's agent as its API is documented: a Connect server on hypercorn, with oddities to switch on.

    async with AgentServer() as agent:
        agent.pull("registry.example:5000", "app", "registry.example:5000/team/app:v1", arch="amd64")
        AgentClient(agent.url)

It answers as a server in Go does: zeros left out, 64-bit numbers as strings, enums by name, HTTP/1.1 and h2c
on one port. What deviates is an attribute, which may be changed while it runs. `agent_in_thread` is for
tests without a loop of their own.
"""

import asyncio
import contextlib
import dataclasses
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from tests.support.registry import Certificate

Json = dict[str, Any]
LIST_PACKAGES = "/zarfapi.v1.ZarfAPIService/ListPackages"
LIST_PULLED = "/registryapi.v1.RegistryService/ListPulledPackages"
DEPLOY_STATUS = ("UNSPECIFIED", "DEPLOYING", "DEPLOYED", "DEPLOY_ERROR", "CANCELLED", "RECEIVING")
PULL_STATUS = ("UNSPECIFIED", "PENDING", "PULLING", "PULLED", "CANCELLED", "ERROR")
_INT64 = frozenset({"totalBytes", "downloadedBytes", "systemTime"})


@dataclasses.dataclass(slots=True)
class Seen:
    """One request, as it came."""

    method: str
    path: str
    http_version: str
    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass(slots=True)
class Reply:
    """An answer that is told instead of given."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
    stalls: Literal["", "before", "within"] = ""
    """Nothing comes: at all, or after the head and half of the body."""


def failure(status: int, code: str, message: str) -> Reply:
    """An error as Connect has it."""
    return Reply(status, json.dumps({"code": code, "message": message}).encode())


class AgentServer:
    """The server, on loopback. Its content is `status`, `deployed`, `registries`, in the API's own words."""

    def __init__(self, *, tls: Certificate | None = None, client_ca: Path | None = None) -> None:
        """With a CA for clients their certificates are asked for."""
        self.status: Json = {
            "version": "0.9.1",
            "architecture": "amd64",
            "classification": "",
            "k8sVersion": "v1.31.2+k3s1",
            "k8sNodeStatus": "Ready",
            "zarfVersion": "v0.42.1",
            "runMode": "cluster",
            "systemTime": 1_760_000_000,
        }
        self.deployed: list[Json] = []
        self.registries: list[Json] = []
        self.zeros_left_out = True
        self.nulls = False
        """Zeros are null."""
        self.int64_as_strings = True
        self.enums: Literal["names", "numbers", "numeric strings"] = "names"
        self.protocol: Literal["both", "h2c", "http/1.1"] = "both"
        self.rules: list[Callable[[Seen], Reply | None]] = []
        """Each sees a request first, and may answer it."""
        self.seen: list[Seen] = []
        self.connections = 0
        """Opened so far."""
        self._tls = _server_context(tls, client_ca) if tls else None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0

    @property
    def url(self) -> str:
        """What the agent's clients are told."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def deploy(self, name: str, version: str, status: int = 2, **fields: Any) -> Json:
        """Adds a deployed package; the entry, to be changed."""
        entry = {"name": name, "version": version, "status": status, "flavor": "", "namespaceOverride": ""}
        self.deployed.append(entry | {"annotations": {}} | fields)
        return self.deployed[-1]

    def pull(
        self,
        host: str,
        package: str,
        reference: str,
        *,
        repo: str = "",
        arch: str = "amd64",
        version: str = "",
        total_bytes: int = 0,
        status: int = 3,
        **fields: Any,
    ) -> Json:
        """Adds a package to a registry; the entry of its tag, to be changed."""
        registry = next((each for each in self.registries if each["host"] == host), None)
        if registry is None:
            registry = {"name": host.partition(".")[0], "host": host, "packages": []}
            self.registries.append(registry)
        found = next((each for each in registry["packages"] if each["packageName"] == package), None)
        if found is None:
            found = {"repoName": repo, "packageName": package, "tags": []}
            registry["packages"].append(found)
        pull_info = {"downloadedBytes": total_bytes, "status": status}
        tag = {"reference": reference, "arch": arch, "version": version, "totalBytes": total_bytes}
        found["tags"].append(tag | {"pullInfo": pull_info} | fields)
        return cast(Json, found["tags"][-1])

    def unpull(self, reference: str) -> None:
        """Takes a package out of its registry."""
        for registry in self.registries:
            for package in registry["packages"]:
                package["tags"] = [tag for tag in package["tags"] if tag["reference"] != reference]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; after a stop on the same port again."""
        # Named as TCP, so that asyncio sets TCP_NODELAY; else each answer waits 40 ms for a delayed ACK.
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", self._port))
        self._port = bound.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=bound, ssl=self._tls)

    async def stop(self) -> None:
        """As when the agent is killed."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._tls and self.protocol != "both":
                first = await reader.read(3)
                if (first == b"PRI") != (self.protocol == "h2c"):
                    # Of a server that speaks the other protocol only: one says so, one just hangs up.
                    if self.protocol == "http/1.1":
                        writer.write(b"HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n\r\n")
                        await writer.drain()
                    return
                cast(Any, reader)._buffer[:0] = first
            config = Config()
            config.errorlog = None
            if self.protocol == "http/1.1":
                config.alpn_protocols = ["http/1.1"]
            app = ASGIWrapper(cast(Any, self._app))
            loop = asyncio.get_running_loop()
            await TCPServer(app, loop, config, WorkerContext(None), cast(Any, {}), reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(Exception):
                writer.transport.abort()

    async def _app(self, scope: Json, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        seen = Seen(scope["method"], scope["path"], scope["http_version"], headers, body)
        self.seen.append(seen)
        reply = next((each for rule in self.rules if (each := rule(seen))), None) or self.behave(seen)
        if reply.stalls == "before":
            await _until_gone(receive)
            return
        head = {"type": "http.response.start", "status": reply.status, "headers": list(reply.headers)}
        await send(head)
        if reply.stalls == "within":
            half = {"type": "http.response.body", "body": reply.body[: len(reply.body) // 2]}
            await send(half | {"more_body": True})
            await _until_gone(receive)
            return
        await send({"type": "http.response.body", "body": reply.body})

    def behave(self, seen: Seen) -> Reply:
        """What a good agent answers."""
        if (seen.method, seen.path) == ("GET", "/status"):
            return self._reply(self.status)
        if seen.path not in (LIST_PACKAGES, LIST_PULLED):
            return Reply(404, b"404 page not found\n", ((b"content-type", b"text/plain"),))
        if seen.method != "POST":
            return Reply(405)
        if seen.headers.get("content-type") != "application/json":
            return Reply(415)
        if json.loads(seen.body) != {}:
            return failure(400, "invalid_argument", "unknown field")
        if seen.path == LIST_PACKAGES:
            return self._reply({"packages": self.deployed}, "DEPLOY_PACKAGE_STATUS_", DEPLOY_STATUS)
        return self._reply({"registries": self.registries}, "PULL_STATUS_", PULL_STATUS)

    def _reply(self, document: Json, prefix: str = "", names: tuple[str, ...] = ()) -> Reply:
        return Reply(body=json.dumps(self._encode(document, prefix, names)).encode())

    def _encode(self, value: Any, prefix: str, names: tuple[str, ...], key: str = "") -> Any:
        if isinstance(value, list):
            return [self._encode(each, prefix, names) for each in value]
        if isinstance(value, dict):
            encoded = {name: self._encode(each, prefix, names, name) for name, each in value.items()}
            if self.nulls:
                return {name: encoded[name] if value[name] else None for name in encoded}
            return {name: encoded[name] for name in encoded if value[name] or not self.zeros_left_out}
        if key in _INT64 and self.int64_as_strings:
            return str(value)
        if key == "status" and isinstance(value, int) and self.enums != "numbers":
            known = self.enums == "names" and 0 <= value < len(names)
            return f"{prefix}{names[value]}" if known else str(value)
        return value


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.contextmanager
def agent_in_thread(**options: Any) -> Iterator[AgentServer]:
    """An agent with a loop of its own, for tests without one, and for processes to watch."""
    agent, loop = AgentServer(**options), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="agent")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(agent.start(), loop).result(30)
        yield agent
    finally:
        asyncio.run_coroutine_threadsafe(agent.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def _server_context(certificate: Certificate, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.load_cert_chain(certificate.chain, certificate.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
