"""The offline commands of the roster, in this process, on files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from peat_sidecar.cli import main
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh import Role, Roster, parse_signed

ONE, TWO = EndpointId(bytes([1]) * 32), EndpointId(bytes([2]) * 32)

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Runs `roster ...` where the files are: its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["roster", *arguments])
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run_command


@pytest.fixture
def made(cli: Cli) -> Cli:
    assert cli("init", "fleet.json", "--admin-key", "admin.pem", "--app-id", "fleet")[0] == 0
    return cli


def test_from_nothing_to_a_signed_roster(cli: Cli, tmp_path: Path) -> None:
    code, text, errors = cli("init", "fleet.json", "--admin-key", "admin.pem", "--app-id", "fleet")
    assert (code, errors) == (0, "")
    assert "offline" in text
    admin = json.loads((tmp_path / "fleet.json").read_text())["admin"]
    assert f"--admission key+roster --roster-admin {admin}" in text
    assert (tmp_path / "admin.pem").stat().st_mode & 0o777 == 0o600

    assert cli("add", "fleet.json", str(ONE), "--agent", "ship", "--role", "publisher")[0] == 0
    code, text, _ = cli("add", "fleet.json", f"{TWO}@192.0.2.7:4433", "--role", "carrier")
    assert "2 members" in text
    assert "roster sign fleet.json" in text
    assert "not signed" in cli("show", "fleet.json")[1]

    code, text, errors = cli("sign", "fleet.json", "--admin-key", "admin.pem")
    assert (code, errors) == (0, "")
    assert "peat-sidecar roster load fleet.signed.json" in text
    assert "each needs its first one itself" in text
    roster = Roster.parse(parse_signed((tmp_path / "fleet.signed.json").read_text()), EndpointId.parse(admin))
    assert {id: (entry.agent_id, entry.role) for id, entry in roster.entries.items()} == {
        ONE: ("ship", Role.PUBLISHER),
        TWO: (str(TWO), Role.CARRIER),
    }
    assert set(json.loads((tmp_path / "fleet.signed.json").read_text())) == {"body", "signature"}
    assert "signed, in fleet.signed.json" in cli("show", "fleet.json")[1]

    shown = cli("show", "fleet.signed.json")[1]
    for word in ("fleet", admin, str(ONE), "ship", "publisher", "carrier", "signed 20"):
        assert word in shown

    assert cli("remove", "fleet.json", str(ONE))[0] == 0
    assert "changed since it was signed" in cli("show", "fleet.json")[1]
    assert cli("sign", "fleet.json", "--admin-key", "admin.pem")[0] == 0
    newer = Roster.parse(parse_signed((tmp_path / "fleet.signed.json").read_text()), EndpointId.parse(admin))
    assert newer.sequence > roster.sequence
    assert list(newer.entries) == [TWO]


def test_for_programs(made: Cli) -> None:
    made("add", "fleet.json", str(ONE), "--agent", "ship", "--role", "consumer")
    made("sign", "fleet.json", "--admin-key", "admin.pem")
    for file, signed in (("fleet.json", False), ("fleet.signed.json", True)):
        shown = json.loads(made("show", file, "-o", "json")[1])
        assert (shown["appId"], shown["signed"]) == ("fleet", signed)
        assert shown["members"] == [{"endpointId": str(ONE), "agentId": "ship", "role": "consumer"}]


def test_an_empty_roster_is_said_to_be_one(made: Cli) -> None:
    assert "Nobody is in it" in made("sign", "fleet.json", "--admin-key", "admin.pem")[1]


def test_a_key_is_used_again_and_never_written_over(made: Cli, tmp_path: Path) -> None:
    key = (tmp_path / "admin.pem").read_bytes()
    code, text, _ = made("init", "again.json", "--admin-key", "admin.pem", "--app-id", "fleet")
    assert code == 0
    assert "offline" not in text
    assert (tmp_path / "admin.pem").read_bytes() == key


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("init fleet.json --admin-key other.pem --app-id fleet", "exists"),
        ("init new.json --admin-key other.pem --app-id=", "app id"),
        ("init not/there.json --admin-key other.pem --app-id fleet", "cannot be written"),
        (f"add fleet.json {ONE} --agent other --role publisher", "twice"),
        (f"add fleet.json {TWO} --agent ship --role publisher", "'ship' is given to"),
        (f"add fleet.json {TWO} --agent sh:ip --role publisher", "no agent id"),
        (f"add fleet.json {TWO} --agent other --role captain", "role"),
        ("add fleet.json nobody --agent other --role publisher", "no endpoint id"),
        (f"add not-there.json {TWO} --role publisher", "roster init"),
        ("sign fleet.json --admin-key not-there.pem", "not-there.pem"),
        ("sign fleet.json --admin-key fleet.json", "can be read by others"),
        ("sign fleet.json --admin-key stranger.pem", "the key that the roster was made with"),
        ("sign admin.pem --admin-key admin.pem", "no roster"),
        ("show admin.pem", "no roster"),
        ("show .", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(line: str, said: str, made: Cli, tmp_path: Path) -> None:
    made("add", "fleet.json", str(ONE), "--agent", "ship", "--role", "publisher")
    made("init", "stranger.json", "--admin-key", "stranger.pem", "--app-id", "fleet")
    before = (tmp_path / "fleet.json").read_bytes()
    code, text, errors = made(*line.split())
    assert (code, text) == (2, "")
    assert said in errors
    assert (tmp_path / "fleet.json").read_bytes() == before
    assert not (tmp_path / "fleet.signed.json").exists()
    assert not (tmp_path / "other.pem").exists()


def test_one_who_is_not_listed_cannot_be_removed(made: Cli) -> None:
    code, _, errors = made("remove", "fleet.json", str(TWO))
    assert code == 3
    assert "roster show" in errors


def test_a_signed_roster_is_not_for_changing(made: Cli) -> None:
    made("sign", "fleet.json", "--admin-key", "admin.pem")
    code, _, errors = made("add", "fleet.signed.json", str(ONE), "--role", "publisher")
    assert code == 2
    assert "signed roster" in errors


def test_an_altered_roster_is_noticed(made: Cli, tmp_path: Path) -> None:
    made("add", "fleet.json", str(ONE), "--agent", "ship", "--role", "consumer")
    made("sign", "fleet.json", "--admin-key", "admin.pem")
    signed = tmp_path / "fleet.signed.json"
    signed.write_text(signed.read_text().replace("consumer", "publisher"))
    code, text, errors = made("show", "fleet.signed.json")
    assert (code, text) == (6, "")
    assert "signature" in errors
