"""What happened on the way of a transfer, for whoever looks: the last few things, the newest last."""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import structlog

from peat_sidecar.ids import EndpointId

REMEMBERED_EVENTS = 20
AGAIN_SECONDS = 60.0
"""After which the same is told again, in the place of the earlier one."""
_DETAIL_LIMIT = 300

_log = structlog.get_logger(__name__)


class EventKind(Enum):
    """What happened."""

    JOINED = "source joined"
    STALL = "stall"
    """A peer fell silent or broke off; it is tried again."""
    RESUME = "resume"
    """Bytes come from it again."""
    LEFT = "source left"
    """It is not asked any more for now: it is gone, or lacks the rest."""
    BAN = "ban"
    """It sent wrong bytes and is not asked again for this content."""
    LIMIT = "limit"
    """A limit or another class holds the transfer back."""


@dataclass(frozen=True, slots=True)
class TransferEvent:
    """One of them."""

    at: float
    """Unix seconds."""
    kind: EventKind
    peer: EndpointId | None
    detail: str


class TransferEvents:
    """One transfer's; may be read and added to from any thread."""

    def __init__(self, transfer_id: str = "", *, now: Callable[[], float] = time.time) -> None:
        """`now` gives Unix seconds."""
        self._transfer_id = transfer_id
        self._now = now
        self._events: deque[TransferEvent] = deque(maxlen=REMEMBERED_EVENTS)

    @property
    def all(self) -> list[TransferEvent]:
        """The newest last."""
        return list(self._events.copy())

    def add(self, kind: EventKind, peer: EndpointId | None = None, detail: str = "") -> None:
        """Remembers and logs it; what only repeats the last one of that peer is left out for a minute."""
        at = self._now()
        detail = detail[:_DETAIL_LIMIT]
        last = next((each for each in reversed(self._events.copy()) if each.peer == peer), None)
        if last is not None and (last.kind, last.detail) == (kind, detail):
            if abs(at - last.at) < AGAIN_SECONDS:
                return
            with contextlib.suppress(ValueError):  # others have pushed it out meanwhile
                self._events.remove(last)
        self._events.append(TransferEvent(at, kind, peer, detail))
        _log.info(
            f"transfer: {kind.value}",
            transfer=self._transfer_id,
            peer=str(peer) if peer is not None else "",
            detail=detail,
        )
