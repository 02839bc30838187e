"""`store` and `pins` as people and programs see them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.cli import main
from tests.unit.cli.daemon_of_answers import Answers, daemon_of_answers

Run = Callable[..., tuple[int, str, str]]
USAGE = {
    "packages": [
        {"reference": "registry.example/team/app:v1", "ownBytes": "12000000", "sharedBytes": "80000000"},
        {"root": f"sha256:{'ab' * 32}", "ownBytes": "5", "replica": True, "lastUsedAt": 1.0},
        {"reference": "r.example/pinned:v1", "pinned": True, "replica": True},
    ],
    "packageBytes": "92000005",
    "orphanBlobs": 2,
    "orphanBytes": "3000",
    "partialBlobs": 1,
    "partialBytes": "70000",
    "freeBytes": "1000000000",
    "quotaBytes": "200000000000",
}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Answers]:
    with daemon_of_answers(tmp_path) as answers:
        yield answers


@pytest.fixture
def run(daemon: Answers, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*line: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([*line, "--data-dir", str(daemon.data_dir)])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return command


def test_usage(run: Run, daemon: Answers) -> None:
    daemon.give("GetStoreUsage", USAGE)
    code, out, _ = run("store", "usage")
    assert code == 0
    heads, *rows = [line.split() for line in out.splitlines()]
    assert heads == ["PACKAGE", "OWN", "SHARED", "KIND", "UNUSED"]
    assert rows[0][:6] == ["registry.example/team/app:v1", "12.0", "MB", "80.0", "MB", "own"]
    assert rows[1][0].startswith("sha256:abab")
    assert "replica" in rows[1]
    assert "pinned" in rows[2]
    assert "92.0 MB in packages of 200 GB, 3.0 kB in 2 blobs that nothing needs" in out
    assert "70.0 kB in 1 part of a blob, 1.0 GB free on the disk" in out
    code, out, _ = run("store", "usage", "-o", "json")
    assert json.loads(out) == USAGE


def test_gc(run: Run, daemon: Answers) -> None:
    daemon.give("CollectGarbage", {"orphanBlobs": 2, "orphanBytes": "3000", "partialBlobs": 1})
    assert run("store", "gc", "--dry-run")[1] == "would delete 2 blobs and 1 part, 3.0 kB\n"
    assert run("store", "gc", "--all")[1] == "deleted 2 blobs and 1 part, 3.0 kB\n"
    asked: list[tuple[str, Any]] = daemon.asked
    assert [each for _, each in asked] == [{"dryRun": True, "all": False}, {"dryRun": False, "all": True}]


def test_verify(run: Run, daemon: Answers) -> None:
    transfer = {"id": "0" * 16, "kind": "TRANSFER_KIND_VERIFY", "totalBlobs": 3, "doneBytes": "5000"}
    daemon.give("VerifyStore", {"transfer": transfer})
    daemon.give("WatchTransfer", {"transfer": transfer | {"state": "TRANSFER_STATE_DONE"}})
    code, out, _ = run("store", "verify", "--repair")
    assert (code, out) == (0, "verified: 3 blobs, 5.0 kB in 0.0 s\n")
    assert daemon.asked[0] == ("VerifyStore", {"repair": True})
    failed = {"state": "TRANSFER_STATE_FAILED", "error": "damaged and set aside", "errorCode": "data_loss"}
    daemon.give("WatchTransfer", {"transfer": transfer | failed})
    code, _, err = run("store", "verify")
    assert code == 6
    assert "damaged and set aside" in err


def test_pins(run: Run, daemon: Answers) -> None:
    daemon.give("SetPin", {"pin": {"name": "r.example/*"}, "packages": ["r.example/app:v1"]})
    assert run("pin", "r.example/*")[1] == "pinned r.example/*; 1 package of it here now\n"
    daemon.give("ListPins", {}, {"pins": [{"name": "r.example/*", "createdAt": 1.0}]})
    assert "no pins" in run("pins")[1]
    assert run("pins")[1].splitlines()[1].startswith("r.example/*")
    assert run("unpin", "r.example/*")[1] == "unpinned r.example/*\n"
    daemon.fail("RemovePin", "not_found", "it is not pinned")
    assert run("unpin", "r.example/*")[0] == 3
