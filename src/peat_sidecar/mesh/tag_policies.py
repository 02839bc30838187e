"""What decides where records disagree on a tag: rules over references, in their order. Pure.

`newest`, which is the default: whoever has said it last. `immutable`: a tag that stands for something here
stays at that; else the first counts. `signers ID,ID`: only these nodes say what a tag stands for. Of tags of
`localhost`, which means something else in every cluster, only this node says it unless a rule fits.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Self

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import LOCAL_REGISTRY, EndpointId

_OWN_CLUSTER = f"{LOCAL_REGISTRY}/*"
_EXAMPLE = "registry.example/team/*=immutable, or =newest, or =signers ID,ID"


class TagKind(StrEnum):
    """Who wins."""

    NEWEST = "newest"
    IMMUTABLE = "immutable"
    SIGNERS = "signers"


@dataclass(frozen=True, slots=True)
class TagPolicy:
    """Of one tag."""

    kind: TagKind = TagKind.NEWEST
    signers: frozenset[EndpointId] = field(default=frozenset())
    """Who counts; of the other kinds everyone does."""

    @property
    def is_immutable(self) -> bool:
        """Whether the first wins, not the last."""
        return self.kind is TagKind.IMMUTABLE

    def admits(self, signers: Iterable[EndpointId]) -> bool:
        """Whether what these have signed counts; what nobody is known to have signed does not."""
        given = set(signers)
        return self.kind is not TagKind.SIGNERS or (bool(given) and given <= self.signers)


NEWEST = TagPolicy()


class TagPolicies:
    """The rules of a node; the first whose pattern fits decides."""

    def __init__(self, rules: Sequence[tuple[str, TagPolicy]] = (), own: Collection[EndpointId] = ()) -> None:
        """Patterns for references, as shells have them. `own`: ids that this node signs with."""
        self._rules = (*rules, (_OWN_CLUSTER, TagPolicy(TagKind.SIGNERS, frozenset(own))))

    @classmethod
    def parse(cls, lines: Iterable[str], own: Collection[EndpointId] = ()) -> Self:
        """From `PATTERN=POLICY`; `ConfigError` names the line that is none."""
        return cls([_rule(line) for line in lines], own)

    def of(self, reference: str) -> TagPolicy:
        """A reference with a digest has none: what it stands for is said by itself."""
        if "@" in reference:
            return NEWEST
        return next((policy for pattern, policy in self._rules if fnmatchcase(reference, pattern)), NEWEST)


def _rule(line: str) -> tuple[str, TagPolicy]:
    pattern, equals, text = (part.strip() for part in line.rpartition("="))
    kind, _, rest = text.partition(" ")
    ids = [each.strip() for each in rest.split(",") if each.strip()]
    if not equals or not pattern or kind not in list(TagKind):
        raise ConfigError(f"{line[:120]!r} is no policy for tags; one looks like {_EXAMPLE}")
    if (kind == TagKind.SIGNERS) != bool(ids):
        raise ConfigError(f"{line[:120]!r}: ids belong to `signers`, and only to it; write {_EXAMPLE}")
    return pattern, TagPolicy(TagKind(kind), frozenset(EndpointId.parse(each) for each in ids))
