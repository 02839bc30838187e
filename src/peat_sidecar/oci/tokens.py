"""Authorisation towards one registry: what to send with a request, and what to do after a 401.

Speaks basic authentication and bearer tokens: anonymous, by password, by refresh token (OAuth 2). Tokens
are kept until shortly before they end, one for each set of scopes. A password goes to the registry itself,
and to the token service that it names when both are reached by TLS, or both are on this machine. Nothing of
it is logged.
"""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from peat_sidecar.errors import Refused, SourceError
from peat_sidecar.ids import Reference
from peat_sidecar.oci.challenges import Challenge, parse_challenges
from peat_sidecar.oci.credentials import find_credentials
from peat_sidecar.oci.destinations import check_destination, same_origin
from peat_sidecar.oci.failures import describe
from peat_sidecar.oci.options import Credentials, RegistryOptions, is_loopback

Scopes = frozenset[str]
Ask = Callable[[str, httpx.URL, dict[str, str], bytes | None], Awaitable[tuple[int, bytes]]]
"""`ask(method, url, headers, body)`: one exchange without our authorisation; status and bounded body."""

_DEFAULT_SECONDS = 60.0
"""How long a token lasts that does not say so (distribution's token specification)."""
_TOKEN_LIMIT_CHARACTERS = 1 << 16


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    renew_at: float


class Authorizer:
    """Knows how one registry wants to be authenticated to, once it has said so. For one event loop."""

    def __init__(
        self,
        reference: Reference,
        options: RegistryOptions,
        ask: Ask,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reference = reference
        self._options = options
        self._ask = ask
        self._clock = clock
        self._lock = asyncio.Lock()
        self._credentials: Credentials | None = None
        self._searched = False
        self._challenge: Challenge | None = None
        self._registry: httpx.URL | None = None
        self._tokens: dict[Scopes, _Token] = {}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in any message."""
        tokens = tuple(token.header.partition(" ")[2] for token in self._tokens.values())
        return (self._credentials.secrets if self._credentials else ()) + tokens

    async def header(self, scopes: Scopes) -> str | None:
        """The `Authorization` to send now; None as long as the registry has not asked for any."""
        if self._challenge is None:
            return None
        async with self._lock:
            kept = self._tokens.get(scopes)
            if kept and self._clock() < kept.renew_at:
                return kept.header
            return await self._renew(scopes)

    async def challenged(
        self, registry: httpx.URL, headers: Iterable[str], scopes: Scopes, sent: str | None
    ) -> None:
        """After a 401: gets what the registry asks for; `Refused` when there is nothing left to try."""
        challenge = _best(parse_challenges(headers))
        if challenge is None:
            raise SourceError(f"{self._reference.registry} asks for an authentication that is not known here")
        async with self._lock:
            self._challenge, self._registry = challenge, registry
            kept = self._tokens.get(scopes)
            if kept and kept.header != sent:
                return  # another request has renewed it meanwhile
            if kept and challenge.scheme == "basic":
                raise self.refusal()
            if await self._renew(scopes) is None or self._tokens[scopes].header == sent:
                raise self.refusal()

    def refusal(self, detail: str = "") -> Refused:
        """The error for credentials that do not do, or that are missing."""
        place = f"{self._reference.registry}/{self._reference.repository}"
        if self._credentials is None:
            return Refused(
                f"{place} wants a user and a password{detail}; log in"
                f" (docker, podman or skopeo login {self._reference.registry}), or set REGISTRY_AUTH_FILE"
            )
        who = self._credentials.username or "the token"
        return Refused(
            f"{place} does not accept {who!r}, found in {self._credentials.origin}{detail};"
            " check the password, and what the user may do there"
        )

    async def _renew(self, scopes: Scopes) -> str | None:
        if not self._searched:
            self._credentials = await find_credentials(self._reference, self._options)
            self._searched = True
        if self._challenge is None or self._registry is None:
            return None
        found = self._credentials
        if self._challenge.scheme == "bearer" and not (found and found.registry_token):
            token = await self._fetch(self._challenge, self._registry, scopes)
        elif found and found.registry_token:
            token = _Token(f"Bearer {found.registry_token}", float("inf"))
        elif found and found.username:
            token = _Token(_basic(found), float("inf"))
        else:
            return None
        self._tokens[scopes] = token
        return token.header

    async def _fetch(self, challenge: Challenge, registry: httpx.URL, scopes: Scopes) -> _Token:
        realm = self._realm(challenge, registry)
        wanted = sorted(scopes | set(challenge.parameters.get("scope", "").split(" ")) - {""})
        service = challenge.parameters.get("service", "")
        asked_at = self._clock()
        found = self._credentials
        if found and found.identity_token:
            status, body = await self._ask_oauth(realm, service, wanted, found)
        else:
            query = [("service", service)] if service else []
            query += [("scope", scope) for scope in wanted]
            headers = {}
            if found and found.username:
                query.append(("account", found.username))
                headers["Authorization"] = _basic(found)
            url = realm.copy_with(params=[*realm.params.multi_items(), *query])
            status, body = await self._ask("GET", url, headers, None)
        if status in (400, 401, 403):
            raise self.refusal(describe(body, self.secrets))
        if status != 200:
            raise SourceError(f"the token service of {registry.host} answers with status {status}")
        return _parse_token(body, registry.host, asked_at)

    async def _ask_oauth(
        self, realm: httpx.URL, service: str, scopes: list[str], found: Credentials
    ) -> tuple[int, bytes]:
        form = httpx.QueryParams(
            {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": "peat-sidecar",
                "scope": " ".join(scopes),
                "refresh_token": found.identity_token,
            }
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", realm, headers, str(form).encode())

    def _realm(self, challenge: Challenge, registry: httpx.URL) -> httpx.URL:
        try:
            realm = httpx.URL(challenge.parameters.get("realm", ""))
        except httpx.InvalidURL:
            realm = httpx.URL()
        check_destination(registry, realm, self._options)
        if self._credentials and not _may_get_password(realm, registry):
            raise Refused(
                f"{registry.host} wants the password to be sent to {realm.host}, and not both speak TLS;"
                " that is not done"
            )
        return realm


def _best(challenges: list[Challenge]) -> Challenge | None:
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme:
                return challenge
    return None


def _may_get_password(realm: httpx.URL, registry: httpx.URL) -> bool:
    return (
        same_origin(realm, registry)
        or realm.scheme == registry.scheme == "https"
        or (is_loopback(realm.host) and is_loopback(registry.host))
    )


def _basic(found: Credentials) -> str:
    pair = f"{found.username}:{found.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()


def _parse_token(body: bytes, host: str, asked_at: float) -> _Token:
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    text = answer.get("token") or answer.get("access_token")
    good = isinstance(text, str) and text.isascii() and text.isprintable() and " " not in text
    if not good or len(text) > _TOKEN_LIMIT_CHARACTERS:
        raise SourceError(f"the token service of {host} answers without a usable token")
    seconds = answer.get("expires_in")
    lasts = float(seconds) if isinstance(seconds, int) and 0 < seconds < 1 << 31 else _DEFAULT_SECONDS
    # Renewed a little early: a token that ends under way costs one more round trip.
    return _Token(f"Bearer {text}", asked_at + lasts - min(10.0, lasts / 4))
