"""Where packages come from and go to, as requests name them: beneath the roots, or in registries."""

import asyncio
from collections.abc import Callable
from typing import IO, TypeVar

from peat_sidecar.confined import Directory, Roots
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import (
    ArchiveSource,
    ArchiveTarget,
    LayoutSource,
    LayoutTarget,
    RegistryOptions,
    RegistrySource,
    RegistryTarget,
    Source,
    Target,
)

Opened = TypeVar("Opened")
_CLOSING: set[asyncio.Future[None]] = set()
"""The loop keeps no reference of its own to what it runs."""


async def open_file(roots: Roots, path: str) -> IO[bytes]:
    """A file beneath the roots, for reading."""
    return await _opened(lambda: open(roots.open_file(path), "rb", buffering=0), lambda file: file.close())


async def open_parent(roots: Roots, path: str) -> tuple[Directory, str]:
    """The folder that a file beneath the roots lies in, or will, and the file's name in it."""
    return await _opened(lambda: roots.parent(path), lambda found: found[0].close())


async def open_source(
    roots: Roots, registries: RegistryOptions, place: str, name: str, choice: str
) -> Source:
    """The source of a package: a `layout` or an `archive` by its path, or a `reference` in a registry."""
    if place == "reference":
        if choice:
            raise ConfigError("a choice is for layouts and archives; name the tag or digest in the reference")
        return RegistrySource(Reference.parse(name), registries)
    chosen = _parse_choice(choice)

    def open_beneath() -> Source:
        if place == "layout":
            return LayoutSource(roots.open_directory(name), chosen)
        return ArchiveSource(roots.open_file(name), name, chosen)

    return await _opened(open_beneath, _close_soon)


async def open_target(roots: Roots, registries: RegistryOptions, place: str, name: str) -> Target:
    """The target of a package: a `layout` or an `archive` by its path, or a `reference` in a registry."""
    if place == "reference":
        return RegistryTarget(Reference.parse(name), registries)

    def open_beneath() -> Target:
        if place == "layout":
            return LayoutTarget(roots.make_directory(name))
        return ArchiveTarget(*roots.parent(name))

    return await _opened(open_beneath, _close_soon)


def _parse_choice(text: str) -> str | Digest | None:
    if text.startswith(("sha256:", "sha512:")):
        return Digest.parse(text)
    return text or None


async def _opened(open_it: Callable[[], Opened], close: Callable[[Opened], object]) -> Opened:
    """Opens in a thread. When the caller goes away meanwhile, what was opened is closed again."""
    opening = asyncio.ensure_future(asyncio.to_thread(open_it))

    def close_late(done: "asyncio.Future[Opened]") -> None:
        if not done.cancelled() and done.exception() is None:
            close(done.result())

    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(close_late)
        raise


def _close_soon(place: Source | Target) -> None:
    closing = asyncio.ensure_future(place.close())
    _CLOSING.add(closing)
    closing.add_done_callback(_CLOSING.discard)
