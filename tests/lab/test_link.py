"""The arithmetic of links: rate, delay, loss, order, queue and outages, with time as a parameter."""

import pytest

from tests.lab.link import Direction, Pipe, random_outages


def pipe(**values: object) -> Pipe:
    return Pipe(Direction.of(dict(values)), "seed")


def test_an_open_link_takes_no_time() -> None:
    assert pipe().send(1500, 3.0) == 3.0


def test_rate_and_delay() -> None:
    link = pipe(rate_bits=8000, delay_seconds=0.3)
    assert link.send(1000, 0.0) == pytest.approx(1.3)
    assert link.send(1000, 0.0) == pytest.approx(2.3), "the second one waits for the first"
    assert link.send(1000, 10.0) == pytest.approx(11.3)


def test_a_full_queue_drops() -> None:
    link = pipe(rate_bits=8000, queue_bytes=2000)
    arrivals = [link.send(1000, 0.0) for _ in range(5)]
    assert [arrival is not None for arrival in arrivals] == [True, True, True, False, False]
    assert (link.counters.packets, link.counters.dropped) == (3, 2)


def test_loss_is_the_same_for_the_same_seed_and_about_its_share() -> None:
    fates = [
        [pipe_of.send(100, 0.0) is None for _ in range(5000)]
        for pipe_of in (pipe(loss=0.02), pipe(loss=0.02))
    ]
    assert fates[0] == fates[1]
    assert 60 <= sum(fates[0]) <= 140


def test_what_was_lost_took_its_time_on_the_link() -> None:
    link = pipe(rate_bits=8000, loss=1.0, queue_bytes=10000)
    assert link.send(1000, 0.0) is None
    link.direction = link.direction.changed({"loss": 0.0})
    assert link.send(1000, 0.0) == pytest.approx(2.0)


def test_jitter_keeps_the_order_and_reordering_does_not() -> None:
    link = pipe(delay_seconds=0.1, jitter_seconds=0.1)
    arrivals = [link.send(100, number * 0.001) or 0.0 for number in range(200)]
    assert arrivals == sorted(arrivals)
    assert len({round(arrival - number * 0.001, 4) for number, arrival in enumerate(arrivals)}) > 10
    link = pipe(delay_seconds=0.1, reorder=0.1)
    arrivals = [link.send(100, number * 0.001) or 0.0 for number in range(200)]
    assert arrivals != sorted(arrivals)


def test_outages() -> None:
    link = pipe(outages=[(1.0, 2.0)])
    assert [link.send(1, at) is None for at in (0.9, 1.0, 2.9, 3.0)] == [False, True, True, False]
    assert link.counters.cut == 2


def test_random_outages_do_not_overlap_and_are_the_same_for_the_same_seed() -> None:
    found = random_outages(7, 20, 600.0, 1.0, 90.0)
    assert found == random_outages(7, 20, 600.0, 1.0, 90.0)
    assert found != random_outages(8, 20, 600.0, 1.0, 90.0)
    ends = [start + length for start, length in found]
    assert all(end <= start for end, (start, _) in zip(ends, found[1:], strict=False))
    assert ends[-1] <= 600
