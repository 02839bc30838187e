"""Requests to an ASGI application, without a server."""

import json
from dataclasses import dataclass, field
from typing import Any

from peat_sidecar.http import App, Message, Receive, Scope, Send


@dataclass
class Answer:
    """What an application answered."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


def scope(path: str = "/", *, http2: bool = True, **headers: str) -> Scope:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    extensions = {"http.response.trailers": {}} if http2 else {}
    return {
        "type": "http",
        "path": path,
        "scheme": "http",
        "method": "POST",
        "headers": raw,
        "extensions": extensions,
    }


async def ask(app: App, asked: Scope, receive: Receive | None = None) -> Answer:
    answer = Answer()

    async def nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        headers = {name.decode(): value.decode() for name, value in message.get("headers", ())}
        match message["type"]:
            case "http.response.start":
                answer.status, answer.headers = message["status"], headers
            case "http.response.body":
                answer.body += message["body"]
            case "http.response.trailers":
                answer.trailers = headers

    await app(asked, receive or nothing, send)
    return answer


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with the length of what it was sent."""
    size, more = 0, True
    while more:
        message: Any = await receive()
        size += len(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode(), "more_body": False})
