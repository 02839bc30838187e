"""A blob that is being fetched, and the parts of it that somebody is at."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import PartialBlob
from peat_sidecar.transfer.division import Division, Part
from peat_sidecar.transfer.wants import Want


@dataclass(eq=False, slots=True)
class Coming:
    """A blob that is being fetched."""

    want: Want
    partial: PartialBlob
    division: Division
    taken: "list[Taken]" = field(default_factory=list)
    writing: int = 0
    """Runs that are being written now."""
    publishing: bool = False

    def take(self, part: Part) -> "Taken":
        """Somebody fetches that part of it from now on."""
        taken = Taken(self, part, part.left)
        self.taken.append(taken)
        return taken


@dataclass(eq=False, slots=True)
class Taken:
    """A part of a blob, taken by somebody."""

    blob: Coming
    part: Part
    ranges: ChunkRanges
    """As they were asked for."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Others have brought all of it."""


def close_all(blobs: Iterable[Coming]) -> None:
    """Puts them away. Blocks."""
    for each in blobs:
        each.partial.close()
