"""All that moves to and from peers: two lanes, the connections that are counted, and what budgets leave."""

import itertools
import math
import weakref
from collections.abc import Callable
from datetime import datetime

from peat_sidecar.classes import TransferClass
from peat_sidecar.ids import EndpointId
from peat_sidecar.net import Connection
from peat_sidecar.rate import Gate, Shared, Tally
from peat_sidecar.transfer.budget_keeper import BudgetKeeper
from peat_sidecar.transfer.lanes import Lane, Link

LOOK_SECONDS = 0.2
"""How often counters are read while something is limited."""
REQUESTS_PER_PEER = 16
"""At once, of all transfers: a peer answers some more, and those that it does not answer look silent."""


class PeerTally(Tally):
    """One that is forgotten with the last answer to its peer."""

    __slots__ = ("__weakref__",)


class Traffic:
    """One for the program. Lives on one event loop."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self.clock = clock
        self.total = Shared()
        """Of both directions together."""
        self.up = Lane(Gate(total=self.total), clock)
        self.down = Lane(Gate(total=self.total, open_per_peer=REQUESTS_PER_PEER), clock)
        self.budgets = BudgetKeeper(now=now, clock=clock)
        self.answers = 0
        """Under way."""
        self._links: weakref.WeakKeyDictionary[Connection, Link] = weakref.WeakKeyDictionary()
        self._tallies: weakref.WeakValueDictionary[EndpointId, PeerTally] = weakref.WeakValueDictionary()
        self._numbers = itertools.count()

    @property
    def links(self) -> list[tuple[Connection, Link]]:
        """Connections that are open, and what is known of them."""
        return list(self._links.items())

    def watch(self, connection: Connection) -> Link:
        """Has what goes over a connection counted; also what is no transfer's."""
        link = self._links.get(connection)
        if link is None:
            link = self._links[connection] = Link(connection.remote_id, next(self._numbers))
        return link

    def has_older(self, link: Link) -> bool:
        """Whether answers go to the same peer over an older connection."""
        return any(
            each.answers and each.peer == link.peer and each.number < link.number
            for each in self._links.values()
        )

    def tally(self, peer: EndpointId) -> PeerTally:
        """What answers to that peer have had together."""
        tally = self._tallies.get(peer)
        if tally is None:
            tally = self._tallies[peer] = PeerTally()
        return tally

    def budget_bytes(self, connection: Connection, transfer_class: TransferClass) -> float:
        """What its budgets leave for another part, without what is under way; `BudgetSpent` when nothing."""
        room = self.budgets.room(connection, transfer_class)
        return room if room == math.inf else room - sum(each.outstanding for each in self.down.under_way)
