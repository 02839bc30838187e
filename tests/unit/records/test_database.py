"""What is on the disk after a kill, a loss of power, damage, or when it is full."""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.signed_records import NOW, deliver, everything, node, said, signer, sync, view

from peat_sidecar.errors import ConfigError, StoreFailed, StoreFull
from peat_sidecar.records import FaultKind, Records

A = signer("a")
WAL_HEADER, FRAME_HEADER, PAGE = 32, 24, 4096


def test_a_write_waits_for_the_disk(one: Records) -> None:
    """Full synchronisation of a write-ahead log: a commit ends with fsync."""
    connection = one._database._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert one.put("notes", "n", {})
    assert not connection.in_transaction


def test_nothing_is_scanned(one: Records) -> None:
    """What start, figures and questions ask for is found by an index, whatever the number of records."""
    asked: list[str] = []
    connection = one._database._connection
    connection.set_trace_callback(asked.append)
    one.put("packages", "ship:app", {"content": {"root": "r"}})
    one.put("packages", "ship:app", {"content": {"root": "q"}})
    deliver(one, [said(A, "notes", "n", {}), said(A, "notes", "m", {}, count=1)])
    deliver(one, [said(A, "notes", "n", {"x": 1}), said(signer("b"), "notes", "n", {})])
    one.find("content.root", "r")
    one.list_ids("notes")
    one.documents("notes", after="a")
    one.collections()
    one.get("notes", "n")
    one.since(A.id, 0)
    one.heads()
    one.digest()
    one.status()
    one.review()
    one._signers.load()
    one._policy.load()
    connection.set_trace_callback(None)
    small = ("signers", "members", "totals", "stale", "CONSTANT ROW", "records USING INDEX records_ahead")
    allowed = tuple(f"SCAN {name}" for name in small)
    looked_at = 0
    for statement in {each for each in asked if each.lstrip().startswith(("SELECT", "UPDATE", "DELETE"))}:
        for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
            looked_at += 1
            assert not detail.startswith("SCAN") or detail.startswith(allowed), (statement, detail)
    assert looked_at > 10


def test_a_review_moves_the_log_into_the_database(one: Records, tmp_path: Path) -> None:
    """Else the commit that finds the log full waits for 16 MiB, on many nodes at the same time."""
    for number in range(50):
        one.put("notes", f"{number}", {"text": "y" * 900})
    one.review()
    log = one._database.path.with_name(f"{one._database.path.name}-wal")
    size_bytes = log.stat().st_size
    alone = sqlite3.connect(shutil.copy(one._database.path, tmp_path / "alone.db"))
    assert alone.execute("SELECT count(*) FROM records").fetchone() == (50,)
    alone.close()
    one.put("notes", "0", {"text": "z"})
    assert log.stat().st_size == size_bytes  # it begins anew
    assert one.get("notes", "1") is not None


_WRITER = """
import sys
from pathlib import Path
from tests.support.signed_records import Time, node
records = node(Path(sys.argv[1]), "one", Time())
for number in range(100_000):
    records.put("notes", f"{number % 7}", {"x": number, "text": "y" * (number % 900)})
    print(number, flush=True)
"""


