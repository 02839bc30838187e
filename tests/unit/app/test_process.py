"""What is meant to go on for as long as the program does, whatever befalls it, and the end of the program."""

import asyncio
import subprocess
import sys
import time

import pytest
import structlog

from peat_sidecar.app.process import ANEW_SECONDS, keep_going
from peat_sidecar.errors import StoreFailed


async def test_what_fails_or_ends_begins_anew() -> None:
    ends: list[Exception | None] = [StoreFailed("the disk is slow"), ZeroDivisionError("x"), None]
    pauses: list[float] = []
    going = asyncio.Event()

    async def run() -> None:
        if not ends:
            going.set()
            await asyncio.Event().wait()
        elif (error := ends.pop(0)) is not None:
            raise error

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(keep_going("work", run, sleep=sleep))
        await asyncio.wait_for(going.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert pauses == [ANEW_SECONDS] * 3
    assert [(each["log_level"], each.get("exc_info", False)) for each in logs] == [
        ("warning", False),
        ("error", True),
        ("error", False),
    ]


_STUCK = """
import asyncio, time
from peat_sidecar.app import daemon

async def run(settings):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 30)

daemon.run = run
daemon.serve(None)
"""


def test_a_thread_that_waits_for_a_silent_name_server_does_not_hold_up_the_end() -> None:
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-c", _STUCK], timeout=60, check=False).returncode == 0
    assert time.monotonic() - began < 15
