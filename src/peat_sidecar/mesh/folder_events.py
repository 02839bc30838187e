"""Tells when something has changed in a folder, or with the folder itself, through the kernel's own events.

The folder need not be there: then the nearest folder above it is listened to. Where the kernel gives no
events (network file systems, or too many watches) waits simply end early.
"""

import asyncio
import contextlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

_DEBOUNCE_MS = 400
_STEP_MS = 50
"""Changes that follow each other within this are one."""
_WITHOUT_EVENTS_SECONDS = 2.0

_log = structlog.get_logger(__name__)
_Identity = tuple[tuple[str, int, int], ...]


class FolderEvents:
    """One folder. For one task at a time; close it."""

    def __init__(self, path: Path) -> None:
        self._path = os.path.abspath(path)
        # A thread of its own: it waits nearly always, and would take one from all others.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="folder-events")
        self._stop = threading.Event()
        self._notify: RustNotify | None = None
        self._identity: _Identity = ()
        self._deaf = False

    async def listen(self) -> None:
        """From its return on no change is missed: what is read after it is either new, or told by `wait`."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._listen)

    async def wait(self, seconds: float) -> None:
        """Until something has changed since `listen`, or the time is over."""
        loop = asyncio.get_running_loop()
        waiting = loop.run_in_executor(self._executor, self._wait, seconds)
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self._stop.set()
            with contextlib.suppress(Exception):
                await waiting
            raise

    def close(self) -> None:
        """Nothing is waited for any more."""
        self._stop.set()
        self._executor.shutdown(wait=True)
        self._drop()

    def _listen(self) -> None:
        identity = self._look()
        if self._notify is not None and identity == self._identity:
            return
        self._drop()
        try:
            paths = [path for path, _, _ in identity]
            self._notify = RustNotify(paths, False, False, 0, False, False)
            self._deaf = False
        except (OSError, WatchfilesRustInternalError) as error:
            if not self._deaf:
                _log.warning(
                    "the kernel does not tell of changes in a folder; it is looked at every few seconds",
                    path=self._path,
                    error=str(error),
                )
            self._deaf = True
        self._identity = identity  # what was swapped meanwhile is found when `wait` looks again

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stop.is_set():
            left = end - time.monotonic()
            if self._notify is None:
                self._stop.wait(max(0.0, min(left, _WITHOUT_EVENTS_SECONDS)))
                return
            if left <= 0 or self._look() != self._identity:
                return
            try:
                found = self._notify.watch(_DEBOUNCE_MS, _STEP_MS, max(1, int(left * 1000)), self._stop)
            except (OSError, RuntimeError):  # what the watch was on is gone
                self._drop()
                return
            if isinstance(found, set) and any(self._concerns(path) for _, path in found):
                if any(os.path.dirname(path) != self._path for _, path in found):
                    # The folder may be another one now, even where its number on the disk is the same.
                    self._drop()
                return

    def _drop(self) -> None:
        if self._notify is not None:
            self._notify.close()
            self._notify = None

    def _concerns(self, path: str) -> bool:
        """Not its neighbours."""
        return os.path.dirname(path) == self._path or f"{self._path}/".startswith(f"{path}/")

    def _look(self) -> _Identity:
        """The folder and the one above it, or the nearest ones that are there, by what they are on disk."""
        found = []
        path = self._path
        while True:
            try:
                status = os.stat(path)
                found.append((path, status.st_dev, status.st_ino))
            except OSError:
                pass
            above = os.path.dirname(path)
            if len(found) == 2 or (found and found[0][0] != self._path) or above == path:
                return tuple(found)
            path = above
