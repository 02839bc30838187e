"""A registry that misbehaves as it is told, over real HTTP on loopback: for what docker-registry cannot show.

It speaks HTTP itself, on asyncio streams, because no web framework lets one cut a body in the middle, send
fewer bytes than promised, or fall silent. Without rules it is a well-behaved registry with referrers, mounts
and resumable uploads. A rule is a function that sees each request first and may answer it:

    async with OddRegistry() as odd:
        odd.rules.append(lambda request: Reply(429) if request.method == "GET" else None)
"""

import asyncio
import contextlib
import hashlib
import itertools
import json
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.support.images import OCI_INDEX, OCI_MANIFEST


@dataclass(slots=True)
class Request:
    """One request, as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes = b""
    whole: bool = True
    """False when the connection was lost before the end of the body."""

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")


@dataclass(slots=True)
class Reply:
    """One answer, with its faults."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    """What Content-Length says, when that is to be another number than the body has; -1 leaves it out."""
    cut_after: int | None = None
    """After so many bytes of the body the connection is reset."""
    stall_after: int | None = None
    """After so many bytes of the body nothing more comes, and the connection stays."""


Rule = Callable[[Request], Reply | None]


class OddRegistry:
    """The server. Content is in `blobs`, `manifests` and `uploads`, requests in `seen`."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        """By digest."""
        self.manifests: dict[str, tuple[str, bytes]] = {}
        """Media type and bytes, by tag and by digest."""
        self.uploads: dict[str, bytearray] = {}
        self.seen: list[Request] = []
        self._numbers = itertools.count()
        self.rules: list[Rule] = []
        self.accept_body: Callable[[Request], int | None] = lambda request: None
        """May give a number of bytes of a request's body after which the connection is reset."""
        self.has_referrers = True
        self.relative_locations = False
        self.address = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add_blob(self, data: bytes) -> str:
        """Keeps a blob; its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return digest

    def add_manifest(self, document: object, media_type: str = OCI_MANIFEST, tag: str | None = None) -> str:
        """Keeps a document, as bytes or as JSON to be; its digest."""
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        for name in (digest, tag):
            if name:
                self.manifests[name] = (media_type, raw)
        return digest

    def count(self, method: str, part: str = "") -> int:
        """How many requests of that method had that in their path."""
        return sum(request.method == method and part in request.path for request in self.seen)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            while request := await self._read(reader, writer):
                self.seen.append(request)
                reply = self._answer(request)
                if not await self._write(writer, request, reply):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
        first_byte = await reader.read(1)
        if not first_byte.isalpha():  # the end, or somebody tries TLS
            return None
        head = (first_byte + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.split(":", 1) for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        address = urlsplit(target)
        request = Request(method, address.path, parse_qs(address.query), headers)
        length = int(headers.get("content-length", "0"))
        limit = self.accept_body(request)
        if limit is not None and limit < length:
            request.body, request.whole = await reader.readexactly(limit), False
            self.seen.append(request)
            self._answer(request)
            reset(writer)
            return None
        request.body = await reader.readexactly(length)
        return request

    async def _write(self, writer: asyncio.StreamWriter, request: Request, reply: Reply) -> bool:
        headers = dict(reply.headers)
        length = len(reply.body) if reply.length is None else reply.length
        if length >= 0:
            headers.setdefault("Content-Length", str(length))
        else:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {reply.status} Odd", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        body = b"" if request.method == "HEAD" else reply.body
        fault = next((end for end in (reply.cut_after, reply.stall_after) if end is not None), None)
        writer.write(body[:fault])
        await writer.drain()
        if reply.stall_after is not None:
            await asyncio.sleep(60)
        if reply.cut_after is not None:
            # What was written has to leave before the reset, or the kernel drops it.
            await asyncio.sleep(0.02)
            reset(writer)
            return False
        return length >= 0 and (length == len(reply.body) or request.method == "HEAD")

    def _answer(self, request: Request) -> Reply:
        for rule in self.rules:
            reply = rule(request)
            if reply:
                return reply
        return self.behave(request)

    def behave(self, request: Request) -> Reply:
        """What a good registry answers."""
        found = re.fullmatch(r"/v2/(.+?)/(manifests|blobs|referrers)/(.+)", request.path)
        if not found:
            return Reply(200 if request.path == "/v2/" else 404)
        _, kind, name = found.groups()
        if kind == "referrers":
            return self._referrers(request, name)
        if kind == "manifests":
            return self._put_manifest(request, name) if request.method == "PUT" else self._get_manifest(name)
        if name.startswith("uploads/"):
            return self._upload(request, name.removeprefix("uploads/"))
        return self._get_blob(request, name)

    def _get_manifest(self, name: str) -> Reply:
        if name not in self.manifests:
            return _error(404, "MANIFEST_UNKNOWN")
        media_type, raw = self.manifests[name]
        return Reply(200, {"Content-Type": media_type, "Docker-Content-Digest": _sha256(raw)}, raw)

    def _put_manifest(self, request: Request, name: str) -> Reply:
        digest = _sha256(request.body)
        for each in (name, digest):
            self.manifests[each] = (request.headers.get("content-type", ""), request.body)
        headers = {"Docker-Content-Digest": digest, "Location": request.path}
        subject = json.loads(request.body).get("subject")
        if subject and self.has_referrers:
            headers["OCI-Subject"] = subject["digest"]
        return Reply(201, headers)

    def _get_blob(self, request: Request, digest: str) -> Reply:
        data = self.blobs.get(digest)
        if data is None:
            return _error(404, "BLOB_UNKNOWN")
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if not wanted:
            return Reply(200, {"Accept-Ranges": "bytes"}, data)
        begin = int(wanted[1])
        if begin >= len(data):
            return Reply(416, {"Content-Range": f"bytes */{len(data)}"})
        return Reply(206, {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}, data[begin:])

    def _upload(self, request: Request, name: str) -> Reply:
        if request.method == "POST":
            if any(digest in self.blobs for digest in request.query.get("mount", [])):
                return Reply(201, {"Location": "/v2/"})
            name = f"u{next(self._numbers)}"
            self.uploads[name] = bytearray()
            return Reply(202, self._progress(request.path, name))
        if name not in self.uploads:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        held = self.uploads[name]
        parent = request.path.rpartition("/")[0] + "/"
        if request.method == "DELETE":
            del self.uploads[name]
            return Reply(204)
        if request.method == "GET":
            return Reply(204, self._progress(parent, name))
        stated = request.headers.get("content-range")
        if stated and int(stated.partition("-")[0]) != len(held):
            return Reply(416, self._progress(parent, name))
        held += request.body
        if request.method == "PATCH":
            return Reply(202, self._progress(parent, name))
        if not request.whole:
            del self.uploads[name]
            return Reply(400)
        digest = request.query["digest"][0]
        if _sha256(bytes(held)) != digest:
            return _error(400, "DIGEST_INVALID")
        self.blobs[digest] = bytes(self.uploads.pop(name))
        return Reply(201, {"Docker-Content-Digest": digest, "Location": "/v2/"})

    def _progress(self, parent: str, name: str) -> dict[str, str]:
        begin = "" if self.relative_locations else f"http://{self.address}"
        last = max(0, len(self.uploads[name]) - 1)
        return {"Location": f"{begin}{parent}{name}?state=a%2Fb", "Range": f"0-{last}"}

    def _referrers(self, request: Request, digest: str) -> Reply:
        if not self.has_referrers:
            return Reply(404, {"Content-Type": "text/plain; charset=utf-8"}, b"404 page not found\n")
        found = []
        for name, (media_type, raw) in self.manifests.items():
            document = json.loads(raw)
            if name == _sha256(raw) and document.get("subject", {}).get("digest") == digest:
                kind = document.get("artifactType", "")
                found.append(
                    {"mediaType": media_type, "digest": name, "size": len(raw), "artifactType": kind}
                )
        # Two to a page, and the filter is not applied: a client has to do both itself.
        begin = int(request.query.get("last", ["0"])[0])
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found[begin : begin + 2]}
        headers = {"Content-Type": OCI_INDEX}
        if begin + 2 < len(found):
            headers["Link"] = f'<{request.path}?last={begin + 2}>; rel="next"'
        return Reply(200, headers, json.dumps(index).encode())


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with a TCP reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def once(rule: Rule, times: int = 1) -> Rule:
    """A rule that answers so many times only."""
    left = times

    def limited(request: Request) -> Reply | None:
        nonlocal left
        reply = rule(request) if left > 0 else None
        left -= reply is not None
        return reply

    return limited


def _error(status: int, code: str) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
    return Reply(status, {"Content-Type": "application/json"}, body)


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
