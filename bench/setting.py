"""What every group of rows is given: where to write, how often to measure, where to report."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.measurement import Report

_LARGE_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Content:
    """A file made of the machine's files."""

    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Setting:
    """One run of the benches."""

    console: Console
    report: Report
    scratch: Path
    """An empty folder on the disk that is measured; removed at the end."""
    rounds: int | None
    """As asked for; None for the default."""

    def rounds_for(self, size_bytes: int) -> int:
        """Fewer for large blobs, which vary less and take longer."""
        return self.rounds or (3 if size_bytes > _LARGE_BYTES else 5)
