"""Who may read and who may change: without credentials a registry is read-only.

Credentials are a user of the htpasswd file, or the token: as `Bearer TOKEN`, or as the password of the user
`token`, since clients of registries ask for users. `/v2/` asks for them whenever there are any, which is how
clients learn that they may log in; what may be read without, they read without.
"""

import asyncio
import base64
import binascii
import secrets

from peat_sidecar.http import KnownHosts
from peat_sidecar.registry.exchange import Request
from peat_sidecar.registry.faults import Code, Fault
from peat_sidecar.registry.passwords import Passwords

_TOKEN_USER = "token"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="peat-sidecar"'}
_CHECK_SECONDS = 10.0


class Access:
    """What the requests of one listener may do."""

    def __init__(
        self,
        *,
        passwords: Passwords | None = None,
        token: str = "",
        read_only: bool = False,
        private: bool = False,
        hosts: KnownHosts | None = None,
    ) -> None:
        """`private`: reading needs credentials too. `hosts`: the names that requests may be meant for."""
        self._passwords = passwords
        self._token = token.encode()
        self._read_only = read_only
        self._private = private
        self._hosts = hosts
        self._checking = asyncio.Lock()

    async def require(self, request: Request) -> None:
        """Raises the answer to a request that may not be."""
        if self._hosts is not None and (fault := self._hosts.fault(request.scope)):
            raise Fault(Code.DENIED, fault)
        changes = request.method not in ("GET", "HEAD")
        has_credentials = self._passwords is not None or bool(self._token)
        if changes and (self._read_only or not has_credentials):
            raise Fault(Code.UNSUPPORTED, _why_read_only(has_credentials))
        if not has_credentials:
            return
        given = request.header("authorization")
        if given and not _is_nobody(given):
            if not await self._knows(given):
                raise Fault(Code.UNAUTHORIZED, "user, password or token are wrong", headers=_CHALLENGE)
        elif changes or self._private or request.path in ("/v2", "/v2/"):
            text = "this needs a user and password, or the token; log in first"
            raise Fault(Code.UNAUTHORIZED, text, headers=_CHALLENGE)

    async def _knows(self, given: str) -> bool:
        scheme, _, value = given.partition(" ")
        if scheme.lower() == "bearer":
            return self._is_token(value.strip().encode("latin-1", "replace"))
        pair = _basic(value) if scheme.lower() == "basic" else None
        if pair is None:
            return False
        user, password = pair
        if user == _TOKEN_USER and self._is_token(password):
            return True
        return self._passwords is not None and await self._check(self._passwords, user, password)

    def _is_token(self, given: bytes) -> bool:
        return bool(self._token) and secrets.compare_digest(given, self._token)

    async def _check(self, passwords: Passwords, user: str, password: bytes) -> bool:
        """One at a time: guesses take no more than one core."""
        if passwords.is_remembered(user, password):
            return True
        try:
            async with asyncio.timeout(_CHECK_SECONDS), self._checking:
                return await asyncio.to_thread(passwords.check, user, password)
        except TimeoutError:
            text = "too many passwords are being checked; try again later"
            raise Fault(Code.TOOMANYREQUESTS, text, headers={"Retry-After": "10"}) from None


def _why_read_only(has_credentials: bool) -> str:
    if has_credentials:
        return "this registry is read-only (registry_read_only); nothing can be pushed or deleted"
    return (
        "this registry is read-only until it has credentials: start the daemon with --registry-htpasswd FILE"
        " or --registry-token-file FILE"
    )


def _basic(value: str) -> tuple[str, bytes] | None:
    try:
        user, colon, password = base64.b64decode(value.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def _is_nobody(given: str) -> bool:
    """What podman and skopeo send when they have no user for a registry that asks for one."""
    scheme, _, value = given.partition(" ")
    return scheme.lower() == "basic" and _basic(value) == ("", b"")
