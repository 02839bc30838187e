"""One process per data directory."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from peat_sidecar.errors import ConfigError


class DataDirLock:
    """Held from construction to `close`, or to the death of the process, however it dies."""

    def __init__(self, data_dir: Path) -> None:
        self._fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise ConfigError(
                f"{data_dir} is in use by the process {holder}; stop that one or choose another directory"
            ) from None
        with suppress(
            OSError
        ):  # the lock holds on a full disk too; only the next one's message lacks the number
            os.pwrite(self._fd, f"{os.getpid():<20}\n".encode(), 0)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
