"""Hypercorn's connection, mended where it would stay, wait or hold bytes without end.

What is mended is that of the one minor version that the project names.
"""

from contextlib import suppress

import hypercorn.protocol.h2 as http2
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Event, Updated
from hypercorn.protocol.h2 import BUFFER_LOW_WATER, H2Protocol, StreamBuffer
from priority.priority import MissingStreamError


class Buffer(StreamBuffer):
    """What is to be sent on a stream. Hypercorn's own lets more be put in whenever little was taken out; so a
    client that opens its window no further had whole answers held for it.
    """

    async def pop(self, max_length: int) -> bytes:
        length = min(len(self.buffer), max_length)
        data = bytes(self.buffer[:length])
        del self.buffer[:length]
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


http2.StreamBuffer = Buffer  # type: ignore[misc]


class Connection(TCPServer):
    """Ends with its client, and as a whole. Hypercorn's own stays for the idle time after the client has
    left, and for ever where one stream breaks the connection while another has an answer to give.
    """

    _over = False

    async def _read_data(self) -> None:
        try:
            await super()._read_data()
        except BaseException:
            self.writer.transport.abort()
            raise
        finally:
            await self._release()
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        """As hypercorn's; the idle time of a connection that is over is not begun again."""
        if isinstance(event, Updated) and not self._over:
            await self._reset_abandoned()
        if not (self._over and isinstance(event, Updated)):
            await super().protocol_send(event)

    async def _reset_abandoned(self) -> None:
        """Ends streams whose answer was given up because nobody took it; hypercorn leaves them open, and what
        is held for them as well. The error code is the one that is RESOURCE_EXHAUSTED in gRPC.
        """
        inner = self.protocol.protocol
        if not isinstance(inner, H2Protocol):
            return
        for stream_id in inner.stream_buffers.keys() - inner.streams.keys():
            buffer = inner.stream_buffers[stream_id]
            if not buffer._complete:
                await buffer.close()
                with suppress(ProtocolError):
                    inner.connection.reset_stream(stream_id, ErrorCodes.ENHANCE_YOUR_CALM)
                    await inner._flush()
                with suppress(MissingStreamError):
                    inner.priority.unblock(stream_id)  # so that the sending task forgets it
                    await inner.has_data.set()

    async def _release(self) -> None:
        """Wakes those that wait for room in an answer, which nobody would do any more."""
        self._over = True
        inner = self.protocol.protocol
        if isinstance(inner, H2Protocol):
            for buffer in tuple(inner.stream_buffers.values()):
                await buffer.close()

    async def _initiate_server_close(self) -> None:
        """With HTTP/2's goodbye, after which clients send again by themselves what crossed it."""
        inner = self.protocol.protocol
        if isinstance(inner, H2Protocol):
            with suppress(ProtocolError):
                inner.connection.close_connection()
                await inner._flush()
        await super()._initiate_server_close()
