"""The five classes that say what goes first on a link that cannot carry everything at once."""

from enum import StrEnum


class TransferClass(StrEnum):
    """Of a want, a rule or a request; the first goes before all others."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    BULK = "bulk"

    @property
    def rank(self) -> int:
        """0 for what goes first."""
        return _RANKS[self]


_RANKS = {each: rank for rank, each in enumerate(TransferClass)}
