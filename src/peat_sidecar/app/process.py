"""The process itself: signals, open files, memory."""

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable

import structlog

from peat_sidecar.errors import PeatError

STOP_SECONDS = 9.0
"""After a signal the process ends within this time, whatever hangs: the store bears it."""
ANEW_SECONDS = 5.0
LEAVE_SECONDS = 1.0
_FILES = 65536
_log = structlog.get_logger(__name__)

# malloc.h of glibc
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2


def keep_freed_memory() -> None:
    """Has glibc keep the megabytes that streams and files are read into, instead of giving them back to the
    kernel and taking them anew each time: a fetch spends a tenth less of the processor. Other C libraries do
    as they do.
    """
    _mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    _mallopt(_M_TRIM_THRESHOLD, 64 << 20)


def share_arenas() -> None:
    """Has all threads take memory from the same two heaps, since what one of many keeps freed is of no use to
    the others: 32 clients of the registry took 290 MiB without that, and 210 with it. glibc listens only
    before the first thread begins.
    """
    _mallopt(_M_ARENA_MAX, _ARENAS)


def _mallopt(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(option, value)


def spare_the_collector() -> None:
    """What lives as long as the program is not looked at again by the garbage collector. Each read of a
    stream makes a few objects that could be part of a cycle, so that the collector took a fifth of a fetch's
    time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def raise_file_limit() -> None:
    """As many open files as the system allows; the usual 1,024 are few for peers, blobs and calls at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def keep_going(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Does what is meant to go on for as long as the program, and begins it anew where it ends: content is
    served all the same, and what was to be done follows from what there is.
    """
    while True:
        try:
            await run()
            _log.error("what is to go on has ended, and begins anew", work=name)
        except PeatError as error:
            _log.warning("what is to go on fails, and begins anew", work=name, error=str(error))
        except Exception:  # noqa: BLE001 - the edge of the task
            _log.exception("what is to go on fails, and begins anew", work=name)
        await sleep(ANEW_SECONDS)


def heed_signals(stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT set `stop`; a second one, or nine seconds, end the process."""
    loop = asyncio.get_running_loop()

    def stop_soon() -> None:
        if stop.is_set():  # asked twice: now
            os._exit(1)
        stop.set()
        # A thread that reads a slow disk cannot be cancelled, and would keep the process alive.
        timer = threading.Timer(STOP_SECONDS, os._exit, (1,))
        timer.daemon = True
        timer.start()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop_soon)


def leave_soon() -> None:
    """When everything is closed: threads that still wait, as for a name server that is silent, would keep the
    process for as long as that takes, and have nothing to put away.
    """

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(0)

    timer = threading.Timer(LEAVE_SECONDS, leave)
    timer.daemon = True
    timer.start()
