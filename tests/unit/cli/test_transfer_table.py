"""The table of transfers at every width, with everything that an answer may say."""

import json
from collections.abc import Callable

import pytest

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.transfer_table import NOTHING, table
from tests.unit.cli.daemon_of_answers import Answers
from tests.unit.cli.test_mesh_commands import answers, cli

__all__ = ["answers", "cli"]
Cli = Callable[..., tuple[int, str, str]]

A, B = "a" * 64, "b" * 64
FETCH: Json = {
    "id": "0123456789abcdef",
    "kind": "TRANSFER_KIND_FETCH",
    "state": "TRANSFER_STATE_RUNNING",
    "subject": "registry.example:5000/a/rather/long/repository/with/many/parts:v1.2.3-rc4",
    "transferClass": "TRANSFER_CLASS_BULK",
    "totalBytes": "104200000000",
    "doneBytes": "50000000000",
    "bytesPerSecond": 123_456_789.0,
    "etaSeconds": 7199.4,
    "sources": [
        {"endpointId": A, "share": 0.625, "state": "SOURCE_STATE_WORKING"},
        {"endpointId": B, "share": 0.375, "state": "SOURCE_STATE_SILENT"},
    ],
    "events": [{"at": 1.0, "kind": "stall", "endpointId": B, "detail": "it was silent"}],
}
WAITS: Json = FETCH | {
    "id": "fedcba9876543210",
    "subject": "\x1b[2Jhostile/\u202ename:v1",
    "transferClass": "TRANSFER_CLASS_CRITICAL",
    "waitingFor": "its turn: others go first " * 10,
}
WANT: Json = {
    "id": "00",
    "name": "registry.example/team/app:v1",
    "state": "WANT_STATE_WAITING",
    "transferClass": "TRANSFER_CLASS_HIGH",
    "why": "nobody has it",
}
EVERYTHING: Json = {"transfers": [FETCH, WAITS], "wants": [WANT], "moreWants": 7}


@pytest.mark.parametrize("width", [40, 60, 76, 80, 200])
def test_lines_stay_within_the_width(width: int) -> None:
    for line in table(EVERYTHING, width):
        assert len(line.text) <= width
        assert line.text.isprintable()


def test_what_it_says() -> None:
    text = "\n".join(line.text for line in table(EVERYTHING, 80))
    assert text.index("critical") < text.index("bulk") < text.index("registry.example/team/app:v1")
    for part in ("47% of 104 GB", "123 MB/s", "from aaaaaaaaaa 62%, bbbbbbbbbb 38% (silent)"):
        assert part in text
    for part in ("waits for its turn", "stall bbbbbbbbbb it was silent", "nobody has it", "7 wants more"):
        assert part in text


def test_what_has_ended_is_not_in_it() -> None:
    ended = FETCH | {"state": "TRANSFER_STATE_DONE"}
    assert [line.text for line in table({"transfers": [ended]}, 80)] == [NOTHING]


def test_once(cli: Cli, answers: Answers) -> None:
    assert cli("watch", "--once")[1].strip() == NOTHING
    answers.give("WatchTransfers", EVERYTHING)
    code, text, _ = cli("watch", "--once")
    assert code == 0
    assert text.startswith("WHAT")
    code, text, _ = cli("watch", "--once", "-o", "json")
    assert (code, json.loads(text)) == (0, EVERYTHING)


def test_lines_where_there_is_no_terminal(cli: Cli, answers: Answers) -> None:
    done = FETCH | {"state": "TRANSFER_STATE_DONE", "doneBytes": FETCH["totalBytes"]}
    answers.give("WatchTransfers", {"transfers": [FETCH]}, {"transfers": [FETCH]}, {"transfers": [done]}, {})
    code, text, _ = cli("watch", width=None)
    assert code == 5, "the daemon's end"
    first, second = text.splitlines()
    assert "running: 47 % of 104 GB" in first
    assert "done: 100 %" in second


def test_objects_for_programs(cli: Cli, answers: Answers) -> None:
    answers.give("WatchTransfers", {}, EVERYTHING)
    _, text, _ = cli("watch", "-o", "json")
    assert [json.loads(line) for line in text.splitlines()] == [{}, EVERYTHING]
