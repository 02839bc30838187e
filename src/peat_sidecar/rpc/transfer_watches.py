"""Watching all transfers and the wants that wait, as snapshots.

Each says everything anew, and the next one is made when the last was taken: who is slow misses what was in
between, and nothing is held for it.
"""

import asyncio
from collections.abc import AsyncIterator

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.mesh_messages import want_message
from peat_sidecar.rpc.messages import transfer_message
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.transfer import Transfer, TransferState

WATCHES_LIMIT = 16
WANTS_LIMIT = 100
SNAPSHOT_SECONDS = 0.2
_WANTS_SECONDS = 1.0
"""Between two looks at the wants, of which there may be thousands."""


class TransferWatches:
    """All that there are. Lives on one event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._open = 0
        self._closed = asyncio.Event()

    async def snapshots(self) -> AsyncIterator[pb.WatchTransfersResponse]:
        """One now and one after each change, without end. `ConnectError` with `resource_exhausted` when there
        are too many watches, `unavailable` when the daemon stops.
        """
        if self._open >= WATCHES_LIMIT:
            raise ConnectError(
                Code.RESOURCE_EXHAUSTED, f"{WATCHES_LIMIT} clients watch transfers already; end one of them"
            )
        self._open += 1
        try:
            watch = _Watch(self._parts)
            while not self._closed.is_set():
                if (snapshot := await watch.changed()) is not None:
                    yield snapshot
                await self._pause()
        finally:
            self._open -= 1
        raise ConnectError(Code.UNAVAILABLE, "the daemon is stopping; watch again when it runs")

    def close(self) -> None:
        """Ends all of them; further ones are refused."""
        self._closed.set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(SNAPSHOT_SECONDS):
                await self._closed.wait()
        except TimeoutError:
            return


class _Watch:
    """What one client has been told."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._told = {each.id for each in parts.transfers.all() if each.state is not TransferState.RUNNING}
        """Transfers whose end it knows, or that had ended before it came."""
        self._last: pb.WatchTransfersResponse | None = None
        self._wants: list[pb.Want] = []
        self._more_wants = 0
        self._wants_due = 0.0

    async def changed(self) -> pb.WatchTransfersResponse | None:
        """All of it; None where it is as it was."""
        await self._look_at_wants()
        known = self._parts.transfers.all()
        ended = {each.id for each in known if each.state is not TransferState.RUNNING}
        shown = [each for each in known if each.id not in self._told]
        self._told = ended
        snapshot = self._snapshot(shown)
        if snapshot == self._last:
            return None
        self._last = snapshot
        return self._snapshot(shown, with_time=True)

    async def _look_at_wants(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._wants_due:
            self._wants_due = now + _WANTS_SECONDS
            wants, self._more_wants = await asyncio.to_thread(self._parts.wants.waiting, WANTS_LIMIT)
            self._wants = [want_message(each) for each in wants]

    def _snapshot(self, shown: list[Transfer], *, with_time: bool = False) -> pb.WatchTransfersResponse:
        """That time passes is no change."""
        messages = [transfer_message(each, self._parts.node.address) for each in shown]
        for message in [] if with_time else messages:
            message.elapsed_seconds = 0.0
        return pb.WatchTransfersResponse(transfers=messages, wants=self._wants, more_wants=self._more_wants)
