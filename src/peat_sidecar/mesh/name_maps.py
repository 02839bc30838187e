"""Under which names other clusters know what has a name of this cluster alone: `localhost/team/app:v1` as
`registry.example/team/app:v1`. Pure.
"""

from collections.abc import Iterable
from typing import Self

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Reference

_EXAMPLE = "localhost/team/*=registry.example/team/*"


class NameMaps:
    """The rules of a node; the first that fits decides."""

    def __init__(self, prefixes: Iterable[tuple[str, str]] = ()) -> None:
        """What references begin with here, and what they begin with elsewhere."""
        self._prefixes = tuple(prefixes)

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Self:
        """From `PREFIX*=PREFIX*`; `ConfigError` names the line that is none."""
        return cls([_rule(line) for line in lines])

    def of(self, reference: str) -> str:
        """The name that others know; the same where no rule fits."""
        for here, elsewhere in self._prefixes:
            if reference.startswith(here):
                return elsewhere + reference.removeprefix(here)
        return reference


def _rule(line: str) -> tuple[str, str]:
    here, _, elsewhere = (part.strip() for part in line.partition("="))
    prefixes = here.removesuffix("*"), elsewhere.removesuffix("*")
    try:
        for side, prefix in zip((here, elsewhere), prefixes, strict=True):
            if not side.endswith("/*") or not Reference.parse(f"{prefix}a").repository:
                raise ConfigError(side)
    except ConfigError:
        raise ConfigError(f"{line[:120]!r} maps no names; a map looks like {_EXAMPLE}") from None
    return prefixes
