"""What a client is told: which registries it is to ask elsewhere, and where that is."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Reference

DEFAULT_ENDPOINT = "http://127.0.0.1:5000"


@dataclass(frozen=True, slots=True)
class Mirror:
    """Registries, and the sidecar that is asked before them."""

    registries: tuple[str, ...]
    """As `registry.example:5000`; none: all, where the client knows a way to say so."""
    endpoint: str = DEFAULT_ENDPOINT
    """URL of the registry endpoint, without a path."""

    @classmethod
    def parse(cls, registries: list[str], endpoint: str) -> Self:
        """`ConfigError` for what is no registry or no URL of an endpoint."""
        for registry in registries:
            if not _is_registry(registry):
                raise ConfigError(f"{registry[:80]!r} is no registry; one looks like registry.example:5000")
        plain = endpoint.rstrip("/")
        scheme, separator, host = plain.partition("://")
        if scheme not in ("http", "https") or not separator or not _is_registry(host) or not _has_port(plain):
            raise ConfigError(
                f"--endpoint {endpoint[:80]!r} is no address of the registry endpoint;"
                f" one looks like {DEFAULT_ENDPOINT}"
            )
        return cls(tuple(dict.fromkeys(registries)), plain)

    @property
    def host(self) -> str:
        """Host and port of the endpoint."""
        return self.endpoint.partition("://")[2]

    @property
    def is_secure(self) -> bool:
        """Whether the endpoint speaks TLS."""
        return self.endpoint.startswith("https://")


def _is_registry(text: str) -> bool:
    try:
        return Reference.parse(f"{text}/a:b").registry == text
    except ConfigError:
        return False


def _has_port(url: str) -> bool:
    """Whether its port, if it has one, is one."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
