"""The help of every command, wrong command lines, and what a command imports."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from peat_sidecar.cli import main
from peat_sidecar.cli.running import run
from peat_sidecar.config import Settings
from peat_sidecar.errors import PeatError, StoreFull

COMMANDS = [
    "",
    "run",
    "import",
    "fetch",
    "export",
    "packages",
    "blobs",
    "transfers",
    "transfers list",
    "transfers watch",
    "watch",
    "transfers cancel",
    "status",
    "peers",
    "peers list",
    "peers connect",
    "peers disconnect",
    "peers ban",
    "peers unban",
    "peers bans",
    "limits",
    "limits set",
    "limits clear",
    "documents",
    "documents list",
    "documents get",
    "documents put",
    "documents delete",
    "documents watch",
    "sync",
    "sync status",
    "sync start",
    "sync stop",
    "wants",
    "wants list",
    "wants add",
    "wants cancel",
    "wants class",
    "quote",
    "roster",
    "roster init",
    "roster add",
    "roster remove",
    "roster sign",
    "roster show",
    "roster load",
    "pin",
    "unpin",
    "pins",
    "store",
    "store usage",
    "store gc",
    "store verify",
    "derive-id",
    "mirror-config",
    "remove",
]
OFFLINE = {
    "",
    "run",
    "derive-id",
    "mirror-config",
    "documents",
    "store",
    "roster init",
    "roster add",
    "roster remove",
    "roster sign",
    "roster show",
}
"""Commands that ask no daemon, and groups."""

Cli = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in this process: its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "80")

    def run_command(line: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(line.split())
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run_command


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, cli: Cli) -> None:
    code, text, errors = cli(f"{command} --help")
    assert (code, errors) == (0, "")
    assert "Examples:" in text
    assert f"peat-sidecar {command}".rstrip() in text.partition("Examples:")[2]
    assert max(len(line) for line in text.splitlines()) <= 80
    if command not in OFFLINE:
        assert all(
            option in text for option in ("--output", "--api", "--data-dir", "--token-file", "--ca-file")
        )


def test_all_commands_are_tested(cli: Cli) -> None:
    listed = cli("--help")[1].partition("Commands:")[2].partition("Examples:")[0]
    names = {line.split()[0] for line in listed.splitlines() if line[2:3].strip()}
    assert names == {command.split()[0] for command in COMMANDS if command}


def test_every_setting_has_an_option(cli: Cli) -> None:
    """But the formation's key: what is in a command line is seen by everyone on the machine."""
    text = cli("run --help")[1]
    for setting in Settings.model_fields.keys() - {"formation_keys"}:
        option = setting.replace("_", "-")
        assert any(f"--{name} " in text for name in (option, option[:-1], option[:-2], f"{option[:-3]}y")), (
            option
        )
    assert "--formation-key " not in text


@pytest.mark.parametrize(
    "line",
    [
        "stat",
        "status --foo",
        "status --output xml",
        "import",
        "blobs --limit 0",
        "run --log-level loud",
        "run --stall-seconds 0",
        "run --api ftp://x",
        "run --config /not/there",
        "status --api ftp://x",
        "status --api tcp://127.0.0.1:1 --token-file /not/there",
        "status --api tcp://127.0.0.1:1 --ca-file /not/there",
        "fetch 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
        "import not-there",
        "import /etc/hostname --as example.com/app:v1",
        "import example.com/app:v1 --expect sha256:x",
        "export x y",
        "export --blob x /y --tag v1",
        "blobs x --limit 3",
        "peers connect nobody",
        "peers --output json connect nobody",
        "transfers --api unix:/x cancel 1",
        "packages --agent x",
        "wants add x --class urgent",
        "wants class x urgent",
        "documents put notes one @/not/there",
        "documents list notes --limit 0",
        "peers ban nobody",
        "roster load /not/there",
        "run --identity borrowed",
        "run --admission all",
        "run --replicate x,urgent",
        "run --replicate x,class=urgent",
        "run --identity derived",
        "run --admission key+roster",
        "run --agent-tls-cert /x --agent https://x",
        "run --watch-registry x",
        "run --agent-id a:b",
    ],
)
def test_wrong_command_lines(line: str, cli: Cli) -> None:
    code, text, errors = cli(line)
    assert (code, text) == (2, "")
    assert errors.startswith("peat-sidecar: ")
    assert len(errors.splitlines()) <= 2


def test_no_command(cli: Cli) -> None:
    code, text, _ = cli("")
    assert code == 2
    assert "Commands:" in text


def test_version(cli: Cli) -> None:
    assert cli("--version")[:2] == (0, "peat-sidecar 0.1.0\n")


def test_no_daemon() -> None:
    """In a process of its own: httpcore leaves the socket to the garbage collector."""

    def status(*options: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "peat_sidecar", "status", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stderr

    code, errors = status("--data-dir", "/not/there")
    assert code == 5
    assert "peat-sidecar run --data-dir /not/there" in errors
    assert "peat-sidecar run --api unix:/not/x.sock" in status("--api", "unix:/not/x.sock")[1]
    assert status("--api", "tcp://127.0.0.1:1")[0] == 5


def test_what_stops_the_daemon_is_found_in_a_group(
    monkeypatch: pytest.MonkeyPatch, cli: Cli, tmp_path: object
) -> None:
    def fail(settings: Settings) -> None:
        raise ExceptionGroup("x", [ValueError("other"), ExceptionGroup("y", [StoreFull("no room")])])

    monkeypatch.setattr("peat_sidecar.app.serve", fail)
    assert cli(f"run --data-dir {tmp_path}") == (7, "", "peat-sidecar: no room\n")
    with pytest.raises(PeatError):
        run(data_dir=None)


def test_a_client_does_not_load_the_daemon() -> None:
    program = (
        "import sys; from peat_sidecar.cli import main\n"
        "try: main(['status', '--data-dir', '/not/there'])\n"
        "except SystemExit as end: assert end.code == 5, end.code\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    loaded = set(done.stdout.split())
    assert "peat_sidecar.cli.client" in loaded
    assert not loaded & {
        "iroh",
        "peat_sidecar.app",
        "peat_sidecar.rpc",
        "peat_sidecar.store",
        "hypercorn",
        "cryptography",
    }
