"""Where packages come from and go to, as requests name them: beneath the roots, or in registries."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TypeVar

from peat_sidecar.confined import Directory, Roots
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import LOCAL_REGISTRY, Digest, Reference
from peat_sidecar.oci import (
    ArchiveSource,
    ArchiveTarget,
    ContainerdSource,
    LayoutSource,
    LayoutTarget,
    NamedPackage,
    RegistryOptions,
    RegistrySource,
    RegistryStorageSource,
    RegistryTarget,
    Source,
    Target,
    list_containerd,
    list_layout,
    list_registry_storage,
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
    """The source of a package: a `reference` in a registry, or else by the path of what kind of place."""
    if place == "reference":
        if choice:
            raise ConfigError("a choice is for what has a path; name the tag or digest in the reference")
        return RegistrySource(Reference.parse(name), registries)
    chosen = _parse_choice(choice)

    def open_beneath() -> Source:
        if place == "archive":
            return ArchiveSource(roots.open_file(name), name, chosen)
        return _FOLDERS[place].source(roots.open_directory(name), chosen)

    return await _opened(open_beneath, _close_soon)


async def list_packages(roots: Roots, place: str, path: str, registry: str) -> list[tuple[str, str | None]]:
    """What can be chosen in a folder, and what each is listed under; those whose registry is not told there
    get the one that is named here.
    """
    if place not in _FOLDERS:
        raise ConfigError(f"all can be asked of {', '.join(_FOLDERS)}; name the package of a {place}")
    if registry:
        Reference.parse(f"{registry}/a")

    def read() -> list[NamedPackage]:
        with roots.open_directory(path) as directory:
            return _FOLDERS[place].packages(directory)

    return [
        (each.choice, _renamed(each.reference, registry) if registry else each.reference)
        for each in await asyncio.to_thread(read)
    ]


async def open_target(roots: Roots, registries: RegistryOptions, place: str, name: str) -> Target:
    """The target of a package: a `layout` or an `archive` by its path, or a `reference` in a registry."""
    if place == "reference":
        return RegistryTarget(Reference.parse(name), registries)

    def open_beneath() -> Target:
        if place == "layout":
            return LayoutTarget(roots.make_directory(name))
        return ArchiveTarget(*roots.parent(name))

    return await _opened(open_beneath, _close_soon)


@dataclass(frozen=True, slots=True)
class _Folder:
    """A kind of folder that holds packages."""

    source: Callable[[Directory, str | Digest | None], Source]
    packages: Callable[[Directory], list[NamedPackage]]


def _layout_packages(directory: Directory) -> list[NamedPackage]:
    listed = list_layout(directory)
    return [NamedPackage(str(each.root.digest), each.reference or None) for each in listed]


_FOLDERS = {
    "layout": _Folder(LayoutSource, _layout_packages),
    "registry_storage": _Folder(RegistryStorageSource, list_registry_storage),
    "containerd": _Folder(ContainerdSource, list_containerd),
}


def _renamed(reference: str | None, registry: str) -> str | None:
    """In the named registry, where the place did not tell one."""
    unnamed = f"{LOCAL_REGISTRY}/"
    if reference is None or not reference.startswith(unnamed):
        return reference
    return f"{registry}/{reference.removeprefix(unnamed)}"


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
