"""Deletion of what nothing needs, a few blobs at a time, so that requests are answered in between.

A blob is needed while a package holds it, by its blobs or by its collection; while somebody has sent it for a
manifest that is still to come; where it was taken in by itself; and while a transfer is at work with it. That
is looked at under the same lock under which packages are listed, so nothing that is listed misses a blob.
"""

import time
from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import islice

from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.store.companions import Companions
from peat_sidecar.store.holds import Holds
from peat_sidecar.store.index import BlobRow
from peat_sidecar.store.records import BlobInfo
from peat_sidecar.store.shelf import Shelf
from peat_sidecar.store.uploads import Uploads

_AT_ONCE = 16
_PAUSE_SECONDS = 0.001
"""Between two lots: the lock goes to whoever waits for it."""
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

    def __init__(self, shelf: Shelf, companions: Companions, uploads: Uploads, holds: Holds) -> None:
        self._shelf = shelf
        self._companions = companions
        self._uploads = uploads
        self._holds = holds

    def discard(self, blobs: Iterable[BlobHash]) -> Discarded:
        """Those of them that nothing needs."""
        done, left = Discarded(), iter(blobs)
        while lot := tuple(islice(left, _AT_ONCE)):
            with self._shelf.naming:
                found = [row for each in lot if (row := self._shelf.find(each)) is not None]
                rows = [row for row in found if not self.is_needed(row)]
                self._shelf.drop(*rows)
            done += Discarded(len(rows), sum(row.size for row in rows))
            time.sleep(_PAUSE_SECONDS)
        return done

    def orphans(self, age_seconds: float, wanted: Container[BlobHash] = ()) -> list[BlobInfo]:
        """Complete blobs that nothing needs, and nobody wants, since so long ago."""
        before, after, found = time.time() - age_seconds, b"", []
        while rows := self._shelf.index.blobs_without_package(after, _PAGE):
            after = rows[-1].hash.value
            for row in rows:
                with self._shelf.naming:
                    is_orphan = row.hash not in wanted and not self.is_needed(row)
                if is_orphan and self._came_at(row) <= before:
                    found.append(self._shelf.info(row))
        return found

    def is_needed(self, row: BlobRow) -> bool:
        """Called with the lock of the names held."""
        names = names_of(row)
        return bool(
            row.hash in self._companions
            or self._holds.any((row.hash, *names))
            or self._shelf.index.holders(names)
            or any(self._uploads.is_kept(name) or self._uploads.is_claimed(name) for name in names)
        )

    def is_held(self, row: BlobRow) -> bool:
        """Whether a transfer is at work with it."""
        return self._holds.any((row.hash, *names_of(row)))

    def _came_at(self, row: BlobRow) -> float:
        """When its file got its name: a linked file keeps the time of its content."""
        try:
            return self._shelf.layout.blob(row.sha256).lstat().st_ctime
        except OSError:
            return time.time()


def names_of(row: BlobRow) -> list[Digest]:
    """Its digests."""
    return [name for name in (row.sha256, row.sha512) if name is not None]
