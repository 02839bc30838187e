"""ASGI's types."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def header(scope: Scope, name: str) -> str | None:
    """The value of a header; several of one name are joined by commas, as HTTP has it."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key.decode("latin-1") == name]
    return ", ".join(values) if values else None
