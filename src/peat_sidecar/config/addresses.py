"""Addresses as settings have them: of the API, and of hosts with a port."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from peat_sidecar.errors import ConfigError

_SOCKET_PATH_LIMIT_BYTES = 107
"""`sun_path` has 108 bytes on Linux, its NUL included."""
_HOST = re.compile(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where the API is served: a unix socket, or a TCP address."""

    path: Path | None = None
    host: str = ""
    """Without brackets."""
    port: int = 0
    """0 takes a free one."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `unix:/path/to/api.sock` or `tcp://host:port`; `ConfigError` otherwise."""
        scheme, colon, rest = text.strip().partition(":")
        if scheme == "unix" and colon and rest:
            return cls(path=_socket_path("/" + rest.lstrip("/") if rest.startswith("//") else rest))
        if scheme == "tcp" and rest.startswith("//"):
            return cls(None, *host_and_port(rest[2:].rstrip("/"), text))
        raise ConfigError(
            f"{text[:80]!r} is no address for the API; one looks like unix:/run/peat-sidecar/api.sock"
            " or tcp://127.0.0.1:50051"
        )

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"tcp://{_shown(self.host)}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def default_data_dir() -> Path:
    """Where a daemon of this user keeps its data unless told otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/peat-sidecar")
    return Path("~/.local/share/peat-sidecar").expanduser()


def default_api(data_dir: Path) -> ApiAddress:
    """The socket of the daemon that has that data directory."""
    return ApiAddress(path=_socket_path(str(data_dir / "api.sock")))


def host_and_port(rest: str, text: str) -> tuple[str, int]:
    """`ConfigError`, with the whole text, when it is none."""
    host, colon, port = rest.rpartition(":")
    plain = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536
    if not colon or not plain or not _HOST.fullmatch(host):
        raise ConfigError(f"{text[:80]!r} has no host and port; it looks like tcp://127.0.0.1:50051")
    return host.strip("[]"), int(port)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _socket_path(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT_BYTES:
        raise ConfigError(
            f"the path of the API's socket, {path}, is longer than the {_SOCKET_PATH_LIMIT_BYTES} bytes"
            " that a socket's path may have; choose a shorter one with --api unix:/run/peat-sidecar.sock"
        )
    return path
