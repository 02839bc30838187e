"""What is fetched without being asked for: rules over references and platforms, in their order.

The first rule that fits a package says its class. Without rules nothing is wanted. Pure.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from peat_sidecar.classes import TransferClass
from peat_sidecar.config import ReplicateRule

ANY_ARCH = frozenset({"", "any", "all", "multi", "noarch"})
"""Of packages that fit every platform, hold several, or do not say."""
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386"}
_SYSTEMS = frozenset({"linux", "windows", "darwin", "freebsd", "multi"})


def arch_of(text: str) -> str:
    """The architecture of `linux/arm64`, `arm64`, `aarch64` or `linux/arm/v7`."""
    parts = text.strip().lower().split("/")
    if parts[0] in _SYSTEMS and len(parts) > 1:
        parts = parts[1:]
    return _ALIASES.get(parts[0], parts[0])


def same_arch(one: str, other: str) -> bool:
    """Whether two packages may be versions of the same."""
    first, second = arch_of(one), arch_of(other)
    return first == second or not ANY_ARCH.isdisjoint({first, second})


class Platforms:
    """What a cluster runs."""

    def __init__(self, platforms: Iterable[str] = ()) -> None:
        """As `linux/amd64` or `amd64`; none: this machine's."""
        found = frozenset(arch_of(text) for text in platforms)
        self.archs = found or frozenset({arch_of(platform.machine())})

    def runs(self, arch: str) -> bool:
        """Whether a package of that architecture is of use here."""
        name = arch_of(arch)
        return name in ANY_ARCH or name in self.archs


@dataclass(frozen=True, slots=True)
class Choice:
    """What the policy says of a package that it wants."""

    transfer_class: TransferClass
    is_own: bool
    """Of a platform of this cluster; others are carried."""
    export_to: str
    """The registry that it is written to; empty for none."""
    referrers: bool = True
    """What refers to it comes with it."""


class Policy:
    """The rules of a node."""

    def __init__(self, rules: Sequence[ReplicateRule] = (), platforms: Platforms | None = None) -> None:
        self.rules = tuple(rules)
        self.platforms = platforms or Platforms()

    @property
    def digest(self) -> str:
        """Another one for another policy."""
        said = [rule.model_dump(mode="json") for rule in self.rules], sorted(self.platforms.archs)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def choose(self, reference: str, arch: str, *, is_referrer: bool = False) -> Choice | None:
        """None for what is not wanted. `is_referrer`: it refers to another package."""
        for rule in self.rules:
            if fnmatchcase(reference, rule.reference) and self._fits(rule, arch):
                if is_referrer and not rule.referrers:
                    return None
                return Choice(rule.transfer_class, self.platforms.runs(arch), rule.export, rule.referrers)
        return None

    def _fits(self, rule: ReplicateRule, arch: str) -> bool:
        if rule.platforms:
            return Platforms(rule.platforms).runs(arch)
        return rule.carry or self.platforms.runs(arch)
