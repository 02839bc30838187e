"""The stream that the floors above see, over two raw halves which Iroh and the memory twin provide.

It adds the watchdog, reads exactly or to the end, remembers how a direction ended, and turns nothing raw
loose on its callers. What was found out about Iroh's halves, and what this file does about it:

- A cancelled read loses bytes, so a direction whose step was cancelled or stalled is given up: it is stopped
  (or reset) at once and every later step fails.
- After a reset was reported once, Iroh reports a clean end; the first failure is kept and raised again.
- A sending half that is dropped without a word finishes cleanly. So a writer that fails must `reset`.
- Small reads take what has come, small writes hand over what is taken, and every byte counts as progress,
however
  slow the link. Large ones are given to Iroh whole, because each call through the bindings costs (a fetch of
  500 MB took 1,600 reads of what had come); there the bytes that the connection moves count as progress.
  Writes are that large only while they go quickly. 1.25 MB is taken without any reader.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from peat_sidecar.errors import PeatError, PeerUnavailable, RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.net.failures import StreamEnded, StreamStalled
from peat_sidecar.net.watchdog import PROGRESS_BYTES, Interrupted, Stalled, Watchdog

READ_LIMIT = 1 << 20
READ_AHEAD = 1 << 16
WRITE_PIECE = (1 << 18) + (1 << 15)
LARGE_BYTES = 1 << 17
"""From here on Iroh's own loops over a whole read or write pay: a fetch takes a tenth less of the processor.
"""
QUICK_BYTES_PER_SECOND = 1 << 19
_DRAIN_ROUNDS = 120
GIVEN_UP = 0


class SendHalf(Protocol):
    """What a transport provides for writing; errors are already the program's own."""

    async def write(self, data: bytes) -> int:
        """How many bytes were taken, at least one; waits while there is no room."""
        ...

    async def write_all(self, data: bytes) -> None:
        """Returns when all are taken."""
        ...

    async def finish(self) -> None: ...
    async def reset(self, code: int) -> None: ...
    async def stopped(self) -> int | None:
        """Returns when the peer has all bytes (None) or has stopped the stream (its code)."""
        ...


class ReceiveHalf(Protocol):
    """What a transport provides for reading."""

    async def read(self, limit: int) -> bytes:
        """Some bytes; b"" at the end."""
        ...

    async def read_exact(self, length: int) -> bytes:
        """So many bytes; `StreamEnded` when it ends early."""
        ...

    async def stop(self, code: int) -> None: ...


