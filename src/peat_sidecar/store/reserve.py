"""A little room that is kept for when the disk is full: what is removed has to be written down first."""

import os
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 1 << 20


class Reserve:
    """A file that is given up when there is no room, and made again when there is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> None:
        """Where there is no room for it, there is none until the next call."""
        if self._path.exists():
            return
        with suppress(OSError):
            fd = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            except OSError:
                self._path.unlink()
                raise
            finally:
                os.close(fd)

    def give_up(self) -> None:
        """Its room is others' now."""
        with suppress(OSError):
            self._path.unlink()
