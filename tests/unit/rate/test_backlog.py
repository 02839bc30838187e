"""How much is thought to be unsent, by counters as a connection gives them; time is a parameter."""

import pytest

from peat_sidecar.rate import Backlog

DATAGRAM = 1200
HEADER = 36


class Sender:
    """A connection that sends what it was given as fast as its path takes it, and counts as QUIC does."""

    def __init__(self, rate: float, loss: float = 0.0) -> None:
        self.rate = rate
        self.loss = loss
        self.unsent = 0.0
        self.free = 0.0
        self.counters = [0, 0, 0]

    def run(self, seconds: float) -> None:
        self.free = min(self.free + self.rate * seconds, self.rate)
        while self.free >= DATAGRAM:
            if self.unsent <= 0:
                self.free = min(self.free, DATAGRAM)
                return
            self.free -= DATAGRAM
            payload = min(DATAGRAM - HEADER, self.unsent)
            self.counters[0] += int(payload) + HEADER
            self.counters[1] += 1
            lost = self.counters[1] % int(1 / self.loss) == 0 if self.loss else False
            if lost:
                self.counters[2] += int(payload) + HEADER
            else:
                self.unsent -= payload


@pytest.mark.parametrize("rate", [8e3, 32e3, 250e3, 2.5e6])
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_path_is_kept_busy_with_a_quarter_of_a_second_unsent(rate: float, loss: float) -> None:
    backlog, sender = Backlog(), Sender(rate, loss)
    given, now, most, step = 0.0, 0.0, 0.0, max(0.05, DATAGRAM / rate)
    backlog.wrote(int(rate))
    sender.unsent += int(rate)
    for number in range(int(60 / step)):
        now += step
        sender.run(step)
        backlog.look(*sender.counters, rtt=0.1, now=now)
        room = backlog.room(0.25)
        if 0 < room < float("inf"):
            backlog.wrote(int(room))
            sender.unsent += int(room)
            given += room
        if number * step > 10:
            most = max(most, sender.unsent)
    assert given >= rate * 57 * (1 - loss) * 0.93, "it is never idle for long"
    assert most <= max(0.3 * rate, 5000), "and never has much before it"


def test_a_slow_writer_says_nothing_about_the_path() -> None:
    backlog, sender = Backlog(), Sender(1e6)
    now = 0.0
    for number in range(100):
        now += 0.05
        size = 200_000 if number < 40 else 100
        backlog.wrote(size)
        sender.unsent += size
        sender.run(0.05)
        backlog.look(*sender.counters, rtt=0.01, now=now)
        if number == 39:
            sender.unsent = 0.0
            backlog.is_idle()
    assert backlog.rate is not None
    assert backlog.rate > 5e5


def test_when_nothing_is_sent_nothing_waits() -> None:
    backlog = Backlog()
    backlog.look(0, 0, 0, rtt=0.1, now=0.0)
    backlog.wrote(100_000)
    backlog.look(50_000, 50, 0, rtt=0.1, now=0.6)
    assert backlog.unsent_bytes > 40_000
    backlog.look(50_000, 50, 0, rtt=0.1, now=0.8)
    assert backlog.unsent_bytes > 40_000
    backlog.look(50_000, 50, 0, rtt=0.1, now=0.9)
    assert backlog.unsent_bytes == 0
