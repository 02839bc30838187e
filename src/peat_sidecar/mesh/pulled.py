"""What a watcher sees in its source: packages that this cluster has pulled. Pure.

The announcer makes documents of them, and looks for their content under `listed_as` in the store.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Reference

PULLED = 3
"""The status of a package that is there as a whole, as the agent's API numbers them."""
_NAME_AT_END = re.compile(r"(?::[^:/@]+)?@sha(?:256|512):[0-9a-f]+$|:[^:/@]+$")
_TAG_DIGITS = 12
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class PulledPackage:
    """One package of one platform, as its source has it; what the source does not say is empty."""

    registry: str
    """Host and port; of a layout `layout`, unless it says where a package is from."""
    package: str
    """The name that people know it by."""
    reference: str
    """As the source writes it; not every one is a reference with a registry."""
    arch: str = ""
    version: str = ""
    total_bytes: int = 0
    pull_status: int | str = 0
    """The agent's number for it; the name of one whose number is not known."""
    downloaded_bytes: int = 0
    listed_as: str = ""
    """The reference under which its content is listed in the store once it is here; empty where it cannot be
    had."""


class PulledListener(Protocol):
    """Who is told what there is in a source: the announcer."""

    def set_pulled(self, source: str, packages: Sequence[PulledPackage] | None) -> None:
        """All of it, each time; the same twice changes nothing."""
        ...


def places_of(host: str, repository: str, reference: str) -> tuple[Reference, ...]:
    """Where a package may lie in the registry of that host, the likeliest place first.

    A source may write a reference in full, with another registry that it was pulled from, without any, or as
    a tag alone. None where no registry could have such a name.
    """
    server = _without_scheme(host).strip("/")
    text = _without_scheme(reference).strip("/")
    repository = _without_scheme(repository).strip("/").removeprefix(f"{server}/" if server else "")
    tries = []
    if server and text.startswith(f"{server}/"):
        tries.append(text)
    elif text:
        bare = not any(mark in text for mark in ":@/")
        first, slash, rest = text.partition("/")
        names_registry = bool(slash) and (first == "localhost" or "." in first or ":" in first)
        if bare and repository:
            tries.append(f"{server}/{repository}:{text}")
        if names_registry:
            tries.append(f"{server}/{rest}" if server else text)
        name = _NAME_AT_END.search(text)
        within = f"/{repository}".endswith("/" + text[: name.start()]) if name and repository else False
        if name and within:
            tries.append(f"{server}/{repository}{name[0]}")
        if not bare or not repository:
            tries.append(f"{server}/{text}")
        if name and repository:
            tries.append(f"{server}/{repository}{name[0]}")
    found: dict[Reference, None] = {}
    for each in tries:
        try:
            parsed = Reference.parse(each)
        except ConfigError:
            continue
        if parsed.digest is not None:
            parsed = Reference(parsed.registry, parsed.repository, None, parsed.digest)
        found[parsed] = None
    return tuple(found)


def listing_of(reference: Reference) -> str:
    """The reference that content is listed under here; what has no tag gets one made of its digest."""
    if reference.tag is None and reference.digest is not None:
        return f"{reference.registry}/{reference.repository}:{reference.digest.hex[:_TAG_DIGITS]}"
    return f"{reference.registry}/{reference.repository}:{reference.tag or 'latest'}"


def _without_scheme(text: str) -> str:
    """Such as `https://registry.example`, or `oci://registry.example/app:v1`."""
    text = text.strip()
    found = _SCHEME.match(text)
    return text[found.end() :] if found else text
