"""A client of the API: Connect with JSON, on a unix socket or over TCP.

Messages are dictionaries as proto3's JSON has them: names in camelCase, 64-bit numbers as texts, fields with
their default left out. Every wait is bounded, except for the end of what is watched.
"""

import json
import ssl
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from peat_sidecar.config import ApiAddress
from peat_sidecar.errors import ConfigError

SERVICE = "peat.sidecar.v1.PeatSidecar"
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 300.0
"""A call may open a large archive, or wait until a transfer has stopped."""
_UPDATE_SECONDS = 60.0
"""A watched transfer is told about five times a second."""
_ENVELOPE = struct.Struct(">BI")
_COMPRESSED, _END = 1, 2
_MESSAGE_LIMIT_BYTES = 64 << 20
_OF_STATUS = {401: "unauthenticated", 403: "permission_denied", 404: "unimplemented", 429: "unavailable"}
"""https://connectrpc.com/docs/protocol#http-to-error-code, for answers that do not come from the service."""
_WANTS_TOKEN = (
    "the daemon wants its token for this: name its file api.token with --token-file,"
    " or set PEAT_SIDECAR_TOKEN"
)

Json = dict[str, Any]


class ApiError(Exception):
    """The daemon's answer is an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message or code)
        self.code = code
        """In words, such as `not_found`."""


class DaemonUnavailable(Exception):
    """Nobody answers there, or the answer breaks off."""


class Client:
    """Calls of one daemon; a context manager."""

    def __init__(self, address: ApiAddress, *, token: str | None = None, ca_file: Path | None = None) -> None:
        """`token` goes along with each call; `ca_file` are the authorities of a daemon that has TLS."""
        self.address = address
        headers = {"connect-protocol-version": "1"} | ({"authorization": f"Bearer {token}"} if token else {})
        encrypted = address.path is None and (ca_file is not None or not address.is_loopback)
        transport = httpx.HTTPTransport(
            uds=str(address.path) if address.path is not None else None,
            verify=_tls_context(ca_file) if encrypted else False,  # False: there is no TLS at all
            trust_env=False,
        )
        host = "localhost" if address.path is not None else str(address).removeprefix("tcp://")
        self._http = httpx.Client(
            transport=transport,
            base_url=f"{'https' if encrypted else 'http'}://{host}/{SERVICE}/",
            headers=headers,
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    def call(self, method: str, request: Json | None = None) -> Json:
        """One answer. `ApiError` when it is an error, `DaemonUnavailable` when there is none."""
        with self._translated():
            response = self._http.post(
                method,
                content=json.dumps(request or {}).encode(),
                headers={"content-type": "application/json"},
            )
            if response.status_code != 200:
                raise _error_of(response.content, response.status_code)
            return _object(response.content)

    def watch(self, id: str) -> Iterator[Json]:
        """A transfer, now and after each change, up to its end."""
        for answer in self.stream("WatchTransfer", {"id": id}, silence_seconds=_UPDATE_SECONDS):
            transfer: Json = answer.get("transfer", {})
            yield transfer

    def stream(
        self, method: str, request: Json | None = None, *, silence_seconds: float | None = None
    ) -> Generator[Json, None, None]:
        """Answers up to the last; `silence_seconds` is how long the next one may take, None without end."""
        body = json.dumps(request or {}).encode()
        headers = {"content-type": "application/connect+json"}
        content = _ENVELOPE.pack(0, len(body)) + body
        timeout = httpx.Timeout(_CONNECT_SECONDS, read=silence_seconds)
        asked = self._http.stream("POST", method, content=content, headers=headers, timeout=timeout)
        with self._translated(), asked as response:
            if response.status_code != 200:
                raise _error_of(response.read(), response.status_code)
            for flags, data in _envelopes(response.iter_raw()):
                if flags & _END:
                    if error := _object(data).get("error"):
                        raise ApiError(str(error.get("code", "unknown")), str(error.get("message", "")))
                    return
                yield _object(data)
            raise DaemonUnavailable("the daemon's answer broke off; see its log")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of the connection in words that help."""
        try:
            yield
        except httpx.ConnectTimeout:
            raise DaemonUnavailable(f"no answer from {self.address} within {_CONNECT_SECONDS:g} s") from None
        except httpx.ConnectError as error:
            raise DaemonUnavailable(self._explain(str(error))) from None
        except httpx.TimeoutException:
            raise DaemonUnavailable(f"the daemon at {self.address} does not answer; see its log") from None
        except httpx.HTTPError as error:
            hint = "" if self.address.path is not None else "; if it has TLS, name its --ca-file"
            raise DaemonUnavailable(
                f"the connection to the daemon at {self.address} broke ({error or type(error).__name__});"
                f" is it running?{hint}"
            ) from None

    def _explain(self, reason: str) -> str:
        if self.address.path is None:
            if "CERTIFICATE" in reason or "SSL" in reason:
                return f"TLS with {self.address} fails: {reason}; name the right --ca-file"
            return (
                f"no daemon answers at {self.address} ({reason});"
                " start one with `peat-sidecar run`, or name its --api"
            )
        if "Permission denied" in reason:
            return f"{self.address.path} belongs to another user; run this as the daemon's user"
        path = self.address.path
        place = f"--data-dir {path.parent}" if path.name == "api.sock" else f"--api {self.address}"
        return (
            f"no daemon answers at {path}; start one with `peat-sidecar run {place}`,"
            " or name its --data-dir or --api"
        )


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the file {ca_file} has no certificates in PEM ({error}); mend --ca-file"
        ) from None


def _envelopes(pieces: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Flags and content of each message of a stream."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= _ENVELOPE.size:
            flags, size = _ENVELOPE.unpack_from(held)
            if flags & _COMPRESSED or size > _MESSAGE_LIMIT_BYTES:
                raise DaemonUnavailable("what answers is no daemon of this kind; check --api")
            if len(held) < _ENVELOPE.size + size:
                break
            yield flags, bytes(held[_ENVELOPE.size : _ENVELOPE.size + size])
            del held[: _ENVELOPE.size + size]


def _object(data: bytes) -> Json:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DaemonUnavailable("what answers is no daemon of this kind; check --api")
    return found


def _error_of(data: bytes, status: int) -> ApiError:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("code"), str):
        # The daemon's own words are about HTTP headers.
        told = _WANTS_TOKEN if found["code"] == "unauthenticated" else str(found.get("message", ""))
        return ApiError(found["code"], told)
    code = _OF_STATUS.get(status, "unavailable" if status >= 500 else "unknown")
    return ApiError(code, f"the answer has HTTP status {status} and is none of a daemon; check --api")
