"""Who may connect, and with which protocol. Admission is by endpoint id and holds until it is taken back.

- Listed peers, by the settings or by a call, get blobs and nothing else. With a roster, to be named for a
  dial is not to be listed, or whoever is taken off it would go on getting blobs from all that dial it.
- Members, who have proven the formation's key, get blobs; whoever wants to prove it may connect for the mesh.
- Banned peers, and those that were disconnected on purpose, get nothing. Both are remembered in the state.

Knows no connection: whoever takes an admission back closes them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from peat_sidecar.ids import EndpointId
from peat_sidecar.state import Ban, RememberedPeer, State
from peat_sidecar.wire import ALPN, MESH_ALPN

MAX_MEMBERS = 10_000
"""The one that proved itself longest ago goes first; it can prove itself again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a call may change of a peer."""

    listed: bool
    disconnected: tuple[str, ...] | None
    """The addresses of one that is."""


class Admissions:
    """The rules. `may_join` is the roster's word, asked each time; `has_roster`: there is to be one. Without
    a state nothing is remembered.
    """

    def __init__(
        self,
        *,
        has_formation: bool,
        may_join: Callable[[EndpointId], bool] = lambda _: True,
        has_roster: bool = False,
        state: State | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._has_formation = has_formation
        self._has_roster = has_roster
        self._may_join = may_join
        self._state = state
        self._now = now
        self._listed: set[EndpointId] = set()
        self._by_settings: set[EndpointId] = set()
        """Those listed for blobs: they are again when they are no longer disconnected."""
        self._members: dict[EndpointId, None] = {}
        self._remembered = state.peers() if state is not None else []
        self._bans = {ban.endpoint_id: ban for ban in (state.bans() if state is not None else ())}
        self._disconnected = {
            peer.endpoint_id: peer.addresses for peer in self._remembered if peer.disconnected
        }

    def admits(self, peer: EndpointId, alpn: bytes) -> bool:
        """Whether that peer may connect with that protocol."""
        if self.is_shut_out(peer):
            return False
        if alpn == MESH_ALPN:
            return self._has_formation and self._may_join(peer)
        return alpn == ALPN and (peer in self._listed or (peer in self._members and self._may_join(peer)))

    def is_listed(self, peer: EndpointId) -> bool:
        """Whether it gets blobs whatever it proves."""
        return peer in self._listed

    def is_member(self, peer: EndpointId) -> bool:
        """Whether it has proven the key and is still one of the formation."""
        return peer in self._members and self.admits(peer, MESH_ALPN)

    def is_banned(self, peer: EndpointId) -> bool:
        return peer in self._bans

    def is_disconnected(self, peer: EndpointId) -> bool:
        return peer in self._disconnected

    def is_shut_out(self, peer: EndpointId) -> bool:
        """Banned, or disconnected on purpose."""
        return peer in self._bans or peer in self._disconnected

    @property
    def members(self) -> tuple[EndpointId, ...]:
        """All that have proven the key, whatever became of them since."""
        return tuple(self._members)

    def list_peer(self, peer: EndpointId) -> None:
        """From the settings: it gets blobs, unless it is shut out."""
        self._by_settings.add(peer)
        self._listed.add(peer)

    def name_peer(self, peer: EndpointId) -> None:
        """For a dial: without a roster it is listed."""
        if not self._has_roster or peer in self._by_settings:
            self._listed.add(peer)

    def remembered(self) -> list[RememberedPeer]:
        """Peers that calls had named before this start, and not disconnected since."""
        return [peer for peer in self._remembered if not peer.disconnected]

    def welcome(self, peer: EndpointId) -> None:
        """It has proven the key."""
        self._members.pop(peer, None)
        self._members[peer] = None
        if len(self._members) > MAX_MEMBERS:
            self._members.pop(next(iter(self._members)))

    def expel(self, peer: EndpointId) -> None:
        """What it has proven does not count any more."""
        self._members.pop(peer, None)

    def connect(self, peer: EndpointId) -> Standing:
        """By a call: it is named, and no longer disconnected. What it was before, for `restore`."""
        before = Standing(peer in self._listed, self._disconnected.pop(peer, None))
        self.name_peer(peer)
        return before

    def restore(self, peer: EndpointId, before: Standing) -> None:
        """The call was a mistake."""
        if not before.listed:
            self._listed.discard(peer)
        if before.disconnected is not None:
            self._disconnected[peer] = before.disconnected

    def remember(self, peer: EndpointId, addresses: tuple[str, ...]) -> None:
        """That a call has named it."""
        if self._state is not None:
            self._state.remember_peer(peer, addresses)

    def disconnect(self, peer: EndpointId, addresses: tuple[str, ...]) -> None:
        """By a call, which is remembered."""
        self._disconnected[peer] = addresses
        self._listed.discard(peer)
        self.expel(peer)
        if self._state is not None:
            self._state.remember_peer(peer, addresses, disconnected=True)

    def addresses_before(self, peer: EndpointId) -> tuple[str, ...]:
        """Where one that is disconnected was dialled."""
        return self._disconnected.get(peer, ())

    def ban(self, peer: EndpointId, reason: str) -> None:
        """In force when this returns, and when it raises because it cannot be remembered."""
        found = self._bans[peer] = Ban(peer, reason, self._now())
        self.expel(peer)
        if self._state is not None:
            self._state.ban(peer, reason, found.at)

    def unban(self, peer: EndpointId) -> bool:
        """Whether it was banned."""
        if self._state is not None:
            self._state.unban(peer)
        return self._bans.pop(peer, None) is not None

    def bans(self) -> list[Ban]:
        """The oldest first."""
        return sorted(self._bans.values(), key=lambda ban: ban.at)
