"""Who may connect with what, and that bans and disconnects outlive the program."""

from pathlib import Path

import pytest

from peat_sidecar.errors import StoreFull
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh import admissions
from peat_sidecar.mesh.admissions import Admissions
from peat_sidecar.state import State
from peat_sidecar.wire import ALPN, MESH_ALPN

A, B, C = (EndpointId(bytes([n]) * 32) for n in (1, 2, 3))


def test_listed_peers_get_blobs_and_whoever_likes_may_try_to_prove_the_key() -> None:
    made = Admissions(has_formation=True)
    made.list_peer(A)
    assert made.admits(A, ALPN)
    assert not made.admits(B, ALPN)
    assert made.admits(B, MESH_ALPN)
    assert not made.admits(A, b"/other/1")
    assert not made.is_member(A)
    made.welcome(B)
    assert made.admits(B, ALPN)
    assert made.is_member(B)
    made.expel(B)
    assert not made.admits(B, ALPN)


def test_without_a_formation_there_is_no_mesh() -> None:
    made = Admissions(has_formation=False)
    made.list_peer(A)
    assert made.admits(A, ALPN)
    assert not made.admits(A, MESH_ALPN)


def test_the_roster_is_asked_each_time() -> None:
    roster = {A}
    made = Admissions(has_formation=True, may_join=roster.__contains__)
    made.welcome(A)
    made.list_peer(B)
    assert made.admits(A, ALPN)
    assert not made.admits(B, MESH_ALPN)
    assert made.admits(B, ALPN)
    roster.clear()
    assert not made.admits(A, ALPN)
    assert not made.is_member(A)


def test_with_a_roster_only_the_settings_list_anybody_for_blobs(tmp_path: Path) -> None:
    """Who is named for a dial would else keep what the roster has taken away."""
    roster = {A}
    with State.open(tmp_path / "state.db") as state:
        made = Admissions(has_formation=True, may_join=roster.__contains__, has_roster=True, state=state)
        made.name_peer(A)
        made.list_peer(B)
        made.connect(C)
        made.welcome(A)
        assert [made.admits(peer, ALPN) for peer in (A, B, C)] == [True, True, False]
        roster.clear()
        assert [made.admits(peer, ALPN) for peer in (A, B, C)] == [False, True, False]
        made.disconnect(B, ())
        assert not made.admits(B, ALPN)
        made.connect(B)
        assert made.admits(B, ALPN)


def test_a_ban_goes_before_everything() -> None:
    made = Admissions(has_formation=True, now=lambda: 5.0)
    made.list_peer(A)
    made.welcome(A)
    made.ban(A, "lost in the field")
    assert not made.admits(A, ALPN)
    assert not made.admits(A, MESH_ALPN)
    assert [(ban.endpoint_id, ban.reason, ban.at) for ban in made.bans()] == [(A, "lost in the field", 5.0)]
    assert made.unban(A)
    assert not made.unban(A)
    assert made.admits(A, ALPN)
    assert not made.is_member(A)


def test_bans_and_disconnects_are_remembered(tmp_path: Path) -> None:
    with State.open(tmp_path / "state.db") as state:
        made = Admissions(has_formation=True, state=state)
        made.ban(A, "why")
        made.disconnect(B, ("10.0.0.1:1",))
        made.connect(C)
        made.remember(C, ("10.0.0.2:1",))
    with State.open(tmp_path / "state.db") as state:
        again = Admissions(has_formation=True, state=state)
        assert again.is_banned(A)
        assert [ban.reason for ban in again.bans()] == ["why"]
        assert again.is_disconnected(B)
        for peer in (A, B):
            assert not again.admits(peer, ALPN)
            assert not again.admits(peer, MESH_ALPN)
        assert [(peer.endpoint_id, peer.addresses) for peer in again.remembered()] == [(C, ("10.0.0.2:1",))]
        before = again.connect(B)
        assert before.disconnected == ("10.0.0.1:1",)
        again.remember(B, ())
        assert again.unban(A)
    with State.open(tmp_path / "state.db") as state:
        last = Admissions(has_formation=True, state=state)
        assert not last.bans()
        assert not last.is_disconnected(B)


def test_a_call_that_was_a_mistake_changes_nothing() -> None:
    made = Admissions(has_formation=True)
    made.disconnect(A, ("10.0.0.1:1",))
    made.list_peer(B)
    for peer in (A, B, C):
        made.restore(peer, made.connect(peer))
    assert made.is_disconnected(A)
    assert [made.admits(peer, ALPN) for peer in (A, B, C)] == [False, True, False]


def test_a_ban_is_in_force_where_it_cannot_be_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreFull("no room")

    with State.open(tmp_path / "state.db") as state:
        made = Admissions(has_formation=True, state=state)
        made.list_peer(A)
        made.list_peer(B)
        monkeypatch.setattr(state, "ban", full)
        monkeypatch.setattr(state, "remember_peer", full)
        with pytest.raises(StoreFull):
            made.ban(A, "")
        with pytest.raises(StoreFull):
            made.disconnect(B, ())
        assert not made.admits(A, ALPN)
        assert not made.admits(B, ALPN)


def test_members_are_bounded_and_the_latest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admissions, "MAX_MEMBERS", 2)
    made = Admissions(has_formation=True)
    for peer in (A, B, A, C):
        made.welcome(peer)
    assert made.members == (A, C)
