"""Who goes first, how much, and that no limit is passed; time is a parameter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peat_sidecar.classes import TransferClass
from peat_sidecar.rate import Flow, Gate, Shared, Tally

PIECE = 1000


class Sending:
    """Flows that always have more to send, and a clock that jumps to when the next may go."""

    def __init__(self, gate: Gate, *flows: Flow) -> None:
        self.gate = gate
        self.flows = list(flows)
        self.sent = {id(flow): 0 for flow in flows}
        self.now = 0.0

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            for flow in self.flows:
                if not flow.waiting:
                    self.gate.ask(flow, PIECE)
            granted, wait = self.gate.grant(self.now)
            for request in granted:
                self.sent[id(request.flow)] += request.size
            assert wait is not None or granted
            self.now += wait if wait else 0.0

    def of(self, flow: Flow) -> int:
        return self.sent[id(flow)]


def flow(transfer_class: TransferClass = TransferClass.NORMAL, peer: str = "peer") -> Flow:
    return Flow(transfer_class, peer)


@pytest.mark.parametrize("rate", [125.0, 8000.0, 2.5e6])
def test_a_limit_holds_to_the_percent(rate: float) -> None:
    gate = Gate()
    gate.limit(rate, 0.0)
    sending = Sending(gate, flow(), flow())
    sending.run(60 if rate > 1000 else 2000)
    assert sum(sending.sent.values()) == pytest.approx(rate * sending.now, rel=0.02, abs=2 * PIECE)


def test_two_flows_of_a_class_get_the_same() -> None:
    gate, one, other = Gate(), flow(), flow(peer="other")
    gate.limit(1e5, 0.0)
    sending = Sending(gate, one, other)
    sending.run(10)
    assert sending.of(one) == pytest.approx(sending.of(other), abs=2 * PIECE)


def test_so_many_with_one_peer_are_under_way_and_the_first_class_is_next() -> None:
    gate = Gate(open_per_peer=2)
    bulk, urgent, elsewhere = flow(TransferClass.BULK), flow(TransferClass.CRITICAL), flow(peer="other")
    begun = [gate.ask(bulk, PIECE) for _ in range(3)]
    assert gate.grant(0.0) == (begun[:2], None)
    due, other = gate.ask(urgent, PIECE), gate.ask(elsewhere, PIECE)
    assert gate.grant(0.0) == ([other], None)
    gate.ended(bulk)
    assert gate.grant(0.0) == ([due], None)
    gate.ended(urgent)
    assert gate.grant(0.0) == (begun[2:], None)


def test_a_flow_that_comes_late_gets_no_more_than_its_share_from_then_on() -> None:
    gate, one, late = Gate(), flow(), flow(peer="late")
    gate.limit(1e5, 0.0)
    sending = Sending(gate, one)
    sending.run(10)
    before = sending.of(one)
    sending.flows.append(late)
    sending.sent[id(late)] = 0
    sending.run(10)
    assert sending.of(late) == pytest.approx(sending.of(one) - before, abs=3 * PIECE)


def test_a_class_behind_gets_the_small_share_and_nothing_when_that_is_none() -> None:
    for share in (0.02, 0.0):
        gate, first, behind = Gate(share=share), flow(TransferClass.CRITICAL), flow(TransferClass.BULK)
        gate.limit(1e5, 0.0)
        sending = Sending(gate, first, behind)
        sending.run(60)
        assert sending.of(behind) == pytest.approx(share * 1e5 * 60, rel=0.1, abs=PIECE)


def test_a_flow_behind_its_own_limit_holds_nobody_back() -> None:
    gate, slow, free = Gate(), flow(TransferClass.CRITICAL, "slow"), flow(TransferClass.BULK, "free")
    gate.limit(1e5, 0.0)
    gate.limit_peer("slow", 1e4, 0.0)
    sending = Sending(gate, slow, free)
    sending.run(30)
    assert sending.of(slow) == pytest.approx(1e4 * 30, rel=0.05)
    assert sending.of(free) == pytest.approx(9e4 * 30, rel=0.05)


def test_a_class_has_a_limit_of_its_own() -> None:
    gate, bulk, normal = Gate(), flow(TransferClass.BULK), flow()
    gate.limit_class(TransferClass.BULK, 2e4, 0.0)
    gate.limit(1e5, 0.0)
    sending = Sending(gate, bulk, normal)
    sending.run(30)
    assert sending.of(bulk) <= 2e4 * 30 * 1.02 + PIECE


def test_a_change_holds_at_once() -> None:
    gate, one = Gate(), flow()
    gate.limit(1e4, 0.0)
    sending = Sending(gate, one)
    sending.run(10)
    gate.limit(1e6, sending.now)
    before, since = sending.of(one), sending.now
    sending.run(10)
    assert sending.of(one) - before == pytest.approx(1e6 * (sending.now - since), rel=0.02)


def test_corrections_are_paid_for() -> None:
    gate, one = Gate(), flow()
    gate.limit(1e5, 0.0)
    gate.correct(one, 5e5, 0.0)
    gate.ask(one, PIECE)
    granted, wait = gate.grant(0.0)
    assert not granted
    assert wait == pytest.approx(5.0)


def test_who_withdraws_is_not_granted_and_blocks_nobody() -> None:
    gate, one, other = Gate(), flow(), flow(peer="other")
    first, second = gate.ask(one, PIECE), gate.ask(other, PIECE)
    gate.withdraw(first)
    granted, wait = gate.grant(0.0)
    assert granted == [second]
    assert wait is None
    assert not first.granted


@given(
    rate=st.floats(200, 1e7),
    sizes=st.lists(st.integers(1, 1 << 20), min_size=1, max_size=60),
    classes=st.lists(st.sampled_from(TransferClass), min_size=1, max_size=4),
)
def test_all_who_ask_are_served_once_and_never_faster_than_the_limit(
    rate: float, sizes: list[int], classes: list[TransferClass]
) -> None:
    gate = Gate()
    gate.limit(rate, 0.0)
    flows = [Flow(each, number) for number, each in enumerate(classes)]
    requests = [gate.ask(flows[number % len(flows)], size) for number, size in enumerate(sizes)]
    now, served, sent = 0.0, [], 0.0
    while len(served) < len(requests):
        granted, wait = gate.grant(now)
        served += granted
        sent += sum(request.size for request in granted)
        largest = max(sizes)
        assert sent <= rate * (now + 0.1) + largest + 1
        if wait is not None:
            now += wait
    assert set(map(id, served)) == set(map(id, requests))


class Clock:
    """A getter without a limit: flows ask as soon as they were let through."""

    def __init__(self, gate: Gate, *flows: Flow) -> None:
        self.gate = gate
        self.flows = list(flows)
        self.sent = {id(flow): 0 for flow in flows}
        self.now = 0.0

    def run(self, seconds: float, *, moving: Flow, piece: int = PIECE) -> None:
        """`moving` gets a piece each hundredth of a second, the others as they are let."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.01
            self.gate.moved(moving, self.now)
            for flow in self.flows:
                if not flow.waiting:
                    self.gate.ask(flow, piece)
            granted, _ = self.gate.grant(self.now)
            for request in granted:
                self.sent[id(request.flow)] += request.size


