"""Deletion of what nothing needs, a few blobs at a time, so that requests are answered in between.

A blob is needed while a package holds it, by its blobs or by its collection; while somebody has sent it for a
manifest that is still to come; where it was taken in by itself; and while a transfer is at work with it. That
is looked at under the same lock under which packages are listed, so nothing that is listed misses a blob.
"""

import time
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from peat_sidecar.ids import BlobHash
from peat_sidecar.store.companions import Companions
from peat_sidecar.store.holds import Holds
from peat_sidecar.store.index import BlobRow
from peat_sidecar.store.marks import Marks
from peat_sidecar.store.records import BlobInfo
from peat_sidecar.store.shelf import Shelf
from peat_sidecar.store.uploads import Uploads

_AT_ONCE = 16
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Discarded:
    """What was deleted."""

    blobs: int = 0
    bytes: int = 0

    def __add__(self, other: "Discarded") -> "Discarded":
        return Discarded(self.blobs + other.blobs, self.bytes + other.bytes)


class Discarding:
    """Thread-safe."""

    def __init__(
        self, shelf: Shelf, companions: Companions, uploads: Uploads, kept: Marks, holds: Holds
    ) -> None:
        self._shelf = shelf
        self._companions = companions
        self._uploads = uploads
        self._kept = kept
        self._holds = holds

    def discard(self, blobs: Iterable[BlobHash]) -> Discarded:
        """Those of them that nothing needs."""
        done, left, took = Discarded(), iter(blobs), 0.0
        while lot := tuple(islice(left, _AT_ONCE)):
            time.sleep(took)  # locks and processor are others' as long as they were ours
            began = time.monotonic()
            with self._shelf.naming:
                rows = self._unneeded(self._shelf.index.find_all(lot))
                self._shelf.drop(*rows)
            done += Discarded(len(rows), sum(row.size for row in rows))
            took = time.monotonic() - began
        return done

    def orphans(self, age_seconds: float, wanted: Container[BlobHash] = ()) -> list[BlobInfo]:
        """Complete blobs that nothing needs, and nobody wants, since so long ago."""
        before, after = time.time() - age_seconds, b""
        found: list[BlobInfo] = []
        while rows := self._shelf.index.blobs_without_package(after, _PAGE):
            after = rows[-1].hash.value
            with self._shelf.naming:
                left = self._unneeded(rows)
            old = (row for row in left if row.hash not in wanted and self._came_at(row) <= before)
            found += map(self._shelf.info, old)
        return found

    def _unneeded(self, rows: Sequence[BlobRow]) -> list[BlobRow]:
        """Called with the lock of the names held."""
        names = [name for row in rows for name in row.digests]
        needed = self._shelf.index.held(names) | self._uploads.spoken_for() | self._kept.all()
        return [
            row
            for row in rows
            if row.hash not in self._companions and not self.is_held(row) and needed.isdisjoint(row.digests)
        ]

    def is_held(self, row: BlobRow) -> bool:
        """Whether a transfer is at work with it."""
        return self._holds.any((row.hash, *row.digests))

    def _came_at(self, row: BlobRow) -> float:
        """When its file got its name: a linked file keeps the time of its content."""
        try:
            return self._shelf.layout.blob(row.sha256).lstat().st_ctime
        except OSError:
            return time.time()
