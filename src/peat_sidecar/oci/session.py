"""HTTP with one repository of one registry: authorised, redirected, patient, and translated to our errors.

`attempt` makes one exchange and gives the answer as a stream. `request` repeats it while that makes sense
and reads the answer whole. What may pass by itself (silence, a lost connection, 408, 429, 5xx) is
`ConnectionLost`; every wait has an end, and none is longer than the options say.
"""

import asyncio
import contextlib
import email.utils
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import httpx

from peat_sidecar.errors import NotFound, PeatError, Refused, SourceError
from peat_sidecar.ids import Reference
from peat_sidecar.oci.connections import find_root, open_client
from peat_sidecar.oci.destinations import follow, same_origin
from peat_sidecar.oci.failures import ConnectionLost, describe, translate
from peat_sidecar.oci.options import RegistryOptions
from peat_sidecar.oci.tokens import Authorizer, Scopes

Content = Callable[[], AsyncIterator[bytes]]
"""Makes the body of a request anew, because an exchange may have to be repeated after a 401."""
Sleep = Callable[[float], Awaitable[object]]

ANSWER_LIMIT_BYTES = 4 << 20
"""The largest manifest that registries take, and so the largest answer that is read whole."""
_REDIRECTS = 5
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
# Whole small answers come in this time, however slowly: 4 MiB at 32 kbit/s.
_WHOLE_ANSWER_SECONDS = 1100.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that was read whole."""

    status: int
    headers: httpx.Headers
    body: bytes
    url: httpx.URL


class Session:
    """Connections to one registry, for one repository. Belongs to one event loop; close it."""

    def __init__(
        self,
        reference: Reference,
        options: RegistryOptions,
        *,
        push: bool = False,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.reference = reference
        self.options = options
        self.scopes: Scopes = frozenset(
            {f"repository:{reference.repository}:{'pull,push' if push else 'pull'}"}
        )
        self._sleep = sleep
        self._client: httpx.AsyncClient | None = None
        self._root: httpx.URL | None = None
        self._opening = asyncio.Lock()
        self._reached = False
        self._authorizer = Authorizer(reference, options, self._ask_token_service)

    async def close(self) -> None:
        """Closes all connections."""
        if self._client:
            await self._client.aclose()
            self._client = None

    async def url(self, path: str) -> httpx.URL:
        """The address of something in the repository, such as `manifests/v1`."""
        root = await self._find_root()
        return root.join(f"/v2/{self.reference.repository}/{path}")

    async def request(
        self,
        method: str,
        url: httpx.URL,
        *,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        scopes: Scopes = frozenset(),
        expect: Collection[int] = (200,),
        tries: int | None = None,
        patience_seconds: float | None = None,
    ) -> Answer:
        """Exchanges until there is an answer, and reads it; a status other than expected is an error."""

        async def once() -> Answer:
            exchange = self.attempt(
                method,
                url,
                headers=headers,
                content=content,
                scopes=scopes,
                patience_seconds=patience_seconds,
            )
            async with exchange as response:
                return await self._read_whole(response)

        answer = await self.repeat(once, tries)
        if answer.status not in expect:
            raise self.failure(answer)
        return answer

    async def repeat(self, once: Callable[[], Awaitable[Answer]], tries: int | None = None) -> Answer:
        """Calls until it does not raise `ConnectionLost`, with growing pauses; then the last one is final."""
        failed = 0
        while True:
            try:
                return await once()
            except ConnectionLost as lost:
                failed += 1
                await self.pause(lost, failed, tries)

    async def pause(self, lost: ConnectionLost, failed: int, tries: int | None = None) -> None:
        """Waits before the next attempt, or raises the loss when there have been enough of them."""
        most = self.options.tries if tries is None else tries
        if lost.tries is not None and not self._reached:
            most = min(most, lost.tries)
        if failed >= most:
            raise lost
        wait = self.options.backoff_seconds * 2 ** (failed - 1) * random.uniform(0.75, 1.25)
        wait = max(wait, lost.retry_after_seconds or 0.0)
        await self._sleep(min(wait, self.options.longest_wait_seconds))

    @contextlib.asynccontextmanager
    async def attempt(
        self,
        method: str,
        url: httpx.URL,
        *,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        scopes: Scopes = frozenset(),
        patience_seconds: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """One exchange, with its 401s and redirects; the answer's body is left to be read.

        Statuses that may pass are raised as `ConnectionLost`, all others are the caller's to judge.
        """
        scopes |= self.scopes
        registry = await self._find_root()
        challenges = hops = 0
        while True:
            own = same_origin(url, registry)
            sent = await self._authorizer.header(scopes) if own else None
            authorization = {"Authorization": sent} if sent else {}
            request = self._build(
                method, url, {**(headers or {}), **authorization}, content, patience_seconds
            )
            async with self._exchange(request) as response:
                if response.status_code == 401 and own:
                    if challenges == 2:
                        raise self._authorizer.refusal()
                    challenges += 1
                    await self._drain(response)
                    demands = response.headers.get_list("WWW-Authenticate")
                    await self._authorizer.challenged(registry, demands, scopes, sent)
                    continue
                if response.has_redirect_location and method in ("GET", "HEAD"):
                    if hops == _REDIRECTS:
                        raise SourceError(f"{self.reference.registry} redirects without end; ask who runs it")
                    hops += 1
                    await self._drain(response)
                    url = follow(url, response.headers["Location"], self.options)
                    continue
                if response.status_code in _PASSING:
                    raise await self._passing(response)
                yield response
                return

    def failure(self, answer: Answer) -> PeatError:
        """The error for a status that nobody expected."""
        place = f"{self.reference.registry}/{self.reference.repository}"
        detail = describe(answer.body, self._authorizer.secrets)
        if answer.status in (401, 403):
            return Refused(
                f"{place} does not allow this{detail}; check the credentials, and what they may do there"
            )
        if answer.status == 404:
            return NotFound(f"{place} does not have it{detail}")
        if answer.status in (413, 507):
            return SourceError(f"{place} has no room for it{detail}")
        return SourceError(f"{place} answers with status {answer.status}{detail}")

    async def _passing(self, response: httpx.Response) -> ConnectionLost:
        answer = await self._read_whole(response)
        place = f"{self.reference.registry}/{self.reference.repository}"
        detail = describe(answer.body, self._authorizer.secrets)
        return ConnectionLost(
            f"{place} answers with status {answer.status}{detail}",
            retry_after_seconds=_retry_after(answer.headers.get("Retry-After")),
            tries=3 if answer.status == 500 else None,
        )

    async def _ask_token_service(
        self, method: str, url: httpx.URL, headers: dict[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        async def content() -> AsyncIterator[bytes]:
            yield body or b""

        if body is not None:
            headers = {**headers, "Content-Length": str(len(body))}
        request = self._build(method, url, headers, content if body is not None else None, None)
        async with self._exchange(request) as response:
            if response.status_code in _PASSING:
                raise await self._passing(response)
            return response.status_code, (await self._read_whole(response)).body

    def _build(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        content: Content | None,
        patience_seconds: float | None,
    ) -> httpx.Request:
        stall = self.options.stall_seconds
        timeout = httpx.Timeout(
            stall, connect=self.options.connect_seconds, read=patience_seconds or stall, pool=None
        )
        return self._open().build_request(
            method, url, headers=headers, content=content() if content else None, timeout=timeout
        )

    @contextlib.asynccontextmanager
    async def _exchange(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        # An upload may take as long as its bytes move; the head of any other answer has to come in time.
        read = request.extensions["timeout"]["read"] + self.options.connect_seconds
        uploads = request.headers.get("Content-Length", "0") != "0"
        try:
            async with asyncio.timeout(None if uploads else 3 * read):
                response = await self._open().send(request, stream=True, auth=_without_credentials)
            self._reached = True
            try:
                yield response
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise translate(error, request.url) from error

    async def _read_whole(self, response: httpx.Response) -> Answer:
        parts, count = [], 0
        async with asyncio.timeout(_WHOLE_ANSWER_SECONDS):
            async for part in response.aiter_raw():
                count += len(part)
                if count > ANSWER_LIMIT_BYTES:
                    limit = ANSWER_LIMIT_BYTES >> 20
                    raise SourceError(
                        f"{self.reference.registry} answers with more than the {limit} MiB allowed"
                    )
                parts.append(part)
        return Answer(response.status_code, response.headers, b"".join(parts), response.url)

    async def _drain(self, response: httpx.Response) -> None:
        """Reads a short body, so that the connection can be used again; a long one is left, and closed."""
        length = response.headers.get("Content-Length", "0")
        if length.isdigit() and int(length) <= 1 << 16:
            with contextlib.suppress(SourceError):
                await self._read_whole(response)

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            raise SourceError(f"the session with {self.reference.registry} is closed")
        return self._client

    async def _find_root(self) -> httpx.URL:
        if self._root is None:
            async with self._opening:
                failed = 0
                while self._root is None:
                    try:
                        root = await find_root(self.reference, self.options)
                        self._client = self._client or await open_client(root, self.options)
                        self._root = root
                    except ConnectionLost as lost:
                        failed += 1
                        await self.pause(lost, failed)
        return self._root


def _retry_after(text: str | None) -> float | None:
    """Seconds of a `Retry-After`, which gives them as a number or as a date."""
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _without_credentials(request: httpx.Request) -> httpx.Request:
    return request
