"""Who may call over TCP: anyone on the right name may look, changes need the token.

Unix sockets need none of this: their file is readable by the daemon's user only.
"""

import secrets
from collections.abc import Iterable
from pathlib import Path

from connectrpc.code import Code

from peat_sidecar.errors import ConfigError
from peat_sidecar.http import App, KnownHosts, Receive, Scope, Send, header
from peat_sidecar.rpc.asgi import refuse
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
        self._hosts = KnownHosts(bound, hosts)
        self._reading = frozenset(reading) | _PUBLIC_PATHS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if fault := self._hosts.fault(scope):
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