def test_killed_while_it_writes(tmp_path: Path) -> None:
    """What was acknowledged is there, and the next start needs no repair."""
    last = -1
    for kills_after in (1, 3, 20, 45):
        command = [sys.executable, "-c", _WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(kills_after):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
            last = int(rest[-1]) if rest else last
        records = node(tmp_path, "one")
        document = records.get("notes", f"{last % 7}")
        assert document is not None
        assert document.fields["x"] == last
        assert records._database.rows("PRAGMA integrity_check") == [("ok",)]
        for signed in everything(records):
            signed.verify()
        records.close()


def test_power_lost_at_any_moment(tmp_path: Path) -> None:
    """The log cut at every page, and torn in the middle: a start finds all of some first writes, in order."""
    records = node(tmp_path, "one")
    for number in range(6):
        records.put("notes", str(number), {"x": number})
        deliver(records, [said(A, "notes", f"a{number}", {"x": number}, count=number)])
    log = (tmp_path / "one.db-wal").read_bytes()
    states = []
    frames = range(WAL_HEADER, len(log) + 1, FRAME_HEADER + PAGE)
    for index, length in enumerate(frames):
        for cut in (length, length + 2000):
            folder = tmp_path / f"{index}-{cut}"
            folder.mkdir()
            shutil.copy(tmp_path / "one.db", folder)
            (folder / "one.db-wal").write_bytes(log[:cut])
            again = node(folder, "one")
            found = [int(doc_id.removeprefix("a")) for doc_id in again.list_ids("notes")]
            assert again._database.rows("PRAGMA integrity_check") == [("ok",)]
            assert again.status().documents == again.status().records == len(found)
            assert sorted(found) == sorted([*range((len(found) + 1) // 2), *range(len(found) // 2)])
            states.append(len(found))
            assert again.put("notes", "more", {})
            again.close()
            shutil.rmtree(folder)
    assert states == sorted(states)
    assert states[-1] == 12
    assert len(set(states)) >= 12
    records.close()


def test_a_write_that_fails_changes_nothing(one: Records, other: Records) -> None:
    """Neither on disk nor in memory; the same call works afterwards."""
    one.put("notes", "n", {"x": 1})
    before = one.heads(), one.digest(), view(one), one.status()
    told: list[object] = []
    one.subscribe(told.append)
    pages = one._database.rows("PRAGMA page_count")[0][0]
    one._database.rows(f"PRAGMA max_page_count = {pages}")
    large = {"x": "y" * 100_000}
    for call in (
        lambda: one.put("notes", "n", large),
        lambda: one.put("packages", "ship:app", large),
        lambda: deliver(one, [said(A, "packages", "boat:app", large)]),
    ):
        with pytest.raises(StoreFull, match=r"one\.db.*free some space"):
            call()
        assert (one.heads(), one.digest(), view(one), one.status()) == before
        assert one.owner_of("ship") is None
        assert one.owner_of("boat") is None
    assert told == []
    one._database.rows("PRAGMA max_page_count = 1000000")
    assert one.put("notes", "n", large)
    assert deliver(one, [said(A, "packages", "boat:app", large)]).new == 1
    assert one.owner_of("boat") == A.id
    sync(one, other)
    assert view(one) == view(other)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.fail(f"cannot mount a tmpfs, which takes root: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk(small: Path) -> None:
    records = node(small, "one")
    records.put("notes", "n", {"x": 1})
    written = 0
    while _is_put(records, f"filler {written}"):
        written += 1
    assert 10 < written < 1000
    assert len(records.list_ids("notes")) == written + 1
    with pytest.raises(StoreFull):
        deliver(records, [said(A, "notes", "n", {"x": "y" * 50_000})])
    records.close()
    copy = small.parent / "copy"
    copy.mkdir()
    shutil.copy(small / "one.db", copy)
    if (small / "one.db-wal").exists():
        shutil.copy(small / "one.db-wal", copy)
    again = node(copy, "one")
    assert len(again.list_ids("notes")) == written + 1
    assert again.put("notes", "room", {})
    again.close()


def _is_put(records: Records, doc_id: str) -> bool:
    try:
        return records.put("notes", doc_id, {"x": "y" * 20_000})
    except StoreFull:
        return False


def test_no_room_to_begin_with(small: Path) -> None:
    with (small / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    with pytest.raises(StoreFull):
        node(small, "one")
    (small / "filler").unlink()
    records = node(small, "one")
    assert records.put("notes", "n", {})
    records.close()


def test_in_use(one: Records, tmp_path: Path) -> None:
    one.put("notes", "n", {})
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "in use by another process" in ended.stderr
    assert "StoreFailed" in ended.stderr


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="missing"):
        Records.open(tmp_path / "missing" / "records.db", A)


@pytest.mark.parametrize(
    "content", [b"no database, but a text of some length " * 300, b"SQLite format 3\0" * 99]
)
def test_no_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one.db").write_bytes(content)
    with pytest.raises(StoreFailed, match=r"damaged.*move the file"):
        node(tmp_path, "one")
    assert (tmp_path / "one.db").read_bytes() == content


def test_another_versions_database(tmp_path: Path) -> None:
    node(tmp_path, "one").close()
    database = sqlite3.connect(tmp_path / "one.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigError, match=r"another version \(99\)"):
        node(tmp_path, "one")


def test_another_programs_database(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "one.db")
    database.execute("CREATE TABLE x (y)")
    database.close()
    with pytest.raises(ConfigError, match="another"):
        node(tmp_path, "one")


def test_damage_anywhere(tmp_path: Path) -> None:
    """Each page of the file in turn is zeros, or rubbish: an error that says so, or a right answer."""
    folder = tmp_path / "good"
    folder.mkdir()
    records = node(folder, "one")
    for number in range(60):
        records.put("packages", f"ship:{number}", {"x": "y" * 300, "content": {"root": str(number)}})
        deliver(records, [said(A, "notes", str(number), {"x": number}, count=number)])
    right = view(records)
    records.close()
    good = (folder / "one.db").read_bytes()
    errors = 0
    for page in range(len(good) // PAGE):
        for rubbish in (bytes(PAGE), good[:100] * 41, b"\xff" * PAGE):
            (tmp_path / "one.db").write_bytes(
                good[: page * PAGE] + rubbish[:PAGE] + good[(page + 1) * PAGE :]
            )
            try:
                _use(tmp_path, right)
            except (StoreFailed, ConfigError):
                errors += 1
            for left in tmp_path.glob("one.db-*"):
                left.unlink()
    assert errors > len(good) // PAGE


def _use(folder: Path, right: dict[tuple[str, str], dict[str, object]]) -> None:
    records = node(folder, "one")
    try:
        found = view(records)
        assert found.items() <= right.items()
        records.find("content.root", "5")
        records.heads()
        records.digest()
        records.status()
        everything(records)
        records.put("packages", "ship:5", {"x": 1})
        records.review()
        deliver(records, [said(A, "notes", "5", {"x": "new"}, at=NOW + 5)])
        records.ban(A.id)
    finally:
        records.close()


def test_damaged_bodies_are_noticed(one: Records, other: Records) -> None:
    """Where one is merged: an error. Where one is passed on: the other side refuses it."""
    deliver(one, [said(A, "notes", "n", {"x": 1})])
    one._database._connection.execute("UPDATE records SET body = CAST(replace(body, ':1}', ':7}') AS BLOB)")
    part = one.since(A.id, 0)
    assert part is not None
    assert [fault.kind for fault in other.merge([part]).faults] == [FaultKind.FORGED]
    one._database._connection.execute("UPDATE records SET body = x'00ff'")
    with pytest.raises(StoreFailed, match="damaged"):
        one.put("notes", "n", {"x": 2})
