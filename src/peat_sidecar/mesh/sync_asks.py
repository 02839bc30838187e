"""Whom this node has asked for what it lacks: for each signer one peer at a time. Pure; time is a parameter.

So a newcomer that meets six peers at once gets everything once. A peer that gives nothing for
`quiet_seconds`, or not all of it in four times that, can be replaced by another one that has it.
"""

from collections.abc import Hashable
from dataclasses import dataclass

from peat_sidecar.ids import EndpointId

WINDOW = 128
"""Signers that one peer is asked for at a time: about one frame of records, where each has a few."""
_PATIENCE = 4


@dataclass(slots=True)
class Ask:
    """One open question."""

    upto: int
    """The sequence that the peer claims to have."""
    repairs: bool
    """Whether it is for records below our own head, which we were found to lack."""
    begun_at: float
    heard_at: float
    """When it last got us further."""
    reached: int = 0


class Asks:
    """The table. A session is whatever stands for one peer's stream."""

    def __init__(self, quiet_seconds: float) -> None:
        self._quiet_seconds = quiet_seconds
        self._of: dict[Hashable, dict[EndpointId, Ask]] = {}
        self._holders: dict[EndpointId, Hashable] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def room(self, session: Hashable) -> int:
        """How many more signers that peer may be asked for now."""
        return WINDOW - len(self._of.get(session, ()))

    def find(self, session: Hashable, signer: EndpointId) -> Ask | None:
        """What that peer was asked for."""
        return self._of.get(session, {}).get(signer)

    def begin(
        self, session: Hashable, signer: EndpointId, upto: int, now: float, *, repairs: bool = False
    ) -> bool:
        """Whether that peer is to be asked now; not while another one is at it."""
        holder = self._holders.get(signer)
        if holder is not None:
            if holder is session or not self._is_late(self._of[holder][signer], now):
                return False
            self._end(holder, signer)
        self._holders[signer] = session
        self._of.setdefault(session, {})[signer] = Ask(upto, repairs, now, now)
        return True

    def heard(self, session: Hashable, signer: EndpointId, upto: int, now: float) -> bool:
        """That peer gave records up to a sequence; whether it has given all now."""
        ask = self.find(session, signer)
        if ask is None or upto <= ask.reached:
            return False
        ask.reached, ask.heard_at = upto, now
        if upto < ask.upto:
            return False
        self._end(session, signer)
        return True

    def give_up(self, session: Hashable, signer: EndpointId) -> None:
        """What that peer gives is of no use."""
        if self.find(session, signer) is not None:
            self._end(session, signer)

    def expire(self, session: Hashable, now: float) -> dict[EndpointId, Ask]:
        """Ends what that peer has given nothing for in a while."""
        quiet = {
            signer: ask
            for signer, ask in self._of.get(session, {}).items()
            if now - ask.heard_at >= self._quiet_seconds
        }
        for signer in quiet:
            self._end(session, signer)
        return quiet

    def drop(self, session: Hashable) -> None:
        """That peer is gone."""
        for signer in self._of.pop(session, ()):
            del self._holders[signer]

    def _is_late(self, ask: Ask, now: float) -> bool:
        return (
            now - ask.heard_at >= self._quiet_seconds or now - ask.begun_at >= _PATIENCE * self._quiet_seconds
        )

    def _end(self, session: Hashable, signer: EndpointId) -> None:
        del self._holders[signer]
        del self._of[session][signer]
        if not self._of[session]:
            del self._of[session]
