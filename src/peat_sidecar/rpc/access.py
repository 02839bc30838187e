"""Who may call over TCP: anyone on the right name may look, changes need the token.

A page in a browser of this machine can reach TCP on loopback: it can have its own name resolve to 127.0.0.1
(so `Host` has to be a name that is known), and it can send requests to other servers (so `Origin` has to
be one of them). Unix sockets need none of this: their file is readable by the daemon's user only.
"""

import ipaddress
import secrets
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from connectrpc.code import Code

from peat_sidecar.errors import ConfigError
from peat_sidecar.rpc.asgi import App, Receive, Scope, Send, header, refuse
from peat_sidecar.secret_files import read_secret, write_whole

_TOKEN_BYTES = 32
_ANEW = "delete it and start again: a new one is made"
_PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


class Access:
    """An ASGI application around another one, for a listener on TCP."""

    def __init__(
        self, app: App, *, token: str, bound: str, hosts: Iterable[str], reading: Iterable[str]
    ) -> None:
        """`bound` is the address of the listener, `hosts` are further names that this daemon is reached by,
        all without ports; `reading` are the paths that need no token.
        """
        self._app = app
        self._token = token.encode()
        self._listed = frozenset(host.lower().rstrip(".") for host in hosts)
        self._bound = bound.lower()
        self._reading = frozenset(reading) | _PUBLIC_PATHS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if fault := self._foreign(scope):
            await refuse(scope, send, Code.PERMISSION_DENIED, fault)
        elif scope["path"] not in self._reading and not self._has_token(scope):
            await refuse(
                scope,
                send,
                Code.UNAUTHENTICATED,
                "this call changes something and needs the token: send the header"
                " 'Authorization: Bearer TOKEN' with the content of api.token in the daemon's data directory",
            )
        else:
            await self._app(scope, receive, send)

    def _foreign(self, scope: Scope) -> str:
        """Why the request comes from elsewhere; empty when it does not."""
        asked = header(scope, "host") or ""
        host = _host_of(f"//{asked}")
        known = host in self._listed or host in (self._bound, "localhost") or _is_loopback(host)
        if not known:
            return f"{asked[:80]!r} is no name of this daemon; list it with --api-host if it should be"
        origin = header(scope, "origin")
        if origin is None or _host_of(origin) in self._listed:
            return ""
        if origin.lower() == f"{scope['scheme']}://{asked}".lower():
            return ""
        return f"pages of {origin[:80]!r} may not call this daemon; list its name with --api-host if so"

    def _has_token(self, scope: Scope) -> bool:
        scheme, _, token = (header(scope, "authorization") or "").partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(
            token.strip().encode("latin-1", "replace"), self._token
        )


def load_token(path: Path) -> str:
    """The token in the file, which is made, readable by its owner only, when it is not there.

    `ConfigError` when others can read it, or it holds less than a token.
    """
    try:
        if not path.exists():
            token = secrets.token_urlsafe(_TOKEN_BYTES)
            write_whole(path, f"{token}\n".encode(), mode=0o600, replace=False)
        content = read_secret(path, "the API's token", _ANEW, 4096)
    except OSError as error:
        raise ConfigError(f"the API's token {path} cannot be used: {error.strerror}") from None
    token = content.decode("ascii", "replace").strip()
    if len(token) < _TOKEN_BYTES or not token.isascii() or not token.isprintable():
        raise ConfigError(f"the API's token {path} is damaged; {_ANEW}")
    return token


def _host_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where the port is none
    except ValueError:
        return None
    plain = parts.username is None and not parts.path and not parts.query and not parts.fragment
    return parts.hostname.rstrip(".") if parts.hostname and plain else None


def _is_loopback(host: str | None) -> bool:
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
