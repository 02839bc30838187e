"""The connections that are open, by peer, so that all of one peer can be closed at once."""

import contextlib
from collections.abc import Iterator

from peat_sidecar.ids import EndpointId
from peat_sidecar.net import Connection


class Connections:
    """Those of one kind, at whatever stage."""

    def __init__(self) -> None:
        self._by_peer: dict[EndpointId, set[Connection]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_peer.values()))

    @property
    def peers(self) -> tuple[EndpointId, ...]:
        return tuple(self._by_peer)

    def of(self, peer: EndpointId) -> tuple[Connection, ...]:
        return tuple(self._by_peer.get(peer, ()))

    def add(self, connection: Connection) -> None:
        self._by_peer.setdefault(connection.remote_id, set()).add(connection)

    def remove(self, connection: Connection) -> None:
        own = self._by_peer.get(connection.remote_id, set())
        own.discard(connection)
        if not own:
            self._by_peer.pop(connection.remote_id, None)

    @contextlib.contextmanager
    def holding(self, connection: Connection) -> Iterator[None]:
        """It is one of them for that long."""
        self.add(connection)
        try:
            yield
        finally:
            self.remove(connection)

    def close(self, peer: EndpointId, code: int, reason: bytes) -> None:
        """All of the peer's."""
        for connection in self.of(peer):
            connection.close(code, reason)
