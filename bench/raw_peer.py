"""Drives `bench.raw_stream`: its provider for as long as a comparison runs, a getter for each turn."""

import asyncio
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.setting import Content

_TURN_SECONDS = 600


class RawProvider:
    """A process that sends one file over a bare stream, for as long as its context lasts."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._hello: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *_command("provider", str(self._content.path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        self._hello = json.loads(line or b"{}")
        if not self._hello:
            raise RuntimeError("the raw provider ended at its start; its message stands above")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def get(self, out: Path) -> float:
        """Seconds from the request to the fsync."""
        size = self._content.size
        getter = await asyncio.create_subprocess_exec(
            *_command("getter", self._hello["id"], self._hello["address"], str(size), str(out)),
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await asyncio.wait_for(getter.communicate(), _TURN_SECONDS)
        if getter.returncode:
            raise RuntimeError("the raw getter failed; its message stands above")
        await asyncio.to_thread(out.unlink)
        return float(json.loads(printed)["seconds"])


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench.raw_stream", *arguments]
