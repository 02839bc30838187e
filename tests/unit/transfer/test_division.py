"""Who fetches which part of a blob: whole, disjoint, and never held up by the slowest."""

from functools import reduce
from operator import or_

from hypothesis import given
from hypothesis import strategies as st

from peat_sidecar.ranges import GROUP_CHUNKS, ChunkRanges
from peat_sidecar.transfer.division import FIRST_CHUNKS, MOST_CHUNKS, Division, count, part_chunks, rarest

ALL = ChunkRanges.all()


def division(chunks: int) -> Division:
    return Division(ChunkRanges.of(0, chunks))


def test_parts_are_disjoint_aligned_and_cover_everything() -> None:
    whole = division(1000)
    parts = []
    while part := whole.take(ALL, 50.0, 1.0, 0.0):
        parts.append(part)
    assert sum(count(part.left) for part in parts) == 1000
    assert all(next(part.left.intervals())[0] % GROUP_CHUNKS == 0 for part in parts)
    assert not whole.free
    assert not whole.is_over, "they have not come"


def test_a_part_takes_about_the_seconds_that_were_asked_for() -> None:
    assert part_chunks(4.0) == GROUP_CHUNKS
    assert part_chunks(4000.0) == 2048
    assert part_chunks(4e9) == MOST_CHUNKS


def test_the_first_part_of_whose_rate_is_not_known_is_small() -> None:
    part = division(1 << 14).take(ALL, None, 8.0, 0.0)
    assert part is not None
    assert count(part.left) == FIRST_CHUNKS


def test_only_what_the_peer_holds_is_taken() -> None:
    whole, held = division(256), ChunkRanges.of(64, 96)
    part = whole.take(held, 1e6, 4.0, 0.0)
    assert part is not None
    assert part.left == held
    assert whole.take(held, 1e6, 4.0, 0.0) is None


def test_everyone_begins_at_their_own_place_and_goes_round() -> None:
    whole = division(256)
    starts = []
    while part := whole.take(ALL, 16.0, 4.0, 0.0, start=128):
        starts.append(next(part.left.intervals())[0])
    assert starts == [128, 192, 0, 64]


def test_what_did_not_come_is_free_again() -> None:
    whole = division(64)
    part = whole.take(ALL, 16.0, 4.0, 0.0)
    assert part is not None
    whole.arrived(part, ChunkRanges.of(0, 16))
    whole.give_back(part)
    assert whole.free == ChunkRanges.of(16, 64)


def test_the_end_of_what_is_slow_is_taken_over() -> None:
    whole = division(1024)
    slow = whole.take(ALL, 10.0, 1000.0, 0.0)
    assert slow is not None
    assert slow.left == ChunkRanges.of(0, 1024)
    whole.arrived(slow, ChunkRanges.of(0, 16))
    quick = whole.take_over(ALL, 90.0, 1.6)
    assert quick is not None
    assert quick.left & slow.left == ChunkRanges.none()
    assert quick.left | slow.left == ChunkRanges.of(16, 1024)
    assert count(quick.left) >= 8 * count(slow.left), "nine times as fast"


def test_what_is_stuck_is_taken_over_whole_and_done_when_either_brings_it() -> None:
    whole = division(64)
    stuck = whole.take(ALL, 1000.0, 4.0, 0.0)
    assert stuck is not None
    other = whole.take_over(ALL, 1000.0, 30.0)
    assert other is not None
    assert count(other.left) >= 48
    whole.arrived(other, other.left)
    whole.give_back(other)
    left = stuck.left
    whole.give_back(stuck)
    assert whole.free == left, "what neither brought"


def test_streams_of_one_peer_leave_each_other_what_is_nearly_done() -> None:
    whole = Division(ChunkRanges.of(0, 1 << 10))
    assert whole.take(ALL, 256.0, 4.0, 0.0, peer="a") is not None
    assert whole.take_over(ALL, 256.0, 0.1, peer="a") is None
    assert whole.take_over(ALL, 256.0, 0.1, peer="b") is not None


def test_many_who_are_idle_share_what_is_stuck() -> None:
    whole = division(4096)
    stuck = whole.take(ALL, 1000.0, 5.0, 0.0)
    assert stuck is not None
    taken = [whole.take_over(ALL, 100.0, 60.0) for _ in range(4)]
    ranges = [part.left for part in taken if part is not None]
    assert len(ranges) == 4
    assert sum(map(count, ranges)) == count(reduce(or_, ranges)), "nothing twice"


def test_what_is_nearly_done_is_left_alone() -> None:
    whole = division(64)
    part = whole.take(ALL, 1000.0, 4.0, 0.0)
    assert part is not None
    assert whole.take_over(ALL, 1000.0, 0.01) is None


def test_a_group_that_is_on_its_way_is_no_silence() -> None:
    whole = division(GROUP_CHUNKS)
    assert whole.take(ALL, 10.0, 8.0, 0.0) is not None
    assert whole.take_over(ALL, 10.0, 2.5) is None, "it is due since a moment only"
    assert whole.take_over(ALL, 10.0, 10.0) is not None