class WatchedStream:
    """`Stream` over two raw halves."""

    def __init__(
        self,
        send: SendHalf,
        receive: ReceiveHalf,
        *,
        remote_id: EndpointId,
        stall_seconds: float | None,
        traffic: Callable[[], tuple[int, int]],
    ) -> None:
        self.remote_id = remote_id
        self._send = send
        self._receive = receive
        self._reading = Watchdog(stall_seconds)
        self._writing = Watchdog(stall_seconds)
        self.heard: Callable[[int], None] | None = None
        self._traffic = traffic
        self._ahead = memoryview(b"")
        self._ended = False
        self._writes_quickly = False
        # Makers of errors, not errors: a kept error keeps its frames, those keep the stream, and Rust would
        # learn of the drop only when the garbage collector comes round.
        self._read_failure: Callable[[], PeatError] | None = None
        self._write_failure: Callable[[], PeatError] | None = None

    @property
    def stall_seconds(self) -> float | None:
        return self._reading.stall_seconds

    @stall_seconds.setter
    def stall_seconds(self, value: float | None) -> None:
        self._reading.stall_seconds = value
        self._writing.stall_seconds = value

    # ---- reading

    async def read(self, limit: int) -> bytes:
        if self._ahead:
            return self._take(limit)
        return await self._fetch(min(limit, READ_LIMIT))

    async def read_exact(self, length: int) -> bytes:
        first = self._take(length)
        if len(first) == length:
            return first
        pieces, missing = [first] if first else [], length - len(first)
        if missing >= LARGE_BYTES:
            data = await self._read_large(missing)
            return first + data if first else data
        while missing > 0:
            data = await self._fetch(min(max(missing, READ_AHEAD), READ_LIMIT))
            if not data:
                raise StreamEnded(
                    f"peer {self.remote_id.short} ended its stream {missing} bytes before the {length} due"
                )
            if len(data) > missing:
                self._ahead = memoryview(data)[missing:]
                data = data[:missing]
            missing -= len(data)
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_to_end(self, limit: int) -> bytes:
        pieces, total = [bytes(self._ahead)], len(self._ahead)
        self._ahead = memoryview(b"")
        while total <= limit and (data := await self._fetch(min(limit + 1 - total, READ_LIMIT))):
            pieces.append(data)
            total += len(data)
        if total > limit:
            await self.stop(GIVEN_UP)
            raise RemoteProtocolError(f"peer {self.remote_id.short} sent more than the {limit} bytes allowed")
        return b"".join(pieces)

    async def stop(self, code: int) -> None:
        if self._ended or self._read_failure is not None:
            return
        self._failed_read("was stopped here")
        self._ahead = memoryview(b"")
        await self._reading.interrupt()
        await self._quietly_stop(code)

    def _take(self, limit: int) -> bytes:
        data = bytes(self._ahead[:limit])
        self._ahead = self._ahead[limit:]
        return data

    async def _fetch(self, limit: int) -> bytes:
        if self._read_failure is not None:
            raise self._read_failure()
        if self._ended or limit <= 0:
            return b""
        data = await self._guard_read(self._receive.read(limit), None)
        self._ended = not data
        return data

    async def _read_large(self, length: int) -> bytes:
        if self._read_failure is not None:
            raise self._read_failure()
        return await self._guard_read(self._receive.read_exact(length), lambda: self._traffic()[1])

    async def _guard_read(self, step: Coroutine[Any, Any, bytes], moved: Callable[[], int] | None) -> bytes:
        """A step of reading; when it fails, so do all later ones."""
        try:
            data = await self._reading.watch(step, moved)
            if self.heard is not None:
                self.heard(len(data))
            return data
        except Interrupted:
            raise self._failed_read("was stopped here") from None
        except Stalled:
            self._read_failure = self._silence("sent nothing")
            await self._quietly_stop(GIVEN_UP)
            raise self._read_failure() from None
        except PeatError as failure:
            self._read_failure = _maker(failure)
            raise
        except asyncio.CancelledError:
            self._failed_read("was cancelled")
            raise

    def _failed_read(self, how: str) -> PeatError:
        if self._read_failure is None:
            text = f"reading from peer {self.remote_id.short} {how}"
            self._read_failure = partial(PeerUnavailable, text)
        return self._read_failure()

    async def _quietly_stop(self, code: int) -> None:
        with contextlib.suppress(PeatError):
            await self._receive.stop(code)

    # ---- writing

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        whole = memoryview(data).cast("B")
        offset = 0
        while offset < len(whole):
            piece = whole[offset : offset + WRITE_PIECE]
            offset += await self._hand_over(data if len(piece) == len(whole) else piece)

    async def finish(self) -> None:
        if self._write_failure is not None:
            raise self._write_failure()
        self._failed_write("is finished")
        await self._send.finish()

    async def drained(self) -> None:
        waiting = asyncio.ensure_future(self._send.stopped())
        try:
            for _ in range(_DRAIN_ROUNDS):
                sent, received = self._traffic()
                await asyncio.wait({waiting}, timeout=self.stall_seconds)
                if waiting.done():
                    waiting.result()
                    return
                sent_now, received_now = self._traffic()
                if received_now == received or sent_now - sent < PROGRESS_BYTES:
                    break
        finally:
            waiting.cancel()
        await self._quietly_reset(GIVEN_UP)
        raise self._silence("took nothing")()

    async def stopped(self) -> None:
        with contextlib.suppress(PeatError):
            await self._send.stopped()

    async def reset(self, code: int) -> None:
        self._failed_write("was given up here")
        await self._writing.interrupt()
        await self._quietly_reset(code)

    async def _hand_over(self, piece: bytes | bytearray | memoryview) -> int:
        """How many bytes were taken. All of a large piece at once, while that goes quickly."""
        if self._write_failure is not None:
            raise self._write_failure()
        data = piece if isinstance(piece, bytes) else bytes(piece)
        clock = asyncio.get_running_loop().time
        begun = clock()
        if self._writes_quickly and len(data) >= LARGE_BYTES:
            step: Coroutine[Any, Any, int | None] = self._send.write_all(data)
            taken = await self._guard_write(step, lambda: self._traffic()[0])
        else:
            taken = await self._guard_write(self._send.write(data), None)
        count = len(data) if taken is None else taken
        self._writes_quickly = (clock() - begun) * QUICK_BYTES_PER_SECOND <= count
        return count

    async def _guard_write(
        self, step: Coroutine[Any, Any, int | None], moved: Callable[[], int] | None
    ) -> int | None:
        """A step of writing; when it fails, so do all later ones."""
        try:
            return await self._writing.watch(step, moved)
        except Interrupted:
            raise self._failed_write("was given up here") from None
        except Stalled:
            self._write_failure = self._silence("took nothing")
            await self._quietly_reset(GIVEN_UP)
            raise self._write_failure() from None
        except PeatError as failure:
            self._write_failure = _maker(failure)
            raise
        except asyncio.CancelledError:
            self._failed_write("was cancelled")
            raise

    def _failed_write(self, how: str) -> PeatError:
        if self._write_failure is None:
            text = f"writing to peer {self.remote_id.short} {how}"
            self._write_failure = partial(PeerUnavailable, text)
        return self._write_failure()

    async def _quietly_reset(self, code: int) -> None:
        with contextlib.suppress(PeatError):
            await self._send.reset(code)

    def _silence(self, what: str) -> Callable[[], PeatError]:
        return partial(StreamStalled, f"peer {self.remote_id.short} {what} for {self.stall_seconds or 0:g} s")


def _maker(failure: PeatError) -> Callable[[], PeatError]:
    """Makes the same error again, without its frames."""
    kind, arguments, fields = type(failure), failure.args, dict(vars(failure))

    def make() -> PeatError:
        again = kind.__new__(kind, *arguments)
        vars(again).update(fields)
        return again

    return make
