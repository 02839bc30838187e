"""What happened on the way of a transfer, for whoever looks: the last few things, the newest last."""

import time
from collections import deque
from dataclasses import dataclass
from enum import Enum

import structlog

from peat_sidecar.ids import EndpointId

REMEMBERED_EVENTS = 20
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

    def __init__(self, transfer_id: str = "") -> None:
        self._transfer_id = transfer_id
        self._events: deque[TransferEvent] = deque(maxlen=REMEMBERED_EVENTS)

    @property
    def all(self) -> list[TransferEvent]:
        """The newest last."""
        return list(self._events.copy())

    def add(self, kind: EventKind, peer: EndpointId | None = None, detail: str = "") -> None:
        """Remembers and logs it; one that only says what the last one of that peer said is left out."""
        detail = detail[:_DETAIL_LIMIT]
        last = next((each for each in reversed(self._events.copy()) if each.peer == peer), None)
        if last is not None and (last.kind, last.detail) == (kind, detail):
            return
        self._events.append(TransferEvent(time.time(), kind, peer, detail))
        _log.info(
            f"transfer: {kind.value}",
            transfer=self._transfer_id,
            peer=str(peer) if peer is not None else "",
            detail=detail,
        )
