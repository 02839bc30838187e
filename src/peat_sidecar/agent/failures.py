"""What can go wrong with the agent, in words."""

import json
import ssl

import httpx

from peat_sidecar.errors import SourceError

_DETAIL_CHARACTERS = 300


class AgentError(SourceError):
    """The agent cannot be asked, or answers what it must not; asking again later makes sense."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind
        """The same for the same fault, whatever the message has in it besides."""

    @property
    def unreachable(self) -> bool:
        """No other call would fare better."""
        return self.kind in ("unreachable", "silent", "tls")


def silent(place: str, seconds: float) -> AgentError:
    """No answer, or none that is whole, in the time there is."""
    return AgentError(
        f"the agent at {place} does not answer within {seconds:g} s;"
        " is it overloaded, or does a firewall stand between?",
        "silent",
    )


def wrong_answer(place: str, call: str, reason: str) -> AgentError:
    """An answer that is not what the API says."""
    return AgentError(
        f"{call} of the agent at {place} cannot be read: {reason};"
        " is `agent` the address of the agent's API, and of a version that is known here?",
        f"answer of {call}",
    )


def wrong_status(place: str, call: str, status: int, body: bytes) -> AgentError:
    """A status other than 200, with what a Connect server says beside it."""
    remedy = {
        401: "; it may want a client certificate: set agent_tls_cert and agent_tls_key",
        403: "; it may want another client certificate: look at agent_tls_cert",
        404: "; is `agent` the address of the agent's API?",
    }.get(status, "; look at the agent's own log")
    return AgentError(
        f"{call} of the agent at {place} fails with status {status}{_describe(body)}{remedy}",
        f"status {status} of {call}",
    )


def unreachable(place: str, error: Exception, *, nameless: bool) -> AgentError:
    """A connection that cannot be opened, or that breaks. Nameless: over TLS, without our certificate."""
    cause = _tls_failure(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = cause.verify_message or str(cause)
        return AgentError(
            f"the certificate of the agent at {place} is not trusted: {reason};"
            " name the file of its authority as agent_tls_ca",
            "tls",
        )
    if cause is not None:
        reason = cause.reason or "the handshake fails"
        return AgentError(
            f"the agent at {place} does not agree on TLS: {reason};"
            " does it speak TLS there, and does it take the certificate of agent_tls_cert?",
            "tls",
        )
    if isinstance(error, httpx.RemoteProtocolError) and not nameless:
        return AgentError(
            f"what answers at {place} does not speak HTTP as it must, or hangs up;"
            " is `agent` the address of the agent's API?",
            "unreachable",
        )
    if isinstance(error, httpx.ConnectError | OSError):
        return AgentError(
            f"the agent at {place} cannot be reached; does it run, and is the address of `agent` right?",
            "unreachable",
        )
    remedy = "look at the agent's own log"
    if nameless:
        remedy = "it may want a client certificate: set agent_tls_cert and agent_tls_key"
    return AgentError(f"the connection to the agent at {place} breaks off; {remedy}", "unreachable")


def _describe(body: bytes) -> str:
    """`{code, message}` of a Connect server as a tail for a message: printable and short."""
    try:
        said = json.loads(body)
        text = ": ".join(str(said[name]) for name in ("code", "message") if said.get(name))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        text = ""
    text = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * _DETAIL_CHARACTERS])
    text = text.strip()[:_DETAIL_CHARACTERS]
    return f" ({text})" if text else ""


def _tls_failure(error: BaseException | None) -> ssl.SSLError | None:
    for _ in range(10):
        if error is None or isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