def test_nothing_is_taken_over_that_the_peer_lacks() -> None:
    whole = division(1024)
    whole.take(ALL, 1.0, 1000.0, 0.0)
    assert whole.take_over(ChunkRanges.of(2048, 4096), 1000.0, 100.0) is None


@given(
    chunks=st.integers(1, 300),
    steps=st.lists(
        st.tuples(st.sampled_from(["take", "over", "come", "back"]), st.integers(0, 5), st.floats(1, 1e5)),
        max_size=60,
    ),
)
def test_nothing_is_lost_whatever_happens(chunks: int, steps: list[tuple[str, int, float]]) -> None:
    whole = division(chunks)
    come = ChunkRanges.none()
    taken = []
    now = 0.0
    for what, which, rate in steps:
        now += which
        if what in ("take", "over"):
            part = (
                whole.take(ALL, rate, 4.0, now, start=which * 16, takers=1 + which)
                if what == "take"
                else None
            )
            part = part or whole.take_over(ALL, rate, now)
            if part is not None:
                taken.append(part)
        elif taken:
            part = taken[which % len(taken)]
            if what == "come" and part.left:
                start, end = next(part.left.intervals())
                piece = ChunkRanges.of(start, min(end or start, start + 16))
                whole.arrived(part, piece)
                come = come | piece
            elif what == "back":
                whole.give_back(part)
                taken.remove(part)
        under_way = ChunkRanges.none()
        for part in whole.parts:
            under_way = under_way | part.left
        assert whole.free | under_way | come == ChunkRanges.of(0, chunks)
        assert not whole.free & come
        assert not under_way & come
        assert not whole.free & under_way


def test_one_that_was_fast_and_fell_silent_is_stuck() -> None:
    """Its mean rate would be good for long."""
    division = Division(ChunkRanges.of(0, 4096))
    part = division.take(ChunkRanges.all(), 256.0, 16.0, 0.0)
    assert part is not None
    division.arrived(part, ChunkRanges.of(0, 4064), 0.1)
    assert division.take_over(ChunkRanges.all(), 1000.0, 1.0) is None
    taken = division.take_over(ChunkRanges.all(), 1000.0, 2.5)
    assert taken is not None


def test_what_fewest_hold_is_taken_first() -> None:
    whole, maps = division(1024), [ChunkRanges.of(0, 512), ChunkRanges.of(0, 256), ChunkRanges.of(768, 1024)]
    firsts = []
    while part := whole.take(ALL, 64.0, 4.0, 0.0, maps=maps):
        firsts.append(next(part.left.intervals())[0])
    assert firsts == [512, 256, 768, 0]


def test_of_what_is_equally_rare_each_begins_at_its_own_place() -> None:
    part = division(1024).take(ALL, 64.0, 4.0, 0.0, start=300, maps=[ChunkRanges.of(256, 512)])
    assert part is not None
    assert next(part.left.intervals()) == (512, 768)


def test_a_place_within_a_group_is_its_beginning() -> None:
    part = division(1024).take(ALL, 4.0, 4.0, 0.0, start=300)
    assert part is not None
    assert next(part.left.intervals()) == (288, 304)


def test_maps_that_alternate_do_not_cut_parts_to_pieces() -> None:
    false = ChunkRanges.none()
    for start in range(0, 1024, 2 * GROUP_CHUNKS):
        false |= ChunkRanges.of(start, start + GROUP_CHUNKS)
    part = division(1024).take(ALL, 64.0, 4.0, 0.0, maps=[false])
    assert part is not None
    assert count(part.left) >= 128


def test_where_others_get_it_too_a_part_goes_over_gaps() -> None:
    """They hold pieces here and there: one request each would be mostly round trips."""
    held = ChunkRanges.from_boundaries(range(0, 1024, GROUP_CHUNKS))  # every other group
    part = division(1024).take(held, 64.0, 4.0, 0.0, maps=[held])
    assert part is not None
    assert count(part.left) == 256
    assert not part.left - held


def test_how_little_a_peer_holds_does_not_make_its_parts_smaller_still() -> None:
    held = ChunkRanges.of(0, 256)
    part = division(4096).take(held, 64.0, 4.0, 0.0, maps=[held], takers=8)
    assert part is not None
    assert part.left == held


@given(st.lists(st.sets(st.integers(0, 20)), max_size=5))
def test_rarest_is_what_counting_says(sets: list[set[int]]) -> None:
    maps = [_set_of(each) for each in sets]
    counts = {chunk: sum(chunk in each for each in sets) for chunk in range(21)}
    least = min(counts.values())
    assert rarest(ChunkRanges.of(0, 21), maps) == _set_of(
        {chunk for chunk, many in counts.items() if many == least}
    )


def _set_of(chunks: set[int]) -> ChunkRanges:
    made = ChunkRanges.none()
    for chunk in chunks:
        made |= ChunkRanges.of(chunk, chunk + 1)
    return made
