"""The blobs of listed collections that are not their packages': the collection itself, its list of names, and
the two files of its layout. Several packages share some of them, all of them the first of these files.
"""

from collections import Counter
from collections.abc import Callable

from peat_sidecar.ids import BlobHash
from peat_sidecar.packages import LAYOUT_NAMES
from peat_sidecar.wire import parse_hash_sequence

_OWN_BLOBS = 1 + len(LAYOUT_NAMES)
"""At the beginning of a collection: its names, and the files of the layout."""
HEAD_BYTES = 32 * _OWN_BLOBS


class Companions:
    """Counted by the collections that have them. Used by one thread at a time."""

    def __init__(self, read_head: Callable[[BlobHash], bytes]) -> None:
        """`read_head` gives the first `HEAD_BYTES` of a collection; fewer where it is not here."""
        self._read_head = read_head
        self._of: dict[BlobHash, tuple[BlobHash, ...]] = {}
        self._listed: Counter[BlobHash] = Counter()
        self._needed: Counter[BlobHash] = Counter()

    def __contains__(self, blob: BlobHash) -> bool:
        return blob in self._needed

    def of(self, collection: BlobHash) -> tuple[BlobHash, ...]:
        """The collection and what goes with it."""
        known = self._of.get(collection, ())
        if len(known) > 1:
            return known
        head = self._read_head(collection)
        rest = parse_hash_sequence(head) if len(head) == HEAD_BYTES else ()
        return tuple(dict.fromkeys((collection, *rest)))

    def add(self, collection: BlobHash) -> None:
        """One more package of it is listed; what goes with it may only be known now."""
        before, now = self._of.get(collection, ()), self.of(collection)
        for blob in set(now).difference(before):
            self._needed[blob] += self._listed[collection]
        self._of[collection] = now
        self._listed[collection] += 1
        self._needed.update(now)

    def remove(self, collection: BlobHash) -> None:
        """One less is."""
        self._listed[collection] -= 1
        self._needed.subtract(self._of[collection])
        self._needed += Counter()  # what nobody needs any more is left out
        if not self._listed[collection]:
            del self._of[collection], self._listed[collection]
