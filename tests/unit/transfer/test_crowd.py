"""Getters of the same blob divide what only a seed has among them, without a word between them."""

import asyncio
from functools import reduce
from itertools import combinations
from operator import or_
from pathlib import Path

from peat_sidecar.ids import EndpointId
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.rate import Limits
from peat_sidecar.transfer import Progress, Sources
from peat_sidecar.transfer.crowd import Crowd, share_of
from peat_sidecar.transfer.division import count
from peat_sidecar.transfer.live_maps import LiveMaps
from peat_sidecar.transfer.source_progress import SourceProgress
from peat_sidecar.transfer.wants import Want
from tests.support.nodes import bounded, content
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of
from tests.unit.transfer.test_several_peers import put, several

DATA = real_bytes(4 << 20)
WANT = Want(tree_of(DATA)[0], len(DATA), None)
IDS = [EndpointId(bytes([number]) * 32) for number in range(8)]


def shares(ids: list[EndpointId]) -> list[ChunkRanges]:
    """Each one's, as it works it out itself."""
    return [share_of(WANT, own, [each for each in ids if each != own]) for own in ids]


def test_each_piece_is_one_nodes_and_nobody_has_much_more_than_others() -> None:
    all_shares = shares(IDS)
    assert not any(one & other for one, other in combinations(all_shares, 2))
    assert reduce(or_, all_shares) == ChunkRanges.all().clamp(WANT.size)
    assert all(count(each) < 2 * WANT.size // 1024 / len(IDS) for each in all_shares)


def test_who_leaves_gives_its_pieces_to_others_and_moves_no_more() -> None:
    before, after = shares(IDS), shares(IDS[:-1])
    assert all(not one - other for one, other in zip(before, after, strict=False))


def test_where_views_differ_most_pieces_are_still_asked_for_once() -> None:
    """One does not know of another one: only that one's pieces have two owners."""
    unaware = share_of(WANT, IDS[0], IDS[1:-1])
    twice = reduce(or_, (unaware & each for each in shares(IDS)[1:]))
    assert count(twice) < WANT.size // 1024 / len(IDS)


def test_blobs_that_end_within_a_piece_are_divided_whole() -> None:
    for size in (1 << 14, (1 << 20) + 1, 12_345_678):
        want = Want(WANT.hash, size, None)
        one, other = share_of(want, IDS[0], [IDS[1]]), share_of(want, IDS[1], [IDS[0]])
        assert not one & other
        assert not ChunkRanges.all().clamp(size) - one - other


async def test_who_holds_nothing_yet_is_at_it_too() -> None:
    crowd, seed = Crowd(IDS[0]), maps_of(IDS[7], ChunkRanges.all().clamp(WANT.size))
    crowd.maps = [maps_of(each, ChunkRanges.none()) for each in IDS[1:3]]
    assert crowd.left_to_others(WANT, seed) == ChunkRanges.all() - share_of(WANT, IDS[0], IDS[1:3])


def maps_of(peer: EndpointId, held: ChunkRanges) -> LiveMaps:
    """Of a peer that has just said what it holds."""
    maps = LiveMaps(peer, lambda: None, SourceProgress())
    maps._held[WANT.hash] = held
    maps._heard_at = asyncio.get_running_loop().time()
    return maps


async def test_a_seed_gives_three_getters_little_more_than_one_copy(tmp_path: Path) -> None:
    async with several(tmp_path, 3) as made:
        seed, getters = made.providers[0], [*made.providers[1:], made.getter]
        blob = put([seed], DATA)
        seed.shaper.change(Limits.parse({"up": "1MB/s"}))
        fetches = []
        for node in getters:
            others = [each.address for each in (seed, *getters) if each is not node]
            fetches.append(node.getter.fetch_blob(blob, Sources(others, spread=True), Progress()))
        await bounded(asyncio.gather(*fetches))
        assert all(content(node.store, blob) == DATA for node in getters)
        assert seed.provider.sent_bytes < 1.4 * len(DATA)
