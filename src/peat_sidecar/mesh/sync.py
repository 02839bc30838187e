"""Synchronisation: every node ends up with the same records, whoever meets whom, in whatever order.

One syncer for the node, one session for each admitted peer; `sync_session` says how they talk. It promises:
- A new record goes to every peer that is not known to have it, at once, and never back to whom it came from.
- A change costs its own size, however many records are stored; a newcomer is sent what it lacks once, by one
  peer.
- Nothing is stored before it is verified, nothing passed on before it is stored.
- A peer costs a few numbers for each signer, whether it reads or not; one that floods, lies or stops reading
  loses its own session, or waits, and no other.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from peat_sidecar.errors import PeatError, PeerUnavailable
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.sync_asks import Asks
from peat_sidecar.mesh.sync_holdings import Holdings
from peat_sidecar.mesh.sync_session import Session, Shared, SyncTimes
from peat_sidecar.net import Connection, Stream
from peat_sidecar.records import Records
from peat_sidecar.wire import ErrorCode

DIGEST_SECONDS = 300.0
WRITE_SECONDS = 30.0
ASK_SECONDS = 30.0
NEWS_SECONDS = 0.02
"""A burst of records is passed on in a few frames and stored in a few transactions, not one by one."""

_log = structlog.get_logger(__name__)


class Syncer:
    """All sessions of this node. One event loop; `close` ends what it holds of the records."""

    def __init__(
        self,
        records: Records,
        *,
        digest_seconds: float = DIGEST_SECONDS,
        write_seconds: float = WRITE_SECONDS,
        ask_seconds: float = ASK_SECONDS,
        news_seconds: float = NEWS_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        is_crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_crowded`: whether blobs are being sent, and may fill the links."""
        self._shared = Shared(
            Holdings(records, self._on_more),
            Asks(ask_seconds),
            SyncTimes(digest_seconds, write_seconds, ask_seconds, news_seconds, sleep),
            is_crowded,
        )

    @property
    def active(self) -> bool:
        """Whether records are sent and taken."""
        return self._shared.is_active

    @property
    def is_syncing(self) -> bool:
        """Whether records are being taken right now, or were asked for."""
        return self._shared.holdings.merging > 0 or len(self._shared.asks) > 0

    @property
    def sessions(self) -> int:
        """How many peers there are now."""
        return len(self._shared.sessions)

    @property
    def sent_bytes(self) -> int:
        """Written to all streams so far."""
        return self._shared.sent_bytes

    @property
    def received_bytes(self) -> int:
        """Read from all streams so far."""
        return self._shared.received_bytes

    def start(self) -> None:
        """Goes on: every peer is compared with anew."""
        if not self._shared.is_active:
            self._shared.is_active = True
            for session in self._shared.sessions:
                session.restart()

    def stop(self) -> None:
        """From now on nothing is sent, and what comes is left aside; sessions stay open."""
        self._shared.is_active = False

    async def run_session(self, connection: Connection, stream: Stream) -> None:
        """Keeps this node and an admitted peer the same, until the stream ends.

        Raises a PeatError when it fails, or when the peer is given up: `RemoteProtocolError` for what breaks
        the protocol or cannot be verified, `PeerUnavailable` for silence.
        """
        peer = connection.remote_id
        try:
            await self._shared.holdings.load()
            await Session(connection, stream, self._shared).run()
        except PeatError:
            raise
        except Exception:  # noqa: BLE001 - the edge of the session's task
            _log.exception("a session of the mesh failed", peer=str(peer))
            raise PeerUnavailable(f"the session with peer {peer.short} failed here; see the log") from None
        finally:
            with contextlib.suppress(PeatError):
                await stream.reset(ErrorCode.INTERNAL)
                await stream.stop(ErrorCode.INTERNAL)

    async def close(self) -> None:
        """Hears of no more changes; for when the sessions have ended."""
        await self._shared.holdings.close()

    def _on_more(self, signers: frozenset[EndpointId]) -> None:
        for session in self._shared.sessions:
            session.outbox.add_news(signers)
