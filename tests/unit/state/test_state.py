"""What is written is there after whatever happens next; what is damaged takes nothing else with it."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError, StoreFailed, StoreFull
from peat_sidecar.ids import BlobHash, Digest, EndpointId
from peat_sidecar.state import Ban, ExportRow, RememberedPeer, ReplicaRow, State, WantRow

ONE, OTHER = EndpointId(b"\1" * 32), EndpointId(b"\2" * 32)
WANT_COLUMNS = "id, name, class, origin, created_at, arch, export_to, reference, done, last_error"
"""Of the first version."""
ROOT = Digest("sha256", "ab" * 32)
WANT = WantRow("0123456789abcdef", "r.example/app:v1", TransferClass.HIGH, "policy", 12.5, "arm64", "r:5000")
EXPORT = ExportRow("fedcba9876543210", ROOT, "r:5000/app:v1", 13.0, attempts=2, last_error="it was down")
REPLICA = ReplicaRow(BlobHash(b"\3" * 32), ROOT, "r.example/app:v1", "arm64", "agent-a", "policy", "digest")


def fill(state: State) -> None:
    state.remember_peer(OTHER, ("192.0.2.1:4433", "[2001:db8::1]:4433"), disconnected=True)
    state.remember_peer(ONE, ())
    state.ban(ONE, "lost ship", 5.0)
    state.put_want(WANT)
    state.put_export(EXPORT)
    state.put_replica(REPLICA)
    state.set("roster", "17")


def require_filled(state: State) -> None:
    assert state.peers() == [
        RememberedPeer(ONE, (), disconnected=False),
        RememberedPeer(OTHER, ("192.0.2.1:4433", "[2001:db8::1]:4433"), disconnected=True),
    ]
    assert state.bans() == [Ban(ONE, "lost ship", 5.0)]
    assert state.wants() == [WANT]
    assert state.exports() == [EXPORT]
    assert state.replicas() == [REPLICA]
    assert state.replica(REPLICA.collection) == REPLICA
    assert state.replica(BlobHash(b"\4" * 32)) is None
    assert state.get("roster") == "17"


def test_everything_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with State.open(tmp_path / "state.db") as state:
        fill(state)
        require_filled(state)
    with State.open(tmp_path / "state.db") as state:
        require_filled(state)
    assert (tmp_path / "state.db").stat().st_mode & 0o777 == 0o600


def test_rows_are_replaced_and_removed(tmp_path: Path) -> None:
    with State.open(tmp_path / "state.db") as state:
        fill(state)
        state.remember_peer(OTHER, ("192.0.2.9:1",))
        state.ban(ONE, "found again", 6.0)
        later = WantRow(**{name: getattr(WANT, name) for name in WANT.__slots__} | {"done": True})
        state.put_want(later)
        assert state.peers()[1] == RememberedPeer(OTHER, ("192.0.2.9:1",), disconnected=False)
        assert state.bans() == [Ban(ONE, "found again", 6.0)]
        assert state.wants() == [later]
        assert state.forget_peer(OTHER)
        assert state.unban(ONE)
        assert state.remove_want(WANT.id)
        assert state.remove_export(EXPORT.id)
        assert state.remove_replica(REPLICA.collection)
        state.set("roster", None)
        assert not state.forget_peer(OTHER)
        assert not state.unban(ONE)
        assert not state.remove_want(WANT.id)
        assert not state.remove_export(EXPORT.id)
        assert not state.remove_replica(REPLICA.collection)
        assert state.get("roster") is None
        assert not state.bans()
        assert not state.wants()


def test_wants_come_in_the_order_of_their_making(tmp_path: Path) -> None:
    with State.open(tmp_path / "state.db") as state:
        for id, at in (("c" * 16, 1.0), ("a" * 16, 3.0), ("b" * 16, 2.0)):
            state.put_want(WantRow(id, "name", TransferClass.NORMAL, "user", at))
        assert [row.id[0] for row in state.wants()] == ["c", "b", "a"]


def test_a_want_keeps_its_deadline(tmp_path: Path) -> None:
    row = WantRow("a" * 16, "name", TransferClass.NORMAL, "user", 1.0, deadline=99.5, expired=True)
    with State.open(tmp_path / "state.db") as state:
        state.put_want(row)
    with State.open(tmp_path / "state.db") as state:
        assert state.wants() == [row]


def test_a_file_of_an_earlier_program_gets_what_it_lacks(tmp_path: Path) -> None:
    State.open(tmp_path / "state.db").close()
    database = sqlite3.connect(tmp_path / "state.db")
    for name in ("approved", "deadline", "expired"):
        database.execute(f"ALTER TABLE wants DROP COLUMN {name}")
    database.execute(
        f"INSERT INTO wants ({WANT_COLUMNS})"
        " VALUES (?, 'r.example/app:v1', 'high', 'policy', 12.5, 'arm64', 'r:5000', '', 0, '')",
        (WANT.id,),
    )
    database.commit()
    database.close()
    for _ in range(2):
        with State.open(tmp_path / "state.db") as state:
            assert state.wants() == [WANT]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with State.open(tmp_path / "state.db"), pytest.raises(ConfigError, match="in use by another process"):
        State.open(tmp_path / "state.db")


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    State.open(tmp_path / "state.db").close()
    database = sqlite3.connect(tmp_path / "state.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigError, match="newer version"):
        State.open(tmp_path / "state.db")
    assert [path.name for path in tmp_path.iterdir()] == ["state.db"]


@pytest.mark.parametrize("damage", [b"this is no database\n" * 300, b"", None])
def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "state.db"
    with State.open(path) as state:
        fill(state)
    if damage is None:
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.write_bytes(damage)
    with State.open(path) as state:
        assert state.wants() == []
        fill(state)
    with State.open(path) as state:
        require_filled(state)
    if damage != b"":
        assert (tmp_path / "state.db.damaged-1").exists()


@pytest.mark.parametrize("lacks", [(), ("approved", "deadline", "expired")])
def test_what_can_be_read_of_a_damaged_file_is_carried_over(tmp_path: Path, lacks: tuple[str, ...]) -> None:
    """Also of one that an earlier program wrote."""
    path = tmp_path / "state.db"
    with State.open(path) as state:
        fill(state)
        for number in range(2000):
            state.set(f"fact {number:05}", "value " * 20)
    database = sqlite3.connect(path)
    for name in lacks:
        database.execute(f"ALTER TABLE wants DROP COLUMN {name}")
    database.commit()
    database.close()
    data = bytearray(path.read_bytes())
    end = len(data) // 4096 * 4096
    data[end - 40960 : end] = b"\xff" * 40960
    path.write_bytes(data)
    with State.open(path) as state:
        assert state.bans() == [Ban(ONE, "lost ship", 5.0)]
        assert state.wants() == [WANT]
        assert state.exports() == [EXPORT]
        assert (tmp_path / "state.db.damaged-1").read_bytes() == data


def test_a_row_that_makes_no_sense_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with State.open(path) as state:
        fill(state)
    database = sqlite3.connect(path)
    database.execute("INSERT INTO bans VALUES (x'0102', 'short', 1.0)")
    database.execute(
        f"INSERT INTO wants ({WANT_COLUMNS}) VALUES ('x', 'n', 'no class', 'user', 1.0, '', '', '', 0, '')"
    )
    database.execute(
        f"INSERT INTO wants ({WANT_COLUMNS}) VALUES ('y', 'n', 'high', 'nobody', 1.0, '', '', '', 0, '')"
    )
    database.execute("INSERT INTO exports VALUES ('x', 'no digest', 't', 1.0, 0, 0, '')")
    database.commit()
    database.close()
    with State.open(path) as state:
        require_filled(state)


def test_a_full_disk_is_said_and_borne(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite is told that it may not grow, which it reports as it does a full disk."""
    with State.open(tmp_path / "state.db") as state:
        fill(state)
        ((pages,),) = state._database.execute("PRAGMA page_count").fetchall()
        state._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreFull, match="free some space"):
            [state.set(f"fact {number}", "x" * 4000) for number in range(1000)]
        require_filled(state)
        state._database.execute("PRAGMA max_page_count = 100000")
        state.set("fact", "x" * 100_000)
    with State.open(tmp_path / "state.db") as state:
        require_filled(state)
        assert len(state.get("fact") or "") == 100_000


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="look at the disk"):
        State.open(tmp_path / "missing" / "state.db")


_WRITER = """
import sys
from pathlib import Path
from peat_sidecar.classes import TransferClass
from peat_sidecar.state import State, WantRow
state = State.open(Path(sys.argv[1]))
before = len(state.wants())
for number in range(before, 1 << 30):
    state.put_want(WantRow(f"{number:016x}", "name", TransferClass.NORMAL, "user", float(number)))
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    said = -1
    for lines in (1, 40, 7, 100):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert process.stdout is not None
        with process.stdout:
            for _ in range(lines):
                said = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
            process.wait(30)
        said = int(rest[-1]) if rest else said
        with State.open(path) as state:
            found = [int(row.id, 16) for row in state.wants()]
        assert found[: said + 1] == list(range(said + 1))
        assert len(found) - (said + 1) in (0, 1)
        said = len(found) - 1
