"""The way out: before each piece that it writes, an answer asks here, and no more lies unsent than the path
takes in a moment.
"""

import asyncio
from types import TracebackType
from typing import Self

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.net import Connection
from peat_sidecar.rate import Flow
from peat_sidecar.transfer.traffic import LOOK_SECONDS, Traffic

PIECE_SECONDS = 0.25
LEAST_PIECE_BYTES = 64
"""At 1 kbit/s one is on the wire in a second, headers and all: two streams are not taken for silent."""
TRICKLE_BYTES_PER_SECOND = 4 << 10
PIECE_BYTES = 1 << 18
"""What a stream takes in one write."""
UNSENT_SECONDS = 0.25
_PASSED_OVER_SECONDS = 10.0
"""Twice a getter's patience: it has given the answer up, which only a write would tell."""
_ROUND_SECONDS = 2.0
"""In which each of many answers has its turn, lest its getter takes it for silent."""
_FAST_BYTES_PER_SECOND = 4 << 20
"""From here on the transport itself holds less than that."""
_FAST_LOOK_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 0.05
_SHORTEST_PAUSE_SECONDS = 0.004
_DATAGRAM_BYTES = 1200


class Outlet:
    """One answer's; answers to one peer share what it gets."""

    def __init__(self, traffic: Traffic, connection: Connection) -> None:
        self._traffic = traffic
        self._connection = connection
        self._link = traffic.watch(connection)
        self._flow = Flow(TransferClass.NORMAL, connection.remote_id, traffic.tally(connection.remote_id))

    def __enter__(self) -> Self:
        self._link.answers += 1
        self._traffic.answers += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._traffic.answers -= 1
        self._link.answers -= 1
        if not self._link.answers:
            self._link.backlog.is_idle()

    async def admit(self, size: int) -> int:
        """Waits until some of so many bytes may be written: how many. They count as written. `BudgetSpent`
        where nothing may go that way, `PeerUnavailable` where so little may that none has come to this answer
        for long.
        """
        began = self._traffic.clock()
        while True:
            self._traffic.budgets.require_room_to_answer(self._connection)
            if self._is_one_too_many():
                if self._traffic.clock() - began > _PASSED_OVER_SECONDS:
                    raise PeerUnavailable("a peer's older connection takes all that may go")
                await asyncio.sleep(LOOK_SECONDS)
                continue
            room = min(await self._room(size), self._piece_bytes())
            if await self._traffic.up.enter(self._flow, room):
                self._link.went_out(room)
                return room

    def refund(self, size: int) -> None:
        """They were not written after all."""
        self._link.went_out(-size)
        self._traffic.up.gate.correct(self._flow, -size, self._traffic.clock())
        self._traffic.up.pump()

    def _is_one_too_many(self) -> bool:
        """Where next to nothing may go, the answers on a peer's oldest connection get it: shared out among
        all, each would look silent, and what it had sent would be lost.
        """
        rate = self._traffic.up.gate.tightest(self._flow)
        return rate is not None and rate < TRICKLE_BYTES_PER_SECOND and self._traffic.has_older(self._link)

    def _piece_bytes(self) -> int:
        rate = self._traffic.up.gate.tightest(self._flow)
        if rate is None:
            return PIECE_BYTES
        answers = max(1, self._traffic.answers)
        seconds = min(PIECE_SECONDS, _ROUND_SECONDS / answers)
        least = LEAST_PIECE_BYTES if answers <= 2 else LEAST_PIECE_BYTES // 2
        return max(least, min(PIECE_BYTES, int(rate * seconds)))

    async def _room(self, size: int) -> int:
        """How much of it may be written without more being unsent than the path takes in a moment."""
        backlog = self._link.backlog
        while True:
            now = self._traffic.clock()
            is_fast = backlog.rate is not None and backlog.rate >= _FAST_BYTES_PER_SECOND
            if is_fast and now - self._link.looked_at < _FAST_LOOK_SECONDS:
                return size
            self._link.look_at_backlog(self._connection, now)
            room = backlog.room(UNSENT_SECONDS)
            if room >= min(size, _DATAGRAM_BYTES):
                return int(min(size, room))
            lacking = min(size, _DATAGRAM_BYTES) - room
            pause = lacking / backlog.rate if backlog.rate else _SHORTEST_PAUSE_SECONDS
            await asyncio.sleep(min(_LONGEST_PAUSE_SECONDS, max(_SHORTEST_PAUSE_SECONDS, pause)))
