"""The pure parts of a session: whom was asked, what a peer holds, what it may cost."""

from dataclasses import dataclass

import pytest

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.sync_asks import WINDOW, Asks
from peat_sidecar.mesh.sync_frames import JOINED_BYTES, joined, size_of
from peat_sidecar.mesh.sync_view import SIGNERS_LIMIT, PeerView
from peat_sidecar.mesh.throttle import BURST_BYTES, BYTES_PER_SECOND, Throttle
from peat_sidecar.wire import Batches, Want, WireBatch, WireHead, WireRecord

A, B, C, D = (EndpointId(letter * 32) for letter in (b"a", b"b", b"c", b"d"))
QUIET = 30.0


@dataclass(frozen=True)
class Own:
    sequence: int
    digest: bytes = bytes(16)


def test_one_peer_is_asked_at_a_time() -> None:
    asks = Asks(QUIET)
    assert asks.begin("one", A, 10, 0)
    assert not asks.begin("one", A, 20, 1)
    assert not asks.begin("other", A, 10, 1)
    assert asks.begin("other", B, 10, 1)
    assert len(asks) == 2
    assert asks.room("one") == WINDOW - 1
    asks.drop("one")
    assert asks.begin("other", A, 10, 2)
    assert asks.find("one", A) is None


def test_an_ask_ends_when_all_is_given() -> None:
    asks = Asks(QUIET)
    asks.begin("one", A, 10, 0)
    assert not asks.heard("other", A, 10, 1)
    assert not asks.heard("one", A, 9, 1)
    assert asks.heard("one", A, 12, 1)
    assert not asks.heard("one", A, 12, 1)
    assert len(asks) == 0


def test_a_quiet_peer_can_be_replaced() -> None:
    asks = Asks(QUIET)
    asks.begin("one", A, 10, 0)
    asks.heard("one", A, 5, 20)
    assert not asks.begin("other", A, 10, 49)
    assert asks.begin("other", A, 10, 50)
    assert asks.find("one", A) is None
    assert asks.expire("one", 1000) == {}


def test_the_same_again_does_not_keep_an_ask_open() -> None:
    asks = Asks(QUIET)
    asks.begin("one", A, 10, 0)
    for now in range(1, 30):
        asks.heard("one", A, 5, now)
    assert not asks.expire("one", 30)
    assert asks.expire("one", 31).keys() == {A}
    assert len(asks) == 0


def test_a_peer_that_dribbles_is_replaced_in_the_end() -> None:
    asks = Asks(QUIET)
    asks.begin("one", A, 1000, 0)
    for step in range(1, 13):
        asks.heard("one", A, step, step * 10)
    assert not asks.begin("other", A, 1000, 119)
    assert asks.begin("other", A, 1000, 120)


def test_views_compare_heads() -> None:
    """Who lacks what, and what differs though it goes as far."""
    view = PeerView()
    own = {A: Own(5), B: Own(7), C: Own(9, b"c" * 16), EndpointId(b"e" * 32): Own(1)}
    told = [
        WireHead(A, 5, bytes(16)),
        WireHead(B, 8, bytes(16)),
        WireHead(C, 9, bytes(16)),
        WireHead(D, 4, b"d" * 16),
    ]
    differ = view.compare(told, own, whole=True)
    assert {(head.signer, head.sequence) for head in differ} == {
        (B, 7),
        (C, 9),
        (D, 0),
        (EndpointId(b"e" * 32), 1),
    }
    assert view.known == {A: 5, B: 8, C: 9, D: 4}
    assert view.lacking == {B: 8, D: 4}
    assert view.repairs == {C: 9}
    assert view.is_met


def test_claims_that_were_not_kept_are_forgotten_until_later() -> None:
    view = PeerView()
    view.claim(A, 10, 5)
    view.fail(A, 10)
    assert view.lacking == {}
    view.claim(A, 10, 5)
    assert view.lacking == {}
    view.claim(A, 11, 5)
    assert view.lacking == {A: 11}
    view.fail(A, 10)
    assert view.lacking == {A: 11}
    view.fail(A, 11)
    view.forgive()
    assert view.lacking == {A: 11}


def test_what_was_given_is_given_again_a_few_times() -> None:
    view = PeerView()
    given = 0
    for _ in range(10):
        view.give(A, 9)
        given += view.want(A, 0, 9)
    assert given == 3
    view.forgive()
    assert view.want(A, 0, 9)
    assert not view.want(A, 9, 9)
    assert not view.want(B, 0, 0)
    assert view.owed == {A: 0}


def test_signers_are_limited() -> None:
    view = PeerView()
    for number in range(SIGNERS_LIMIT):
        view.tell(EndpointId(number.to_bytes(32, "big")), 1)
    with pytest.raises(RemoteProtocolError):
        view.tell(A, 1)


def test_batches_are_joined_up_to_a_limit() -> None:
    def batches(size_bytes: int) -> Batches:
        return Batches((WireBatch(A, 0, 1, (WireRecord(bytes(64), bytes(size_bytes - 64)),)),))

    small, large, other = batches(100), batches(JOINED_BYTES), Want(())
    frames = [small, small, other, other, large, small, large, small]
    got = [
        (sum(map(size_of, frame.batches)) if isinstance(frame, Batches) else 0, count)
        for frame, count in joined(frames)
    ]
    assert got == [(200, 2), (0, 1), (0, 1), (JOINED_BYTES, 1), (JOINED_BYTES + 100, 2), (100, 1)]
    assert list(joined([])) == []
    assert list(joined([Batches(())] * 3)) == [(Batches(()), 3)]


def test_throttle() -> None:
    throttle = Throttle(0)
    assert throttle.charge(BURST_BYTES, 0) == 0
    assert throttle.charge(BYTES_PER_SECOND, 0) == 1
    assert throttle.charge(0, 1) == 0
    assert throttle.charge(BYTES_PER_SECOND // 2, 1) == 0.5
    assert throttle.charge(BURST_BYTES, 100) == 0
    assert throttle.charge(1, 100) > 0
