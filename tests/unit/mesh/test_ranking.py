"""What should be here, of what is offered and what there is room for."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as some

from peat_sidecar.classes import TransferClass
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.mesh.offers import Offer
from peat_sidecar.mesh.policy import Choice
from peat_sidecar.mesh.ranking import Candidate, Held, Ranked, newest, ranked


def hash_of(number: int) -> BlobHash:
    return BlobHash(number.to_bytes(32, "big"))


def candidate(
    number: int,
    *,
    size: int = 10,
    clock: int = 0,
    reference: str = "",
    arch: str = "amd64",
    rank: TransferClass = TransferClass.NORMAL,
    own: bool = True,
) -> Candidate:
    name = reference or f"r.example/app{number}:v1"
    offer = Offer(
        f"a:{name}-{arch}",
        "a",
        name,
        arch,
        name,
        Digest("sha256", f"{number:064x}"),
        hash_of(number),
        size,
        3,
        complete=True,
        clock=clock or number,
        origin="",
    )
    return Candidate(offer, Choice(rank, own, ""))


def chosen(found: Ranked) -> list[int]:
    return [int.from_bytes(each.offer.collection.value, "big") for each in found.chosen]


def rank(
    candidates: list[Candidate],
    held: Mapping[int, Held] = MappingProxyType({}),
    *,
    unwanted: Collection[int] = (),
    quota: int = 0,
) -> Ranked:
    return ranked(
        candidates,
        {hash_of(each): what for each, what in held.items()},
        {hash_of(each) for each in unwanted},
        quota,
    )


def held(number: int, size: int, used_at: float = 0.0, *, may_go: bool = True) -> Held:
    """A package of one blob."""
    return Held({Digest("sha256", f"{number:064x}"): size}, may_go, used_at)


def size_of(package: Held) -> int:
    return sum(package.blobs.values())


def test_class_then_own_platform_then_the_newest() -> None:
    made = [
        candidate(1, clock=5),
        candidate(2, clock=9),
        candidate(3, clock=99, own=False, arch="arm64"),
        candidate(4, clock=1, rank=TransferClass.HIGH, own=False, arch="arm64"),
        candidate(5, clock=100, rank=TransferClass.LOW),
    ]
    assert chosen(rank(made)) == [4, 2, 1, 3, 5]


def test_without_a_quota_all_are_chosen() -> None:
    assert len(rank([candidate(number, size=1 << 50) for number in range(1, 50)]).chosen) == 49


def test_the_quota_cuts_and_what_is_smaller_still_fits() -> None:
    made = [candidate(1, clock=3, size=60), candidate(2, clock=2, size=50), candidate(3, clock=1, size=30)]
    found = rank(made, quota=100)
    assert chosen(found) == [1, 3]
    assert found.cut == 1


def test_what_people_brought_counts_and_stays() -> None:
    found = rank([candidate(1, size=60)], {7: held(7, 50, may_go=False)}, quota=100)
    assert chosen(found) == []
    assert found.evicted == ()
    found = rank([candidate(1, size=60)], {1: held(1, 60, may_go=False)}, quota=50)  # it is here already
    assert chosen(found) == [1]
    assert found.evicted == ()


def test_what_falls_out_is_evicted() -> None:
    made = [candidate(1, clock=1, size=60), candidate(2, clock=2, size=60)]
    found = rank(made, {1: held(1, 60)}, quota=100)
    assert chosen(found) == [2]
    assert found.evicted == (hash_of(1),)


def test_what_was_evicted_stays_out_although_it_would_fit() -> None:
    assert chosen(rank([candidate(1)], unwanted={1}, quota=100)) == []
    assert chosen(rank([candidate(1)], {1: held(1, 10, may_go=False)}, unwanted={1}, quota=100)) == [1]


def test_what_is_not_offered_any_more_stays_while_there_is_room() -> None:
    assert rank([], {1: held(1, 10)}).evicted == ()
    assert rank([], {1: held(1, 10)}, quota=10).evicted == ()
    assert rank([candidate(2)], {1: held(1, 10)}, quota=15).evicted == (hash_of(1),)
    assert rank([candidate(2)], {1: held(1, 10)}, quota=20).evicted == ()


def test_the_one_that_was_used_the_longest_ago_goes_first_and_leaves_some_room_to_spare() -> None:
    here = {number: held(number, 25, used_at=number) for number in (3, 1, 4, 2)}
    assert rank([], here, quota=100).evicted == ()
    here[5] = held(5, 10, may_go=False)
    assert rank([], here, quota=100).evicted == (hash_of(1),)
    here[6] = held(6, 15, may_go=False)
    assert rank([], here, quota=100).evicted == (hash_of(1), hash_of(2))


def test_what_policy_wants_is_worth_more_than_what_was_used_later() -> None:
    here = {1: held(1, 60, used_at=1), 2: held(2, 60, used_at=2)}
    assert rank([candidate(1, size=60)], here, quota=100).evicted == (hash_of(2),)


def test_a_blob_that_packages_share_counts_once() -> None:
    base, first, second = (Digest("sha256", f"{number:064x}") for number in (1, 2, 3))
    here = {
        1: Held({base: 80, first: 5}, may_go=True),
        2: Held({base: 80, second: 15}, may_go=True, used_at=1),
    }
    assert rank([], here, quota=100).evicted == ()
    here[3] = Held({base: 80, Digest("sha256", "f" * 64): 1}, may_go=False)
    assert rank([], here, quota=100).evicted == (hash_of(1), hash_of(2))


def test_what_comes_besides_needs_its_room_too() -> None:
    found = ranked([], {hash_of(1): held(1, 60)}, (), 100, beside_bytes=50)
    assert found.evicted == (hash_of(1),)


def test_one_content_under_two_references_is_paid_once() -> None:
    made = [
        candidate(1, clock=1, reference="r/a:1"),
        candidate(1, clock=2, reference="r/b:1"),
        candidate(2, clock=1),
    ]
    assert sorted(chosen(rank(made, quota=20))) == [1, 1, 2]


def test_nothing_that_policy_wants_goes_in_place_of_what_is_in_use() -> None:
    here = {
        1: held(1, 60, used_at=1),
        7: Held({Digest("sha256", "7" * 64): 30}, may_go=True, used_at=9, in_use=True),
    }
    found = rank([candidate(1, clock=1, size=60), candidate(2, clock=2, size=40)], here, quota=100)
    assert (chosen(found), found.evicted, found.is_short) == ([2, 1], (), True)
    here[8] = held(8, 20, used_at=10)
    found = rank([candidate(1, clock=1, size=60), candidate(2, clock=2, size=40)], here, quota=100)
    assert (chosen(found), found.evicted, found.is_short) == ([2, 1], (hash_of(8),), True)


def test_what_is_nowhere_else_stays_and_counts() -> None:
    here = {hash_of(1): held(1, 60, used_at=1), hash_of(2): held(2, 30, used_at=2)}
    made, nowhere_else = [candidate(3, size=50)], {hash_of(1)}
    found = ranked(made, here, (), 100, is_elsewhere=lambda each: each not in nowhere_else)
    assert (chosen(found), found.cut, found.evicted) == ([], 1, ())
    nowhere_else = {hash_of(2)}
    found = ranked(made, here, (), 100, is_elsewhere=lambda each: each not in nowhere_else)
    assert (chosen(found), found.evicted) == ([3], (hash_of(1),))


def test_of_one_reference_the_newest_counts() -> None:
    name = "r.example/app:latest"
    old, new = candidate(1, clock=1, reference=name), candidate(2, clock=2, reference=name)
    assert newest([old, new]) == newest([new, old]) == [new]
    arm = candidate(3, clock=1, reference=name, arch="arm64")
    assert set(newest([old, new, arm])) == {new, arm}
    every = candidate(4, clock=9, reference=name, arch="multi")
    assert newest([old, new, arm, every]) == [every]
    old_every = candidate(5, clock=1, reference=name, arch="")
    assert set(newest([new, arm, old_every])) == {new, arm}


@given(
    some.lists(
        some.tuples(
            some.integers(1, 40), some.integers(0, 50), some.integers(1, 9), some.sampled_from(TransferClass)
        ),
        max_size=30,
    ),
    some.dictionaries(some.integers(1, 40), some.tuples(some.integers(0, 50), some.booleans()), max_size=20),
    some.sets(some.integers(1, 40)),
    some.integers(1, 200),
)
def test_never_over_the_quota_and_the_same_again_changes_nothing(
    made: list[tuple[int, int, int, TransferClass]],
    there: dict[int, tuple[int, bool]],
    unwanted: set[int],
    quota: int,
) -> None:
    sizes = {number: size for number, size, _, _ in made}
    candidates = [
        candidate(number, size=sizes[number], clock=clock, rank=rank) for number, _, clock, rank in made
    ]
    here = {
        number: held(number, sizes.get(number, size), may_go=may_go)
        for number, (size, may_go) in there.items()
    }
    first = rank(candidates, here, unwanted=unwanted, quota=quota)
    evicted = {int.from_bytes(each.value, "big") for each in first.evicted}
    after = {number: what for number, what in here.items() if number not in evicted}
    for number in chosen(first):
        after.setdefault(number, held(number, sizes[number]))
    stays = sum(size_of(each) for each in here.values() if not each.may_go)
    goes = sum(size_of(each) for each in after.values() if each.may_go)
    assert goes <= max(0, quota - stays)
    assert all(here[number].may_go for number in evicted)
    second = rank(candidates, after, unwanted=unwanted | evicted, quota=quota)
    assert second.evicted == ()
    assert set(chosen(second)) <= after.keys()
