"""How registries are talked to: settings that hold for every registry of the daemon."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves to a registry who asks. Never printed: its text shows the name only."""

    username: str = ""
    """The user; empty where only a token counts."""
    password: str = field(default="", repr=False)
    """The password, or an access token used as one."""
    identity_token: str = field(default="", repr=False)
    """A refresh token, which the registry's token service turns into short-lived ones."""
    registry_token: str = field(default="", repr=False)
    """A bearer token that is sent as it is."""
    origin: str = field(default="the request", compare=False)
    """Where they were found, for messages."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in any message."""
        return tuple(text for text in (self.password, self.identity_token, self.registry_token) if text)


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """Access to registries, and patience with them."""

    credentials: Credentials | None = None
    """Explicit ones, for this registry; they go before every file."""
    auth_file: Path | None = None
    """A file in the form of `~/.docker/config.json`, instead of the usual places."""
    ca_file: Path | None = None
    """PEM certificates of authorities that are trusted beside the system's."""
    plain_http: frozenset[str] = frozenset()
    """Registries, as `host` or `host:port`, that are spoken to without TLS; loopback needs no such leave."""
    stall_seconds: float = 20.0
    """A connection that moves no byte for so long is given up, and taken up again. Not a total time."""
    connect_seconds: float = 10.0
    """How long a connection may take to open."""
    commit_seconds: float = 300.0
    """How long a registry may think after the last byte of an upload (some copy the blob once more)."""
    tries: int = 6
    """Attempts in a row without a byte gained; then the error is final."""
    backoff_seconds: float = 0.5
    """Wait before the second attempt; doubled after each, up to `longest_wait_seconds`."""
    longest_wait_seconds: float = 30.0
    """The longest wait between two attempts, even when the registry asks for more with Retry-After."""
    chunk_bytes: int = 32 << 20
    """Size of one piece of a resumable upload; a smaller blob is sent in one."""
    environment: Mapping[str, str] | None = None
    """Stands for the process's environment in tests."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def asked_for_plain_http(options: RegistryOptions, host: str, port: int | None) -> bool:
    """Whether the operator listed that host, or that host and port, as one without TLS."""
    shown = f"[{host}]" if ":" in host else host
    return not options.plain_http.isdisjoint({host, shown, f"{shown}:{port}"})
