"""What is counted of one peer, on a clock that tests move."""

from peat_sidecar.ids import EndpointId
from peat_sidecar.transfer import Progress, SourceProgress, SourceState
from tests.support.manual_time import ManualTime


def test_the_rate_is_that_of_the_last_seconds() -> None:
    time = ManualTime()
    source = SourceProgress(time)
    for _ in range(20):
        time.advance(1)
        source.done(1000)
    assert source.done_bytes == 20_000
    assert 800 <= source.bytes_per_second <= 1200
    time.advance(30)
    assert source.bytes_per_second == 0
    time.advance(1)
    source.done(6000)
    assert 0 < source.bytes_per_second <= 6000


def test_silent_is_who_owes_an_answer() -> None:
    time = ManualTime()
    source = SourceProgress(time)
    assert source.state is SourceState.IDLE
    time.advance(60)
    source.asked()
    assert source.state is SourceState.WORKING
    time.advance(60)
    assert source.state is SourceState.SILENT
    source.heard()
    assert source.state is SourceState.WORKING
    source.answered()
    time.advance(60)
    assert source.state is SourceState.IDLE


def test_a_fault_is_over_when_bytes_come_but_a_ban_is_not() -> None:
    source = SourceProgress(ManualTime())
    source.failed(SourceState.GONE, "it broke off")
    assert (source.state, source.why) == (SourceState.GONE, "it broke off")
    assert source.heard()
    assert (source.state, source.why) == (SourceState.IDLE, "")
    assert not source.heard()
    source.failed(SourceState.BANNED, "it lied")
    assert not source.heard()
    assert (source.state, source.why) == (SourceState.BANNED, "it lied")


def test_connections_in_use() -> None:
    source = SourceProgress(ManualTime())
    with source.connected(), source.connected():
        assert source.connections == 2
    assert source.connections == 0


def test_held_back_is_who_asks_nobody() -> None:
    progress = Progress()
    one, other = EndpointId(bytes([1]) * 32), EndpointId(bytes([2]) * 32)
    assert not progress.is_held_back
    progress.source(one)
    assert progress.is_held_back
    progress.left(other, "it lacks the rest", lacks=True)
    assert progress.is_held_back
    progress.source(one).asked()
    assert not progress.is_held_back
    progress.source(one).answered()
    progress.lost(other, "it broke off")
    assert not progress.is_held_back
