"""The registry's application over a real store, without a server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpx

from peat_sidecar.http import Message
from peat_sidecar.registry.access import Access
from peat_sidecar.registry.application import Application
from peat_sidecar.registry.calls import Calls
from peat_sidecar.store import Store

TOKEN = "t" * 32
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@contextlib.asynccontextmanager
async def endpoint(
    directory: Path, access: Access | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, Store]]:
    """A client with the token, which may push unless another access is given."""
    with Store.open(directory) as store:
        application = Application(Calls(store), access or Access(token=TOKEN))
        transport = httpx.ASGITransport(app=application)
        headers = BEARER if access is None else {}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:5000", headers=headers
        ) as client:
            yield client, store


def scope(method: str, path: str, query: str = "", **headers: str) -> dict[str, Any]:
    """Of a request that is made by hand."""
    raw = {"authorization": BEARER["Authorization"], "host": "127.0.0.1:5000", **headers}
    return {
        "type": "http",
        "method": method,
        "path": path,
        "scheme": "http",
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in raw.items()],
    }


class Exchange:
    """What a client sends and gets, message by message; one whose body is not whole leaves after it."""

    def __init__(self, pieces: Iterable[bytes], *, whole: bool = True) -> None:
        self._pieces = list(pieces)
        self._whole = whole
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False

    async def receive(self) -> Message:
        if self._pieces:
            more = len(self._pieces) > 1 or not self._whole
            return {"type": "http.request", "body": self._pieces.pop(0), "more_body": more}
        if self._whole:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.ended = not message["more_body"]
