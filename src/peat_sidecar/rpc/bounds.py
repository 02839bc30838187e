"""Bounds of every request, whoever sends it: how many at once, how large, how slow.

A request is read as a whole before anything else happens, so that the service never waits for a client that
has stalled, and an answer that nobody takes is given up.
"""

import asyncio
import secrets

import structlog
from connectrpc.code import Code

from peat_sidecar.http import App, Message, Receive, Scope, Send
from peat_sidecar.rpc.asgi import refuse

BODY_LIMIT_BYTES = 4 << 20
"""Of one request. A document or roster of 1 MiB fits, though each of its characters were escaped as JSON;
other requests have a few hundred bytes."""
HELD_LIMIT_BYTES = 16 << 20
"""Of all requests that are being read or answered."""
REQUESTS_LIMIT = 256
_DISCARD_BYTES = 2 * BODY_LIMIT_BYTES
"""What is read past the limit and thrown away, so that the client gets to see the answer."""

_log = structlog.get_logger(__name__)


class Bounds:
    """An ASGI application around another one."""

    def __init__(self, app: App, *, body_seconds: float = 20.0, send_seconds: float = 30.0) -> None:
        """A body has to come within `body_seconds`; one piece of an answer is taken within `send_seconds`."""
        self._app = app
        self._body_seconds = body_seconds
        self._send_seconds = send_seconds
        self._requests = 0
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self._requests >= REQUESTS_LIMIT:
            await refuse(scope, send, Code.RESOURCE_EXHAUSTED, "too many requests at once; try again later")
            return
        self._requests += 1
        request = _Request(self, receive, send)
        try:
            await self._answer(scope, request)
        finally:
            self._requests -= 1
            self.hold(-request.held_bytes)

    def hold(self, size: int) -> bool:
        """Counts bytes that are kept; whether there is room for more."""
        self._held_bytes += size
        return self._held_bytes <= HELD_LIMIT_BYTES

    async def _answer(self, scope: Scope, request: "_Request") -> None:
        try:
            async with asyncio.timeout(self._body_seconds):
                fault = await request.read()
        except TimeoutError:
            fault = f"the request did not come whole within {self._body_seconds:g} s; send it again"
            await refuse(scope, request.send, Code.DEADLINE_EXCEEDED, fault)
            return
        if fault:
            await refuse(scope, request.send, Code.RESOURCE_EXHAUSTED, fault)
            return
        if request.gone:
            return
        try:
            await self._app(scope, request.receive, request.send)
        except TimeoutError:
            _log.debug("an answer was given up: its client does not read", path=scope["path"])
        except Exception:  # noqa: BLE001 - the edge of the request's task
            incident = secrets.token_hex(4)
            _log.exception("a request could not be answered", path=scope["path"], incident=incident)
            if not request.answered:
                text = f"a fault of the daemon itself; its log says more about incident {incident}"
                await refuse(scope, request.send, Code.INTERNAL, text)

    async def send_in_time(self, send: Send, message: Message) -> None:
        """`TimeoutError` when the client does not take it."""
        async with asyncio.timeout(self._send_seconds):
            await send(message)


class _Request:
    def __init__(self, bounds: Bounds, receive: Receive, send: Send) -> None:
        self._bounds = bounds
        self._receive = receive
        self._send = send
        self._body: bytes | None = None
        self.held_bytes = 0
        self.gone = False
        """The client has left before its request was whole."""
        self.answered = False

    async def read(self) -> str:
        """Reads all of it; says what is wrong, if anything."""
        pieces: list[bytes] = []
        size, fault, more = 0, "", True
        while more and size <= _DISCARD_BYTES:
            message = await self._receive()
            if message["type"] != "http.request":
                self.gone = True
                break
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size > BODY_LIMIT_BYTES:
                fault = f"a request has at most {BODY_LIMIT_BYTES} bytes; send a smaller one"
                pieces.clear()
            if not fault:
                pieces.append(piece)
                self.held_bytes += len(piece)
                if not self._bounds.hold(len(piece)):
                    fault = "too much is being asked at once; try again later"
        self._body = b"".join(pieces)
        return fault

    async def receive(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        self.answered = True
        await self._bounds.send_in_time(self._send, message)