@pytest.mark.parametrize("share", [0.02, 0.2, 0.0])
def test_without_a_limit_those_behind_get_their_share_while_another_moves(share: float) -> None:
    gate, first = Gate(share=share), flow(TransferClass.CRITICAL)
    behind, last = flow(peer="b"), flow(TransferClass.BULK, "c")
    clock = Clock(gate, first, behind, last)
    clock.run(100, moving=first)
    got = [clock.sent[id(each)] for each in (first, behind, last)]
    assert got[1] + got[2] == pytest.approx(share * got[0], rel=0.05, abs=PIECE)
    assert got[1] == pytest.approx(got[2], abs=PIECE), "nobody behind starves"


def test_one_that_begins_to_move_says_so_once_and_counts_until_it_leaves_or_is_silent() -> None:
    gate, first, bulk = Gate(share=0.0), flow(TransferClass.CRITICAL), flow(TransferClass.BULK)
    assert gate.moved(bulk, 0.0)
    assert gate.moved(first, 1.0)
    assert not gate.moved(first, 1.5)
    gate.ask(bulk, PIECE)
    assert gate.yields(bulk, 1.5)
    granted, wait = gate.grant(1.5)
    assert not granted
    assert wait == pytest.approx(2.0)
    assert gate.grant(3.6)[0], "two seconds of silence"
    gate.moved(first, 4.0)
    gate.ask(bulk, PIECE)
    assert not gate.grant(4.1)[0]
    gate.leave(first)
    assert gate.grant(4.1)[0]


def test_what_is_given_back_by_those_who_make_way_lets_them_in_no_sooner() -> None:
    gate, first, bulk = Gate(share=0.02), flow(TransferClass.CRITICAL), flow(TransferClass.BULK)
    gate.ask(bulk, 10**6)
    assert gate.grant(0.0)[0]
    gate.moved(first, 0.1)
    gate.correct(bulk, -900_000, 0.1)
    gate.ask(bulk, PIECE)
    assert not gate.grant(0.1)[0]


def test_one_that_is_held_by_its_own_limit_makes_nobody_wait() -> None:
    gate, first, bulk = Gate(share=0.0), flow(TransferClass.CRITICAL, "slow"), flow(TransferClass.BULK)
    gate.limit_peer("slow", 1000, 0.0)
    assert not gate.moved(first, 0.0)
    gate.ask(bulk, PIECE)
    assert gate.grant(0.0)[0]


def test_two_directions_share_their_total() -> None:
    total = Shared(1e4)
    up, down = Gate(total=total), Gate(total=total)
    sender, getter = flow(), flow()
    now, sent = 0.0, [0, 0]
    while now < 100:
        for index, (gate, each) in enumerate(((up, sender), (down, getter))):
            if not each.waiting:
                gate.ask(each, PIECE)
            sent[index] += sum(request.size for request in gate.grant(now)[0])
        now += 0.01
    assert sum(sent) == pytest.approx(1e6, rel=0.02)
    assert min(sent) > 1e5


def test_transfers_share_evenly_however_many_peers_they_have() -> None:
    gate, many, one = Gate(), Tally(), flow()
    flows = [Flow(TransferClass.NORMAL, number, many) for number in range(4)]
    gate.limit(1e5, 0.0)
    sending = Sending(gate, one, *flows)
    sending.run(10)
    assert sending.of(one) == pytest.approx(sum(map(sending.of, flows)), abs=6 * PIECE)


def test_a_lowered_limit_does_not_wait_for_what_the_old_one_let_through() -> None:
    gate = Gate()
    gate.limit(2_500_000, 0.0)
    asking = flow()
    gate.ask(asking, 1_250_000)
    assert gate.grant(0.0)[0]
    gate.limit(8_000, 0.0)
    gate.ask(asking, PIECE)
    granted, wait = gate.grant(0.0)
    assert not granted
    assert wait is not None
    assert wait <= 0.5, "as long as it was under the old one"
