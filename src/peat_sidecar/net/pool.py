"""Connections to peers, shared by whoever asks: one for each peer, ALPN and number, dialled once however many
wait.

A connection is kept for minutes, because opening and closing every few seconds wears out path ids and
mappings; one that nobody asked for and that moved no data in that time is closed.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.net.interfaces import Connection, Endpoint
from peat_sidecar.net.returns import Returns

MAX_CONNECTIONS = 256
# Keep-alives of both sides cost about 1.6 KB a minute; what moves less than this in a check is idle.
_IDLE_BYTES_PER_SECOND = 500
_CHECKS_PER_IDLE_TIME = 10

Key = tuple[EndpointId, bytes, int]


@dataclass(slots=True)
class _Entry:
    connection: Connection
    used_at: float
    """Loop time when it was last asked for or seen busy."""
    moved_bytes: int
    """Traffic at the last check."""


class Pool:
    """Shared connections over one endpoint."""

    def __init__(self, endpoint: Endpoint, *, idle_seconds: float = 300.0) -> None:
        self._endpoint = endpoint
        self.returns = Returns(endpoint.answers)
        self._idle_seconds = idle_seconds
        self._open: dict[Key, _Entry] = {}
        self._dials: dict[Key, asyncio.Task[Connection]] = {}
        self._reaper: asyncio.Task[None] | None = None
        self._closed = False
        self._may_dial: Callable[[EndpointId], bool] = lambda _: True

    @property
    def id(self) -> EndpointId:
        """This node's own."""
        return self._endpoint.id

    def ask_before_dialling(self, may_dial: Callable[[EndpointId], bool]) -> None:
        """From now on nobody is connected to whom that says no: not even one who fetches from it already."""
        self._may_dial = may_dial

    async def connection(self, peer: PeerAddress, alpn: bytes, number: int = 0) -> Connection:
        """An open connection; `PeerUnavailable` when the peer does not answer, or may not be dialled. Others
        than number 0 are for paths on which one connection gets less than there is.
        """
        if self._closed:
            raise PeerUnavailable("this node is shutting down")
        if not self._may_dial(peer.endpoint_id):
            raise PeerUnavailable(
                f"peer {peer.endpoint_id.short} is kept out here (banned, or not on the roster), not dialled"
            )
        key = (peer.endpoint_id, alpn, number)
        now = asyncio.get_running_loop().time()
        entry = self._open.get(key)
        if entry is not None and not entry.connection.is_closed:
            entry.used_at = now
            return entry.connection
        dial = self._dials.get(key)
        if dial is None:
            dial = self._dials[key] = asyncio.create_task(self._dial(peer, key), name="dial")
            dial.add_done_callback(_retrieve)
        # Not awaited itself: one who gives up must not take the connection away from others who wait for it.
        await asyncio.wait({dial})
        if dial.cancelled():
            raise PeerUnavailable(f"dialling peer {peer.endpoint_id.short} was given up here")
        return dial.result()

    def find(self, peer: EndpointId, alpn: bytes) -> Connection | None:
        """The open connection to a peer, if there is one; nothing is dialled."""
        entry = self._open.get((peer, alpn, 0))
        return None if entry is None or entry.connection.is_closed else entry.connection

    def close_peer(self, peer: EndpointId, code: int = 0, reason: bytes = b"") -> None:
        """Closes all connections to the peer, and stops dialling it."""
        for key in [key for key in self._dials if key[0] == peer]:
            self._dials.pop(key).cancel()
        for key in [key for key in self._open if key[0] == peer]:
            self._open.pop(key).connection.close(code, reason)

    def discard(self, connection: Connection) -> None:
        """Closes one that turned out to be dead, so that the next caller dials anew."""
        for key in [key for key, entry in self._open.items() if entry.connection is connection]:
            del self._open[key]
        connection.close()

    async def close(self) -> None:
        """Closes everything; the endpoint stays."""
        self._closed = True
        tasks = [*self._dials.values(), *([self._reaper] if self._reaper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for entry in self._open.values():
            entry.connection.close()
        self._open.clear()
        self._dials.clear()

    async def _dial(self, peer: PeerAddress, key: Key) -> Connection:
        try:
            connection = await self._endpoint.connect(peer, key[1])
        finally:
            if self._dials.get(key) is asyncio.current_task():
                del self._dials[key]
        if not self._may_dial(peer.endpoint_id):
            connection.close()
            raise PeerUnavailable(f"peer {peer.endpoint_id.short} is kept out here")
        self.returns.heard(peer.endpoint_id)
        self._make_room()
        self._open[key] = _Entry(connection, asyncio.get_running_loop().time(), _moved(connection))
        if self._reaper is None:
            self._reaper = asyncio.create_task(self._reap(), name="close idle connections")
        return connection

    def _make_room(self) -> None:
        for key in [key for key, entry in self._open.items() if entry.connection.is_closed]:
            del self._open[key]
        while len(self._open) >= MAX_CONNECTIONS:
            oldest = min(self._open, key=lambda key: self._open[key].used_at)
            self._open.pop(oldest).connection.close(0, b"idle")

    async def _reap(self) -> None:
        pause = self._idle_seconds / _CHECKS_PER_IDLE_TIME
        while True:
            await asyncio.sleep(pause)
            now = asyncio.get_running_loop().time()
            for key, entry in list(self._open.items()):
                moved = _moved(entry.connection)
                if moved - entry.moved_bytes > _IDLE_BYTES_PER_SECOND * pause:
                    entry.used_at = now
                entry.moved_bytes = moved
                if entry.connection.is_closed:
                    del self._open[key]
                elif now - entry.used_at >= self._idle_seconds:
                    del self._open[key]
                    entry.connection.close(0, b"idle")


def _moved(connection: Connection) -> int:
    stats = connection.stats()
    return stats.sent_bytes + stats.received_bytes


def _retrieve(dial: asyncio.Task[Connection]) -> None:
    """A dial that fails after all who waited gave up must not be reported as never retrieved."""
    with contextlib.suppress(asyncio.CancelledError):
        dial.exception()
