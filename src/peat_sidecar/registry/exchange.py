"""One request and its answer: reading a body piece by piece, and sending one, with an end to every wait."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.http import Receive, Scope, Send, header
from peat_sidecar.registry.faults import Code, Fault

T = TypeVar("T")
STALL_SECONDS = 60.0
"""In which the next piece of a body has to come, and half a megabyte of an answer has to be taken."""
_QUERY_FIELDS = 20
_DISCARD_BYTES = 64 << 20
"""What is read of a refused body, so that its client gets to see why."""
_DISCARD_SECONDS = 10.0


class Pieces(Protocol):
    """A long body."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """Also when none was taken."""
        ...


@dataclass(slots=True)
class Answer:
    """What is sent back."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: Pieces | None = None
    """The body where it is long; `Content-Length` is among the headers then."""


class Request:
    """What was asked."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._ended = False
        self.method: str = scope["method"]
        self.path: str = scope["path"]

    @cached_property
    def query(self) -> Mapping[str, str]:
        """`NAME_INVALID` for one that cannot be read."""
        return _query(self._scope)

    def header(self, name: str) -> str:
        """Empty when there is none."""
        return header(self._scope, name) or ""

    @property
    def scope(self) -> Scope:
        """As ASGI has it."""
        return self._scope

    @property
    def length(self) -> int:
        """Of the body, as far as it is said; 0 else."""
        text = self.header("content-length")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body. `PeerUnavailable` when the client leaves before its end, or falls silent."""
        while not self._ended:
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    message = await self._receive()
            except TimeoutError:
                raise PeerUnavailable(f"no byte of the body came for {STALL_SECONDS:g} s") from None
            if message["type"] != "http.request":
                raise PeerUnavailable("the client left before its request was whole")
            self._ended = not message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    async def while_there(self, work: Awaitable[T]) -> T:
        """The result of work for a client, whose body is not needed any more. `PeerUnavailable` as soon as it
        has left; the work is given up then.
        """
        working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(self._left())
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise PeerUnavailable("the client left before its answer was whole")
            return working.result()
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def _left(self) -> None:
        with suppress(PeerUnavailable):
            async for _ in self.pieces():
                pass
            while (await self._receive())["type"] != "http.disconnect":
                pass

    async def body(self, limit_bytes: int) -> bytes:
        """All of it; `SIZE_INVALID` when it is longer."""
        taken: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            taken.append(piece)
            size += len(piece)
            if size > limit_bytes:
                raise Fault(Code.SIZE_INVALID, f"at most {limit_bytes} bytes are taken here", status=413)
        return b"".join(taken)

    async def discard(self) -> None:
        """Reads what is left of the body, as far as it is short."""
        size = 0
        try:
            async with asyncio.timeout(_DISCARD_SECONDS):
                async for piece in self.pieces():
                    size += len(piece)
                    if size > _DISCARD_BYTES:
                        return
        except (TimeoutError, PeerUnavailable):
            self._ended = True


async def send_answer(send: Send, answer: Answer, *, with_body: bool) -> None:
    """`TimeoutError` when the client does not take it."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    headers.setdefault("content-length", str(len(answer.body)))
    if answer.status in (204, 304):
        del headers["content-length"]
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    async with AsyncExitStack() as stack:
        if answer.pieces is not None:
            stack.push_async_callback(answer.pieces.aclose)
        async with asyncio.timeout(STALL_SECONDS):
            await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        if answer.pieces is not None:
            async for piece in answer.pieces:
                await _send_body(send, piece, more=True)
        await _send_body(send, answer.body if with_body else b"", more=False)


async def _send_body(send: Send, body: bytes, *, more: bool) -> None:
    async with asyncio.timeout(STALL_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": more})


def _query(scope: Scope) -> dict[str, str]:
    """The first of each name."""
    try:
        text = scope.get("query_string", b"").decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_QUERY_FIELDS, errors="strict")
    except ValueError:
        raise Fault(Code.NAME_INVALID, "the query of the request cannot be read") from None
    return dict(reversed(pairs))
