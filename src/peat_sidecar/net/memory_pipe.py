"""One direction of a stream of the memory twin, with the habits of QUIC that callers get wrong.

Bytes go into transit when written and arrive later, 64 KiB a loop turn; a sender may be 1.25 MB ahead of its
reader. A reset drops what was not read; after it was reported once, reads give a clean end. A lost connection
drops what is in transit. A half that is dropped finishes, or stops, by itself.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from peat_sidecar.errors import PeatError
from peat_sidecar.ids import EndpointId
from peat_sidecar.net.failures import StreamEnded, StreamReset, StreamStopped

WINDOW_BYTES = 1_250_000
TURN_BYTES = 1 << 16


class Pipe:
    """The direction itself, between a `MemorySend` and a `MemoryReceive`."""

    def __init__(
        self,
        sender: EndpointId,
        receiver: EndpointId,
        *,
        flows: Callable[[], bool],
        on_arrival: Callable[[int], None],
        on_over: Callable[[], None],
    ) -> None:
        self.sender = sender
        self.receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._flows = flows
        self._on_arrival = on_arrival
        self._on_over = on_over
        self._transit: deque[bytes] = deque()
        self._arrived: deque[bytes] = deque()
        self._unread = 0
        self._finished = self._finish_arrived = False
        self._reset_code: int | None = None
        self._reset_arrived = self._reset_reported = False
        self._stop_code: int | None = None
        self._stop_arrived = False
        self._lost_to: dict[EndpointId, Callable[[], PeatError]] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._pump_scheduled = False
        self.is_over = False

    async def write(self, data: bytes) -> int:
        await self._until(
            lambda: self._stop_arrived or self._lost(self.sender) or self._unread < WINDOW_BYTES
        )
        self._raise_lost(self.sender)
        if self._stop_arrived:
            code = self._stop_code or 0
            raise StreamStopped(f"peer {self.receiver.short} wants no more, code {code}", code)
        taken = data[: WINDOW_BYTES - self._unread]
        self._transit.append(taken)
        self._unread += len(taken)
        self.pump()
        return len(taken)

    def finish(self) -> None:
        self._finished = True
        self.pump()

    def reset(self, code: int) -> None:
        if self._reset_code is None and not self._finish_arrived:
            self._reset_code = code
            self._transit.clear()
            self.pump()

    async def stopped(self) -> int | None:
        await self._until(
            lambda: (
                self._stop_arrived or self._finish_arrived or self._reset_arrived or self._lost(self.sender)
            )
        )
        if self._stop_arrived:
            return self._stop_code
        if not self._finish_arrived:
            self._raise_lost(self.sender)
        return None

    async def read(self, limit: int) -> bytes:
        await self._until(
            lambda: (
                bool(self._arrived)
                or self._finish_arrived
                or self._reset_arrived
                or self._lost(self.receiver)
            )
        )
        if self._reset_arrived and not self._reset_reported:
            self._reset_reported = True
            code = self._reset_code or 0
            raise StreamReset(f"peer {self.sender.short} gave up its stream with code {code}", code)
        if self._arrived:
            return self._take(limit)
        if not self._finish_arrived:
            self._raise_lost(self.receiver)
        return b""

    def stop(self, code: int) -> None:
        if self._stop_code is None and not self._finish_arrived:
            self._stop_code = code
            self.pump()

    def lose(self, side: EndpointId, error: Callable[[], PeatError]) -> None:
        """The connection is gone for that side; what is in transit never arrives."""
        self._lost_to.setdefault(side, error)
        self._transit.clear()
        self._wake()

    def pump(self) -> None:
        if not self._pump_scheduled and not self._loop.is_closed():
            self._pump_scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._pump_scheduled = False
        if not self._flows() or self._lost_to:
            return
        moved = 0
        while self._transit and moved < TURN_BYTES:
            piece = self._transit.popleft()
            if len(piece) > TURN_BYTES:
                self._transit.appendleft(piece[TURN_BYTES:])
                piece = piece[:TURN_BYTES]
            moved += len(piece)
            self._arrived.append(piece)
        if self._reset_code is not None:
            self._reset_arrived = True
            self._arrived.clear()
        self._finish_arrived = self._finished and not self._transit and not self._reset_arrived
        self._stop_arrived = self._stop_code is not None
        if moved or self._finish_arrived or self._reset_arrived:
            self._on_arrival(moved)
        if self._transit:
            self.pump()
        self._check_over()
        self._wake()

    def _take(self, limit: int) -> bytes:
        data = bytearray()
        while self._arrived and len(data) < limit:
            piece = self._arrived.popleft()
            if len(data) + len(piece) > limit:
                cut = limit - len(data)
                self._arrived.appendleft(piece[cut:])
                piece = piece[:cut]
            data += piece
        self._unread -= len(data)
        self._check_over()
        self._wake()
        return bytes(data)

    def _check_over(self) -> None:
        read_out = self._finish_arrived and not self._arrived
        if not self.is_over and (read_out or self._reset_arrived or self._stop_arrived):
            self.is_over = True
            self._on_over()

    def _lost(self, side: EndpointId) -> bool:
        return side in self._lost_to

    def _raise_lost(self, side: EndpointId) -> None:
        if side in self._lost_to:
            raise self._lost_to[side]()

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            waiter = self._loop.create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


class MemorySend:
    """`SendHalf` of the twin."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def write(self, data: bytes) -> int:
        return await self._pipe.write(data)

    async def write_all(self, data: bytes) -> None:
        while data:
            data = data[await self._pipe.write(data) :]

    async def finish(self) -> None:
        self._pipe.finish()

    async def reset(self, code: int) -> None:
        self._pipe.reset(code)

    async def stopped(self) -> int | None:
        return await self._pipe.stopped()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            self._pipe.finish()


class MemoryReceive:
    """`ReceiveHalf` of the twin."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def read(self, limit: int) -> bytes:
        return await self._pipe.read(limit)

    async def read_exact(self, length: int) -> bytes:
        pieces: list[bytes] = []
        while length:
            piece = await self._pipe.read(length)
            if not piece:
                raise StreamEnded(f"peer {self._pipe.sender.short} ended its stream early")
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    async def stop(self, code: int) -> None:
        self._pipe.stop(code)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            self._pipe.stop(0)
