"""Registries that packages are pulled through from, as settings have them."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic_settings import NoDecode

from peat_sidecar.config.addresses import host_and_port
from peat_sidecar.errors import ConfigError

_EXAMPLE = "registry.example, or registry.example=https://mirror.example:5000 upstream-first"


class Upstream(BaseModel):
    """One registry, where it is reached, and whether it or the mesh is asked first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    registry: str
    """As references of its packages begin: `registry.example`."""
    url: str = ""
    """Scheme and host; empty: the registry itself, by TLS unless `plain_http` lists it."""
    order: Literal["mesh-first", "upstream-first"] = Field(default="mesh-first")

    @field_validator("registry")
    @classmethod
    def _registry(cls, value: str) -> str:
        if not _is_host(value):
            raise ValueError(f"{value[:80]!r} is no registry; one looks like {_EXAMPLE}")
        return value

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not _is_host(parts.netloc) or parts.path):
            raise ValueError(f"{value[:80]!r} is no address of a registry; one looks like {_EXAMPLE}")
        return value


def parse_upstream(text: str) -> dict[str, str]:
    """`REGISTRY[=URL] [mesh-first|upstream-first]` as the table of an upstream."""
    place, *rest = text.split() or [""]
    registry, _, url = place.partition("=")
    if len(rest) > 1 or (rest and rest[0] not in ("mesh-first", "upstream-first")):
        raise ValueError(f"{text[:80]!r} is no upstream; one looks like {_EXAMPLE}")
    return {"registry": registry, "url": url.rstrip("/")} | ({"order": rest[0]} if rest else {})


def _split(value: object) -> object:
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        return tuple(parse_upstream(each) if isinstance(each, str) else each for each in value)
    return value


def _is_host(text: str) -> bool:
    """With or without a port."""
    return any(_is_host_and_port(each) for each in (text, f"{text}:443"))


def _is_host_and_port(text: str) -> bool:
    try:
        host_and_port(text, text)
    except ConfigError:
        return False
    return True


Upstreams = Annotated[tuple[Upstream, ...], NoDecode, BeforeValidator(_split)]
