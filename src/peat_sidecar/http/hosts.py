"""Whether a request is meant for this server, and comes from no page of another one.

A page in a browser of this machine can reach TCP on loopback: it can have its own name resolve to 127.0.0.1
(so `Host` has to be a name that is known), and it can send requests to other servers (so `Origin` has to
be one of them).
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from peat_sidecar.http.asgi import Scope, header


class KnownHosts:
    """The names of one listener."""

    def __init__(self, bound: str, names: Iterable[str]) -> None:
        """`bound` is the address of the listener, `names` are further ones, all without ports."""
        self._listed = frozenset(name.lower().rstrip(".") for name in names)
        self._bound = bound.lower()

    def fault(self, scope: Scope) -> str:
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
