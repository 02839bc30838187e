"""Marks on blobs that have to outlive the index: empty files, named by digests."""

from contextlib import suppress
from pathlib import Path

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Digest
from peat_sidecar.store.failures import translated


class Marks:
    """One kind of them, in a folder of its own. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, digest: Digest) -> bool:
        return self._path(digest).exists()

    def add(self, digest: Digest) -> None:
        """Again: nothing changes."""
        path = self._path(digest)
        with translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def remove(self, digest: Digest) -> None:
        """Nothing where there is none."""
        path = self._path(digest)
        with translated(path):
            path.unlink(missing_ok=True)

    def all(self) -> set[Digest]:
        """In no order."""
        found = set()
        for path in self._folder.glob("*-*"):
            with suppress(ConfigError):  # not ours
                found.add(Digest.parse(path.name.replace("-", ":", 1)))
        return found

    def _path(self, digest: Digest) -> Path:
        return self._folder / f"{digest.algorithm}-{digest.hex}"
