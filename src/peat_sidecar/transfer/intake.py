"""The way in: before it asks a peer for anything, a transfer asks here, by its class and within limits."""

import math

from peat_sidecar.classes import TransferClass
from peat_sidecar.ids import EndpointId
from peat_sidecar.net import Connection
from peat_sidecar.rate import Flow, Tally
from peat_sidecar.transfer.lanes import Passage
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.traffic import Traffic

PART_SECONDS = 0.5
"""What is asked of a peer at once under a limit."""
LEAST_PART_BYTES = (16 << 10) + 512
"""A group with its pairs: less cannot be verified."""


class Intake:
    """One transfer's way in: it asks here before it asks a peer for anything."""

    def __init__(self, traffic: Traffic, progress: Progress) -> None:
        self.progress = progress
        self._traffic = traffic
        self._tally = Tally()
        self._flows: dict[tuple[TransferClass, EndpointId], Flow] = {}

    def part_bytes(self, connection: Connection) -> int | None:
        """What should be asked for at once; None for any number."""
        budget = self._traffic.budget_bytes(connection, self.progress.transfer_class)
        gate, flow = self._traffic.down.gate, self._flow(connection)
        if gate.yields(flow, self._traffic.clock()):
            return LEAST_PART_BYTES
        rate = gate.tightest(flow)
        most = min(budget, math.inf if rate is None else rate * PART_SECONDS)
        return None if most == math.inf else max(LEAST_PART_BYTES, int(most))

    async def enter(self, connection: Connection, size: float | None = None) -> Passage:
        """Waits for leave to ask for so many bytes, or for as many as should be asked for at once.
        `BudgetSpent` where nothing may come that way.
        """
        lane = self._traffic.down
        while True:
            flow = self._flow(connection)
            if size is None:
                asked: float = self.part_bytes(connection) or 0
            else:
                self._traffic.budgets.room(connection, self.progress.transfer_class)
                asked = size
            lane.moved(flow)
            if await lane.enter(flow, asked):
                return Passage(lane, self._traffic.watch(connection), flow, self.progress, asked)

    def close(self) -> None:
        """The transfer is over; it holds nobody back any more."""
        for flow in self._flows.values():
            self._traffic.down.leave(flow)

    def _flow(self, connection: Connection) -> Flow:
        key = self.progress.transfer_class, connection.remote_id
        if key not in self._flows:
            for old in [each for each in self._flows if each[1] == key[1]]:
                self._traffic.down.leave(self._flows.pop(old))
            self._flows[key] = Flow(*key, self._tally)
        return self._flows[key]
