"""Answers that are given before a request reaches the service, in the form of its protocol."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from connectrpc.code import Code

from peat_sidecar.http import App, Message, Receive, Scope, Send, header
from peat_sidecar.rpc.codes import GRPC_STATUS, HTTP_STATUS

_GRPC, _GRPC_WEB = "application/grpc", "application/grpc-web"
_OF_BODY = (b"content-type", b"content-length")
_GRPC_SAFE = " ,;:/!?()[]{}'\"@&=+*#~^|<>$"


async def refuse(scope: Scope, send: Send, code: Code, message: str) -> None:
    """Answers with an error in the form of the request's protocol: gRPC, gRPC-Web, or Connect's JSON."""
    content_type = header(scope, "content-type") or ""
    if content_type.startswith(_GRPC):
        await _refuse_grpc(scope, send, content_type, GRPC_STATUS[code], message)
        return
    body = json.dumps({"code": code.value, "message": message}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    if code is Code.UNAUTHENTICATED:
        headers["www-authenticate"] = 'Bearer realm="peat-sidecar"'
    await send(_start(HTTP_STATUS[code], headers))
    await send(_body(body))


def explained(app: App, words: Mapping[int, str]) -> App:
    """The same application, whose answers without a body say by their status what is wrong."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        held: Message | None = None

        async def tell(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and message["status"] in words:
                held = message
                return
            if held is not None:
                start, held = held, None
                if not message.get("body") and not message.get("more_body"):
                    body = f"{words[start['status']]}\n".encode()
                    lines = [each for each in start.get("headers", ()) if each[0].lower() not in _OF_BODY]
                    of_body = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body))}
                    start, message = {**start, "headers": [*lines, *_raw(of_body)]}, _body(body)
                await send(start)
            await send(message)

        await app(scope, receive, tell)

    return wrapped


async def _refuse_grpc(scope: Scope, send: Send, content_type: str, status: int, message: str) -> None:
    end = {"grpc-status": str(status), "grpc-message": quote(message, safe=_GRPC_SAFE)}
    start = {"content-type": content_type}
    # gRPC-Web reads the end from the headers of an answer without a body; HTTP/1.1 has nothing else.
    if content_type.startswith(_GRPC_WEB) or "http.response.trailers" not in scope.get("extensions", {}):
        await send(_start(200, start | end))
        await send(_body(b""))
        return
    await send(_start(200, start) | {"trailers": True})
    await send(_body(b""))
    await send({"type": "http.response.trailers", "headers": _raw(end), "more_trailers": False})


def _start(status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": _raw(headers)}


def _body(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": False}


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
