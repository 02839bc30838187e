"""Asks the agent: its status, and the two calls of its Connect API that the watcher needs.

Without TLS it is asked whether it speaks HTTP/2, by the first bytes of that protocol; what it did is kept in
mind until a connection breaks. With TLS the handshake says it. Each call ends within the time there is.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx

from peat_sidecar.agent.answers import (
    AgentStatus,
    DeployedPackage,
    PulledRegistry,
    parse_packages,
    parse_pulled,
    parse_status,
)
from peat_sidecar.agent.failures import silent, unreachable, wrong_answer, wrong_status
from peat_sidecar.agent.fields import Wrong
from peat_sidecar.errors import ConfigError

ANSWER_LIMIT_BYTES = 16 << 20
_ERROR_LIMIT_BYTES = 64 << 10
_KEPT_SECONDS = 120.0
"""An idle connection outlives the longest usual interval between two polls."""
_PROBE_SECONDS = 2.0
"""A server that has not said by then that it speaks HTTP/2 does not."""
# RFC 9113, section 3.4: the preface, and an empty SETTINGS frame.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4
_HEADERS = {"User-Agent": "peat-sidecar", "Accept": "application/json", "Accept-Encoding": "identity"}

# At lower levels these print every header.
for _chatty in ("httpx", "httpcore"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

T = TypeVar("T")


class AgentClient:
    """Connections to the agent. For one event loop, one call at a time; close it."""

    def __init__(
        self,
        address: str,
        *,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        tls_ca: Path | None = None,
        timeout_seconds: float = 5.0,
    ) -> None:
        """`ConfigError` for an address that is none, half a set-up of TLS, or files that cannot be used."""
        self._root = _parse_address(address)
        self._place = self._root.netloc.decode("ascii", "replace").rpartition("@")[2]
        self._tls = _tls_context(self._root, tls_cert, tls_key, tls_ca)
        self._nameless = self._tls is not None and tls_cert is None
        self._timeout_seconds = timeout_seconds
        self._client: httpx.AsyncClient | None = None

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return self._place

    async def status(self) -> AgentStatus:
        """What the agent says of itself."""
        return await self._call("GET", "status", parse_status)

    async def packages(self) -> list[DeployedPackage]:
        """What is deployed in the cluster."""
        return await self._call("POST", "zarfapi.v1.ZarfAPIService/ListPackages", parse_packages)

    async def pulled(self) -> list[PulledRegistry]:
        """What the cluster's registries have pulled."""
        return await self._call("POST", "registryapi.v1.RegistryService/ListPulledPackages", parse_pulled)

    async def close(self) -> None:
        """Closes the connections; the next call opens them anew."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(httpx.HTTPError, OSError):
                await client.aclose()

    async def _call(self, method: str, path: str, parse: Callable[[bytes], T]) -> T:
        call = path.rpartition("/")[2]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                status, body = await self._exchange(method, path)
        except TimeoutError:
            await self.close()
            raise silent(self._place, self._timeout_seconds) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            await self.close()
            raise unreachable(self._place, error, nameless=self._nameless) from error
        except BaseException:
            await self.close()
            raise
        if status != 200:
            raise wrong_status(self._place, call, status, body)
        try:
            return parse(body)
        except Wrong as wrong:
            raise wrong_answer(self._place, call, str(wrong)) from None

    async def _exchange(self, method: str, path: str) -> tuple[int, bytes]:
        """Status and body. A connection that was kept may have gone meanwhile, or the agent may speak another
        protocol since it was started again: then all is begun once more.
        """
        if self._client is not None:
            try:
                return await self._ask(self._client, method, path)
            except (httpx.TransportError, OSError):
                await self.close()
        self._client = await self._open()
        return await self._ask(self._client, method, path)

    async def _ask(self, client: httpx.AsyncClient, method: str, path: str) -> tuple[int, bytes]:
        headers = {"Connect-Protocol-Version": "1", "Content-Type": "application/json"}
        request = client.build_request(
            method,
            f"{str(self._root).rstrip('/')}/{path}",
            headers=headers if method == "POST" else None,
            content=b"{}" if method == "POST" else None,
        )
        response = await client.send(request, stream=True)
        try:
            return response.status_code, await self._read(response, path.rpartition("/")[2])
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response, call: str) -> bytes:
        encoding = response.headers.get("Content-Encoding", "identity")
        if response.status_code != 200:
            limit = _ERROR_LIMIT_BYTES
        elif encoding != "identity":
            raise wrong_answer(
                self._place, call, f"it is encoded as {encoding[:40]!r}, which was not asked for"
            )
        else:
            limit = ANSWER_LIMIT_BYTES
        parts, count = [], 0
        async for part in response.aiter_raw():
            count += len(part)
            if count > limit:
                if response.status_code != 200:
                    break
                raise wrong_answer(self._place, call, f"it has more than the {limit >> 20} MiB allowed")
            parts.append(part)
        return b"".join(parts)

    async def _open(self) -> httpx.AsyncClient:
        http2 = self._tls is not None or await self._speaks_http2()
        return httpx.AsyncClient(
            http1=self._tls is not None or not http2,
            http2=http2,
            verify=self._tls or False,
            timeout=None,
            limits=httpx.Limits(max_connections=2, keepalive_expiry=_KEPT_SECONDS),
            headers={
                "User-Agent": "peat-sidecar",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            follow_redirects=False,
            trust_env=False,
        )

    async def _speaks_http2(self) -> bool:
        """Whether a server without TLS answers the preface of HTTP/2 with settings of its own."""
        reader, writer = await asyncio.open_connection(self._root.host, self._root.port or 80)
        try:
            writer.write(_PREFACE)
            async with asyncio.timeout(min(_PROBE_SECONDS, self._timeout_seconds / 2)):
                header = await reader.readexactly(9)
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            return False
        else:
            return header[3] == _SETTINGS and header[5:] == bytes(4)
        finally:
            writer.transport.abort()


def _parse_address(address: str) -> httpx.URL:
    try:
        root = httpx.URL(address)
    except (httpx.InvalidURL, ValueError, TypeError):
        root = httpx.URL()
    wrong = root.scheme not in ("http", "https") or not root.host or root.query or root.fragment
    if wrong or not 0 < (root.port or 80) < 65536:
        raise ConfigError(f"{address[:80]!r} is no URL of an agent; one looks like http://127.0.0.1:9090")
    return root


def _tls_context(
    root: httpx.URL, certificate: Path | None, key: Path | None, authority: Path | None
) -> ssl.SSLContext | None:
    if (certificate is None) != (key is None):
        lacking = "agent_tls_key" if key is None else "agent_tls_cert"
        raise ConfigError(
            f"{lacking} is missing: a certificate and its key belong together; set both or neither"
        )
    if root.scheme == "http":
        if certificate is not None or authority is not None:
            raise ConfigError(
                "agent_tls_cert, agent_tls_key and agent_tls_ca are for an agent that is reached by https://;"
                " mend agent, or take them out"
            )
        return None
    try:
        context = ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{authority} of agent_tls_ca cannot be used ({error.strerror or error});"
            " it has to hold certificates in PEM form"
        ) from error
    if certificate is not None and key is not None:
        try:
            # Without an answer here it would ask for a passphrase on the terminal.
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"agent_tls_cert {certificate} and agent_tls_key {key} cannot be used:"
                f" {error.strerror or error}; both are PEM files, the key is that of the certificate, and has"
                " no passphrase"
            ) from error
    return context
