"""Commands about documents, wants, packages of the mesh, bans and rosters: what they ask and print."""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.cli import main
from tests.unit.cli.daemon_of_answers import Answers, daemon_of_answers

ID = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
HASH = "ab" * 32
HOSTILE = "\x1b]0;title\x07\u202e"

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Answers]:
    with daemon_of_answers(tmp_path) as made:
        yield made


@pytest.fixture
def cli(answers: Answers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in this process, as in a terminal: its exit code and what it printed."""
    monkeypatch.setenv("PEAT_SIDECAR_DATA_DIR", str(answers.data_dir))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str, width: int | None = 80) -> tuple[int, str, str]:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: width is not None)
        with pytest.raises(SystemExit) as left:
            main(arguments)
        printed = capsys.readouterr()
        if width is not None and "json" not in arguments:
            assert max((len(line) for line in printed.out.splitlines()), default=0) <= width, printed.out
        assert not any(sign in printed.out + printed.err for sign in "\x1b\x07\x9b\u202e")
        return int(left.value.code or 0), printed.out, printed.err

    return run


# ---- documents


def test_documents_are_listed_page_by_page(cli: Cli, answers: Answers) -> None:
    answers.give("ListDocuments", {"docIds": ["a", "b"], "nextPageToken": "b"}, {"docIds": [f"c{HOSTILE}"]})
    assert cli("documents", "list", "notes")[:2] == (0, "a\nb\nc?]0;title??\n")
    assert [asked["pageToken"] for _, asked in answers.asked] == ["", "b"]
    answers.give("ListDocuments", {"docIds": ["a", "b"], "nextPageToken": "b"})
    code, text, _ = cli("documents", "list", "notes", "--limit", "2", "-o", "json")
    assert (code, json.loads(text)) == (0, {"docIds": ["a", "b"]})
    assert answers.asked[-1] == ("ListDocuments", {"collection": "notes", "pageSize": 2, "pageToken": ""})
    answers.give("ListDocuments", {})
    assert cli("documents", "list", "none") == (0, "", "no documents in none\n")


def test_a_document_is_printed_as_it_is(cli: Cli, answers: Answers) -> None:
    text = '{"five":5,"text":"\x9b31m\u2028é"}'
    answers.give("GetDocument", {"jsonData": text})
    code, printed, _ = cli("documents", "get", "notes", "one", width=None)
    assert (code, json.loads(printed)) == (0, json.loads(text))
    assert "\x9b" not in printed
    assert "é" in printed
    assert json.loads(cli("documents", "get", "notes", "one", "-o", "json")[1]) == {"jsonData": text}
    answers.give("GetDocument", {})
    code, printed, errors = cli("documents", "get", "notes", "two")
    assert (code, printed) == (3, "")
    assert "no document two in notes" in errors


def test_a_document_is_written(
    cli: Cli, answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.give("PutDocument", {"changed": True}, {})
    assert cli("documents", "put", "notes", "one", '{"a":1}')[:2] == (0, "wrote notes/one\n")
    assert answers.asked[-1][1] == {"collection": "notes", "docId": "one", "jsonData": '{"a":1}'}
    assert cli("documents", "put", "notes", "one", '{"a":1}')[:2] == (0, "notes/one is like that\n")
    file = tmp_path / "note.json"
    file.write_text('{"é":1}')
    cli("documents", "put", "notes", "one", f"@{file}")
    assert answers.asked[-1][1]["jsonData"] == '{"é":1}'
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b'{"b":2}')))
    cli("documents", "put", "notes", "one", "-")
    assert answers.asked[-1][1]["jsonData"] == '{"b":2}'
    file.write_bytes(b"\xff")
    assert cli("documents", "put", "notes", "one", f"@{file}")[0] == 2
    file.write_bytes(b" " * ((4 << 20) + 1))
    assert cli("documents", "put", "notes", "one", f"@{file}")[0] == 2
    answers.fail("PutDocument", "permission_denied", "it belongs to another")
    assert cli("documents", "put", "notes", "one", "{}")[0] == 4


def test_a_document_is_deleted(cli: Cli, answers: Answers) -> None:
    answers.give("DeleteDocument", {"changed": True}, {})
    assert cli("documents", "delete", "notes", "one")[:2] == (0, "deleted notes/one\n")
    assert cli("documents", "delete", "notes", "one")[0] == 3


def test_changes_are_watched(cli: Cli, answers: Answers) -> None:
    upsert = {"collection": "notes", "docId": f"one{HOSTILE}", "changeType": "CHANGE_TYPE_UPSERT"}
    delete = upsert | {"changeType": "CHANGE_TYPE_DELETE"}
    answers.give("Subscribe", upsert | {"jsonData": '{"a":1}'}, upsert, delete)
    code, text, _ = cli("documents", "watch", "notes", "other")
    assert code == 0
    name = "notes/one?]0;title??"
    assert text.splitlines() == [
        f'{name}  {{"a":1}}',
        f'{name}  "too large for a message"',
        f"{name}  deleted",
    ]
    assert answers.asked[-1] == ("Subscribe", {"collections": ["notes", "other"]})
    text = cli("documents", "watch", "-o", "json", width=None)[1]
    assert [json.loads(line) for line in text.splitlines()][2] == delete
    answers.fail("Subscribe", "resource_exhausted", "changes came faster")
    assert cli("documents", "watch")[0] == 7


def test_sync(cli: Cli, answers: Answers) -> None:
    answers.give("GetSyncStats", {"syncActive": True, "connectedPeers": 2, "bytesSent": "1500"})
    for arguments in (["sync"], ["sync", "status"]):
        code, text, _ = cli(*arguments)
        assert code == 0
        assert "active" in text
        assert "2 peers" in text
        assert "1.5 kB" in text
    assert cli("sync", "stop")[0] == cli("sync", "start")[0] == 0
    assert [method for method, _ in answers.asked[-2:]] == ["StopSync", "StartSync"]
    answers.fail("StartSync", "invalid_argument", "this node is in no formation")
    assert cli("sync", "start")[0] == 2


# ---- wants

WANT = {
    "id": "0123456789abcdef",
    "name": "registry.example/team/app:v1",
    "transferClass": "TRANSFER_CLASS_HIGH",
    "origin": "user",
    "state": "WANT_STATE_FETCHING",
    "totalBytes": "200",
    "doneBytes": "50",
    "arch": "arm64",
}


def test_wants_are_listed(cli: Cli, answers: Answers) -> None:
    waiting = {
        "id": "f" * 16,
        "name": HASH,
        "state": "WANT_STATE_WAITING",
        "transferClass": "TRANSFER_CLASS_BULK",
        "origin": "policy",
        "why": f"nobody has it{HOSTILE}",
    }
    answers.give("ListWants", {"wants": [WANT, waiting]})
    code, text, _ = cli("wants")
    assert code == 0
    lines = text.splitlines()
    assert lines[1].split()[:8] == [WANT["id"], "fetching", "high", "user", "25%", "of", "200", "B"]
    assert ".." in lines[1]
    assert "ababababab" in lines[2]
    waiting |= {"reference": "registry.example/team/app:v2", "origin": "policy"}
    answers.give("ListWants", {"wants": [waiting]})
    assert cli("wants", width=None)[1].splitlines()[1].endswith("  registry.example/team/app:v2")
    assert "registry.example/team/app:v2" in cli("wants", "-o", "json")[1]
    answers.give("ListWants", {"wants": [WANT, waiting]})
    assert "ffffffffffffffff: nobody has it" in text
    assert "registry.example/team/app:v1 (arm64)" in cli("wants", "list", width=None)[1]
    assert json.loads(cli("wants", "-o", "json")[1])["wants"][0] == WANT
    answers.give("ListWants", {})
    assert "nothing is wanted" in cli("wants")[1]


def test_wants_are_added_changed_and_cancelled(cli: Cli, answers: Answers) -> None:
    answers.give("AddWant", {"want": WANT | {"why": "nobody has it yet"}})
    name = str(WANT["name"])
    code, text, _ = cli("wants", "add", name, "--class", "high", "--arch", "arm64", "--export", "a:5")
    assert code == 0
    assert "nobody has it yet" in text
    assert answers.asked[-1][1] == {
        "name": name,
        "transferClass": "TRANSFER_CLASS_HIGH",
        "arch": "arm64",
        "exportTo": "a:5",
    }
    cli("wants", "add", name)
    assert answers.asked[-1][1]["transferClass"] == "TRANSFER_CLASS_NORMAL"
    answers.give("SetWantClass", {"want": WANT})
    assert cli("wants", "class", "x", "critical")[0] == 0
    assert answers.asked[-1][1] == {"id": "x", "transferClass": "TRANSFER_CLASS_CRITICAL"}
    code, _, errors = cli("wants", "class", "x", "urgent")
    assert code == 2
    assert "Invalid value for 'CLASS': 'urgent' is not one of" in errors
    assert cli("wants", "cancel", "x")[:2] == (0, "cancelled x\n")
    answers.fail("CancelWant", "not_found", "there is no want x")
    assert cli("wants", "cancel", "x")[0] == 3


def test_a_quote(cli: Cli, answers: Answers) -> None:
    provider = {"endpointId": ID, "agentId": "ship-7", "state": "complete", "connected": True}
    answers.give(
        "Quote",
        {
            "root": f"sha256:{HASH}"[:60],
            "collection": HASH,
            "totalBytes": "500000000",
            "missingBytes": "412000000",
            "providers": [provider, provider, provider],
            "bytesPerSecond": 254321.0,
            "etaSeconds": 1620.0,
        },
    )
    code, text, _ = cli("quote", "registry.example/team/app:v1")
    assert code == 0
    assert text.startswith("412 MB missing of 500 MB, 3 peers, 27 min 0 s at 254 kB/s\n")
    assert text.count(ID) == 3
    assert "complete, connected, ship-7" in text
    assert "a limit" not in text
    limited: dict[str, Any] = {"missingBytes": "412000000", "totalBytes": "500000000", "etaSeconds": 3296.0}
    limited |= {"bytesPerSecond": 254321.0, "limitBytesPerSecond": 125000.0, "freeBytes": "411000000"}
    answers.give("Quote", limited)
    _, text, _ = cli("quote", "registry.example/team/app:v1")
    assert "54 min 56 s at 125 kB/s\na limit of 1 Mbit/s holds" in text
    assert "411 MB free on the disk, too little" in text
    answers.fail("Quote", "not_found")
    assert cli("quote", "x")[0] == 3


# ---- packages of the mesh


def test_packages_of_the_mesh(cli: Cli, answers: Answers) -> None:
    package = {
        "reference": "registry.example:5000/a/long/path/to/some/team/application:v1.2.3",
        "arch": "amd64",
        "collection": HASH,
        "root": f"sha256:{HASH}",
        "bytes": "412000000",
        "blobs": 7,
        "agentId": "ship-7",
        "completeHolders": 2,
        "partialHolders": 1,
        "here": "BLOB_STATE_PARTIAL",
        "decides": True,
        "ageSeconds": 7300.0,
    }
    stranger = {"reference": f"x{HOSTILE}", "agentId": HASH, "here": "BLOB_STATE_ABSENT"}
    pages = ({"packages": [package], "nextPageToken": "t"}, {"packages": [stranger]})
    answers.give("ListMeshPackages", *pages)
    code, text, _ = cli("packages", "--mesh", "registry.example/*", "--agent", "ship-7")
    assert code == 0
    assert [asked["pageToken"] for _, asked in answers.asked] == ["", "t"]
    assert answers.asked[0][1]["reference"] == "registry.example/*"
    assert answers.asked[0][1]["agentId"] == "ship-7"
    first, second = text.splitlines()[1:3]
    assert ".." in first
    assert first.split()[-6:] == ["412", "MB", "2,", "1", "partly", "partial"]
    assert second.split()[-1] == "no"
    assert "1 record of these decide nothing" in text
    answers.give("ListMeshPackages", {"packages": [package]})
    text = cli("packages", "--mesh", "--full", width=None)[1]
    assert package["reference"] in text
    assert "2 h 1 min" in text
    assert json.loads(cli("packages", "--mesh", "-o", "json")[1]) == {"packages": [package]}
    answers.give("ListMeshPackages", {})
    assert "no such packages" in cli("packages", "--mesh")[1]


# ---- who may take part


def test_bans(cli: Cli, answers: Answers) -> None:
    note = "Without a roster whoever is banned can come back under a new id."
    answers.give("BanPeer", {"ban": {"endpointId": ID}, "note": note})
    code, text, _ = cli("peers", "ban", f"{ID}@192.0.2.7:1", "--reason", "lost at sea")
    assert (code, text) == (0, f"banned {ID}\n{note}\n")
    assert answers.asked[-1][1] == {"endpointId": ID, "reason": "lost at sea"}
    ban = {"endpointId": ID, "reason": f"lost{HOSTILE}", "bannedAt": 1e9}
    answers.give("ListBans", {"bans": [ban, {"endpointId": ID, "bannedAt": 1e300}], "note": note})
    code, text, _ = cli("peers", "bans")
    assert code == 0
    assert "2001-09-09 01:46 UTC: lost" in text
    assert "at an unknown time" in text
    assert note in text
    answers.give("ListBans", {})
    assert cli("peers", "bans")[1] == "no peer is banned\n"
    assert cli("peers", "unban", ID)[1] == f"unbanned {ID}\n"
    answers.fail("UnbanPeer", "not_found")
    assert cli("peers", "unban", ID)[0] == 3


def test_the_roster_in_force(cli: Cli, answers: Answers, tmp_path: Path) -> None:
    answers.give("GetRoster", {})
    assert "by the key alone" in cli("roster")[1]
    answers.give("GetRoster", {"required": True, "admin": ID, "lastRefusal": "it is older"})
    code, text, _ = cli("roster")
    assert code == 0
    assert "nobody may join" in text
    assert "it is older" in text
    entry = {"endpointId": ID, "agentId": "ship-7", "role": "publisher"}
    roster = {"sequence": "7", "appId": "fleet", "signedAt": 1e9, "entries": [entry]}
    answers.give("GetRoster", {"required": True, "admin": ID, "roster": roster})
    text = cli("roster")[1]
    assert "2001-09-09" in text
    assert text.splitlines()[-2:] == [ID, "  publisher, ship-7"]
    assert json.loads(cli("roster", "-o", "json")[1])["roster"] == roster
    file = tmp_path / "fleet.signed.json"
    file.write_bytes(b'{"body": "\xc3\xa9"}')
    answers.give("LoadRoster", {"roster": roster})
    assert "ship-7" in cli("roster", "load", str(file))[1]
    assert base64.b64decode(answers.asked[-1][1]["signedRoster"]) == file.read_bytes()
    answers.fail("LoadRoster", "permission_denied", "the roster is older than the one in force")
    assert cli("roster", "load", str(file))[0] == 4


# ---- status and peers


def test_status(cli: Cli, answers: Answers) -> None:
    fault = {
        "kind": "future",
        "signer": ID,
        "collection": "notes",
        "docId": f"one{HOSTILE}",
        "detail": "its clock is 365 days ahead",
        "count": "3",
    }
    status: dict[str, Any] = {
        "nodeId": ID,
        "endpointAddr": f"{ID}@192.0.2.7:4433",
        "syncActive": True,
        "agentId": "ship-7",
        "formation": {
            "active": True,
            "appId": "fleet",
            "sessions": 3,
            "refusedHandshakes": "2",
            "hasRoster": True,
        },
        "records": {"documents": "1200", "signers": "5", "bytes": "700000", "setAside": "1"},
        "watchers": [{"name": "agent http://127.0.0.1:9090", "status": "it does not answer"}],
        "wants": {"waiting": 2, "done": 7, "policy": "4 packages are wanted"},
        "exports": [
            {"target": "h:5000/app:v1", "attempts": 3, "lastError": f"it is down{HOSTILE}"},
            {"target": "h:5000/app:v2"},
        ],
        "faults": [fault] * 12,
    }
    answers.give("GetStatus", status)
    code, text, _ = cli("status")
    assert code == 0
    for part in (
        "ship-7",
        "fleet, 3 sessions, with a roster, 2 handshakes refused",
        "1,200 of 5 signers, 700 kB, 1 record set aside",
        "2 waiting, 7 done",
        "policy: 4 packages are wanted",
        "agent http://127.0.0.1:9090: it does not answer",
        "to be written to h:5000/app:v1, failed 3 times: it is down",
        "to be written to h:5000/app:v2\n",
        "future, 3 times, 3b6a27bcce, notes/one",
        "and 2 more",
    ):
        assert part in text, part
    answers.give("GetStatus", {"nodeId": ID})
    assert "none: no key is set" in cli("status")[1]
    formation = {"active": True, "appId": "fleet", "hasRoster": True, "waitsForRoster": True}
    answers.give("GetStatus", {"nodeId": ID, "formation": formation})
    assert "with a roster that is not here yet: nobody can join" in cli("status", width=None)[1]


def test_peers(cli: Cli, answers: Answers) -> None:
    answers.give(
        "ListPeers",
        {
            "peers": [
                {"endpointId": ID, "connected": True, "source": "mdns", "member": True},
                {"endpointId": ID, "source": "named", "nextDialSeconds": 12.0, "member": True},
                {"endpointId": ID, "source": "record", "nextDialSeconds": 0.02},
                {"endpointId": ID, "source": "inbound", "banned": True},
            ]
        },
    )
    code, text, _ = cli("peers")
    assert code == 0
    assert "found on the local network, a member" in text
    assert "not connected, dialled again in 12 s\n  named here, a member\n" in text
    assert "not connected, dialled again at once\n  known from its record\n" in text
    assert "  banned\n  came by itself" in text


def test_a_peer_is_connected_by_its_ticket(cli: Cli, answers: Answers) -> None:
    from peat_sidecar.ids import PeerAddress
    from peat_sidecar.wire import peer_ticket

    address = PeerAddress.parse(f"{ID}@192.0.2.7:4433")
    for text in (str(address), peer_ticket(address)):
        assert cli("peers", "connect", text)[0] == 0
        assert answers.asked[-1][1] == {"endpointId": ID, "addresses": ["192.0.2.7:4433"]}
