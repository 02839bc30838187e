"""What can go wrong with a registry, in words, and which of it may pass by itself."""

import json
import ssl

import httpx

from peat_sidecar.errors import PeatError, SourceError

_DETAIL_CHARACTERS = 300


class ConnectionLost(SourceError):
    """The registry is silent, gone or overloaded: trying again later makes sense."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, tries: int | None = None):
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """What the registry asked for."""
        self.tries = tries
        """An upper bound for attempts of this kind, where the usual number would only be annoying."""


class NoRegistry(SourceError):
    """What answers cannot be talked with as a registry, whatever it is asked for: mend what is between."""


def describe(body: bytes, secrets: tuple[str, ...] = ()) -> str:
    """What a registry says about its refusal, as a tail for a message: printable, short, without secrets."""
    try:
        errors = json.loads(body)["errors"]
        texts = [f"{error.get('code', '')} {error.get('message', '')}".strip() for error in errors[:3]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        texts = [body[: 4 * _DETAIL_CHARACTERS].decode(errors="replace")]
    text = "; ".join(texts)
    for secret in secrets:
        text = text.replace(secret, "***")
    text = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return f": {text[:_DETAIL_CHARACTERS]}" if text else ""


def translate(error: httpx.HTTPError | httpx.InvalidURL | TimeoutError, url: httpx.URL) -> PeatError:
    """What a failed exchange means. No part of the URL but the host is shown: the rest may be signed."""
    server = url.netloc.decode("ascii", "replace").rpartition("@")[2]
    if isinstance(error, httpx.ConnectTimeout):
        return ConnectionLost(
            f"{server} does not take the connection; is it up, and can it be reached?", tries=2
        )
    if isinstance(error, httpx.ConnectError):
        return _translate_connect(error, server)
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return ConnectionLost(f"{server} has been silent for too long")
    if isinstance(error, httpx.TransportError):
        return ConnectionLost(f"the connection to {server} was lost: {error or type(error).__name__}")
    return SourceError(f"{server} cannot be asked: {error or type(error).__name__}")


def _translate_connect(error: httpx.ConnectError, server: str) -> PeatError:
    cause = tls_failure(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = cause.verify_message or str(cause)
        return NoRegistry(
            f"the certificate of {server} is not trusted: {reason}; give its authority with --ca-file FILE"
        )
    if cause is not None:
        return NoRegistry(
            f"{server} does not speak TLS as it must ({cause.reason or cause});"
            f" if plain HTTP is meant, allow it with --plain-http {server}"
        )
    return ConnectionLost(f"{server} cannot be reached: {error}; is it up, and is the name right?", tries=2)


def tls_failure(error: BaseException | None) -> ssl.SSLError | None:
    """The TLS error that caused an error, if one did."""
    for _ in range(10):
        if error is None or isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
