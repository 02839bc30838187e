"""Which blobs somebody reads while they come, and where: what is fetched first."""

import random
from collections.abc import Iterator

from peat_sidecar.ids import BlobHash


class Readings:
    """One for the program. Lives on one event loop."""

    def __init__(self) -> None:
        self._readers: dict[BlobHash, dict[object, int]] = {}

    def __contains__(self, blob: BlobHash) -> bool:
        """Whether anybody reads it."""
        return blob in self._readers

    def __iter__(self) -> Iterator[BlobHash]:
        """Blobs that are read."""
        return iter(tuple(self._readers))

    def at(self, blob: BlobHash) -> int:
        """The byte that one of its readers is at, each of them as likely; 0 where nobody reads it."""
        readers = self._readers.get(blob)
        return random.choice(tuple(readers.values())) if readers else 0

    def move(self, reader: object, blob: BlobHash, offset: int) -> None:
        """A reader begins there, or has come as far as that."""
        self._readers.setdefault(blob, {})[reader] = offset

    def end(self, reader: object, blob: BlobHash) -> None:
        """It reads no more."""
        readers = self._readers.get(blob, {})
        readers.pop(reader, None)
        if not readers:
            self._readers.pop(blob, None)
