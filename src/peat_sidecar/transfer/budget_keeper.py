"""Keeps budgets: charges what goes over each connection to those that it counts to, and says what may go.

What goes is read from the connections' counters, a few times a second and before each decision; it is charged
to the path that a connection takes at that moment.
"""

import asyncio
import math
import time
import weakref
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Protocol

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import BudgetSpent
from peat_sidecar.net import Connection, ConnectionStats, interface_towards, remote_ip
from peat_sidecar.rate import Budget, Budgets, Flow, Left, Path, Usage

PATH_SECONDS = 1.0
"""How long it is believed that a connection goes where it went."""


class TakesPath(Protocol):
    """The part of a passage that is needed here."""

    flow: Flow
    over: asyncio.Event


class _Account:
    """One connection's."""

    def __init__(self, stats: ConnectionStats | None = None) -> None:
        self.sent = stats.sent_on_wire if stats is not None else 0
        """On the wire, at the last look."""
        self.received = stats.received_on_wire if stats is not None else 0
        self.path = Path()
        self.looked_at = -math.inf


class BudgetKeeper:
    """One for the program. Lives on one event loop."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budgets = Budgets()
        self.usage = Usage()
        self.charged = 0
        """Grows with what is charged."""
        self._now = now
        self._clock = clock
        self._accounts: weakref.WeakKeyDictionary[Connection, _Account] = weakref.WeakKeyDictionary()

    def change(self, budgets: Budgets, connections: Iterable[Connection]) -> None:
        """From now on these; what went over connections while nothing was counted stays uncounted."""
        if budgets.ask_for_paths and not self.budgets.ask_for_paths:
            for connection in connections:
                self._accounts[connection] = _Account(connection.stats())
        self.budgets = budgets
        self.usage.keep(budgets.budgets)
        for account in self._accounts.values():
            account.looked_at = -math.inf

    def look(self, links: Iterable[tuple[Connection, Iterable[TakesPath]]]) -> None:
        """Charges what has gone over each, and ends what may not go on."""
        if not self.budgets.ask_for_paths:
            return
        for connection, passages in links:
            self._charge(connection)
            for passage in passages:
                if self.why_not(connection, passage.flow.transfer_class) is not None:
                    passage.over.set()

    def room(self, connection: Connection, transfer_class: TransferClass) -> float:
        """How many bytes of that class may come over it, at least one; `BudgetSpent` when none may."""
        if (spent := self.why_not(connection, transfer_class)) is not None:
            raise spent
        return min((each.left for each in self._left(connection, transfer_class, "up")), default=math.inf)

    def require_room_to_answer(self, connection: Connection) -> None:
        """`BudgetSpent` when no answers may go over it. A metered path is no reason, since the class of what
        others ask for is not known here.
        """
        if not self.budgets.ask_for_paths:
            return
        self._charge(connection)
        if (spent := _spent(self._left(connection, TransferClass.NORMAL, "down"))) is not None:
            raise spent

    def why_not(self, connection: Connection, transfer_class: TransferClass) -> BudgetSpent | None:
        """Why nothing of that class may come over it; None when something may."""
        if not self.budgets.ask_for_paths:
            return None
        self._charge(connection)
        why = self.budgets.why_metered(self._account(connection).path, transfer_class)
        return BudgetSpent(why) if why else _spent(self._left(connection, transfer_class, "up"))

    def standing(self) -> list[Left]:
        """How all amounts of all budgets stand, for what is most urgent."""
        now = self._now()
        return [
            left
            for budget in self.budgets.budgets
            for left in self.usage.left(budget, TransferClass.CRITICAL, now)
        ]

    def seconds_until(self, moment: datetime | None, most: float) -> float:
        """From now; never more than `most`, since paths change."""
        return most if moment is None else max(0.0, min(most, (moment - self._now()).total_seconds()))

    def _left(self, connection: Connection, transfer_class: TransferClass, but: str) -> list[Left]:
        now = self._now()
        return [
            left for each in self._of(connection, but) for left in self.usage.left(each, transfer_class, now)
        ]

    def _of(self, connection: Connection, but: str) -> list[Budget]:
        path = self._account(connection).path
        return [each for each in self.budgets.of(path) if each.direction != but]

    def _charge(self, connection: Connection) -> None:
        account, stats = self._account(connection), connection.stats()
        if account.path.address is None:
            return  # it is charged when it is known what to
        up, down = stats.sent_on_wire - account.sent, stats.received_on_wire - account.received
        account.sent, account.received = stats.sent_on_wire, stats.received_on_wire
        now = self._now()
        for budget in self.budgets.of(account.path):
            size = budget.counts(up, down)
            if size:
                self.usage.charge(budget, size, now)
                self.charged += size

    def _account(self, connection: Connection) -> _Account:
        """With the path that it takes now."""
        account = self._accounts.get(connection)
        if account is None:
            account = self._accounts[connection] = _Account()
        if self._clock() - account.looked_at >= PATH_SECONDS:
            address = remote_ip(connection) or account.path.address
            asks = address is not None and self.budgets.ask_for_interfaces
            account.path = Path(address, interface_towards(address) if asks and address else None)
            account.looked_at = -math.inf if address is None else self._clock()
        return account


def _spent(left: Iterable[Left]) -> BudgetSpent | None:
    """What is said of the one that lasts longest of those that have nothing left."""
    last = max((each for each in left if not each.left), key=lambda each: each.until, default=None)
    return BudgetSpent(last.why, last.until) if last is not None else None
