"""What a place with several packages calls them."""

from collections.abc import Sequence
from dataclasses import dataclass

from peat_sidecar.errors import NotFound

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class NamedPackage:
    """A package that can be chosen in a place."""

    choice: str
    """Its name there, or its digest."""
    reference: str | None
    """In full, with a registry; None where the place does not tell one."""


def only_one(packages: Sequence[NamedPackage], place: str) -> str:
    """The name of the only package; `NotFound` says which there are."""
    if len(packages) == 1:
        return packages[0].choice
    if not packages:
        raise NotFound(f"{place} holds no package that has a name")
    names = ", ".join(each.choice for each in packages[:_SHOWN])
    more = f" and {len(packages) - _SHOWN} others" if len(packages) > _SHOWN else ""
    raise NotFound(f"{place} holds several packages; name one, or ask for all: {names}{more}")
