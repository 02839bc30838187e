"""The shape of trees and the order of the wire, for sizes that exist and sizes that are only claimed."""

from itertools import islice

import pytest

from peat_sidecar.bao import Pair, Run, body_length, group_count, outboard_size, plan
from peat_sidecar.ranges import ChunkRanges
from tests.support import slow_bao

HUGE = 1 << 63


@pytest.mark.parametrize(
    ("size", "groups"),
    [(0, 1), (1, 1), (16384, 1), (16385, 2), (32768, 2), (HUGE, 1 << 49), (HUGE + 1, (1 << 49) + 1)],
)
def test_counts(size: int, groups: int) -> None:
    assert group_count(size) == groups
    assert outboard_size(size) == 64 * (groups - 1)


@pytest.mark.parametrize("size", slow_bao.interesting_sizes())
@pytest.mark.parametrize("run_chunks", [16, 32, 1024])
def test_a_whole_blob(size: int, run_chunks: int) -> None:
    """Every byte and every pair once, in order; no run longer than allowed."""
    position, pairs = 0, 0
    for step in plan(size, ChunkRanges.all(), run_chunks):
        if isinstance(step, Pair):
            assert (step.outboard_offset, step.group_offset) == (pairs, None)
            assert step.is_root == (pairs == 0)
            assert (step.left, step.right) == (True, True)
            pairs += 64
        else:
            assert step.start * 1024 == position
            assert step.length <= run_chunks * 1024
            assert step.outboard_length == 0 or step.outboard_offset == pairs
            assert step.wire_length == step.length + step.outboard_length
            position += step.length
            pairs += step.outboard_length
    assert (position, pairs) == (size, outboard_size(size))
    assert body_length(size, ChunkRanges.all()) == size + pairs


def test_the_example_of_the_protocol() -> None:
    """65,537 bytes, chunks 0 to 10: five pairs down to eight chunks, and from there to single ones."""
    steps = list(plan(65537, ChunkRanges.of(0, 10)))
    shapes = [("pair", step.chunks) if isinstance(step, Pair) else ("run", step.length) for step in steps]
    assert shapes == [
        *[("pair", chunks) for chunks in (65, 64, 32, 16)],
        ("run", 8192),
        *[("pair", chunks) for chunks in (8, 4)],
        ("run", 2048),
    ]
    below = [step.group_offset for step in steps if isinstance(step, Pair) and step.outboard_offset is None]
    assert below == [0, 8 * 64, 9 * 64]
    assert body_length(65537, ChunkRanges.of(0, 10)) == 8 + 6 * 64 + 10240 - 8


def test_nothing_wanted() -> None:
    assert list(plan(100_000, ChunkRanges.none())) == []
    assert body_length(100_000, ChunkRanges.none()) == 0


def test_claims_cost_nothing() -> None:
    """A peer may claim any size: a plan costs what is taken from it."""
    steps = list(islice(plan(HUGE, ChunkRanges.all()), 100))
    leading = [step for step in steps[:43] if isinstance(step, Pair)]
    assert [step.chunks for step in leading] == [1 << exponent for exponent in range(53, 10, -1)]
    assert steps[43] == Run(0, 1 << 20, 43 * 64, 63 * 64, False)
    (*pairs, run) = plan(HUGE, ChunkRanges.LAST)
    assert len(pairs) == 53
    assert run == Run((1 << 53) - 1, 1024, 64 * ((1 << 49) - 1), 0, False)
    assert body_length(HUGE, ChunkRanges.all()) == HUGE + 64 * ((1 << 49) - 1)
    assert body_length((1 << 64) - 1, ChunkRanges.of(5, 6)) == 54 * 64 + 1024


@pytest.mark.parametrize(("size", "run_chunks"), [(-1, 16), (0, 8), (0, 17), (0, 0), (0, -16)])
def test_no_plan(size: int, run_chunks: int) -> None:
    with pytest.raises(ValueError, match="a plan needs"):
        plan(size, ChunkRanges.all(), run_chunks)
