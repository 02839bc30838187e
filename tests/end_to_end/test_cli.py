"""The command line against real daemons: in a terminal of 80 columns, for programs, and when things fail."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import RunningDaemon, daemon
from tests.support.images import build_image
from tests.support.real_files import real_file
from tests.support.registry import make_certificate
from tests.support.terminal import CTRL_C, Shown, run_in_terminal

REFERENCE = "registry.example:5000/team/app:v1"
ABSENT = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
COMMAND = (sys.executable, "-m", "peat_sidecar")


@dataclass(frozen=True)
class Node:
    """A daemon, its folders, and commands that ask it."""

    daemon: RunningDaemon
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What its user has set."""
        return {"PEAT_SIDECAR_DATA_DIR": str(self.daemon.data_dir)}

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Without a terminal."""
        return plain(arguments, self.environment)

    def ok(self, *arguments: str) -> str:
        code, text, errors = self.run(*arguments)
        assert code == 0, errors
        return text

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "--output", "json"))

    def show(self, *arguments: str, type_when: tuple[str, bytes] | None = None) -> Shown:
        """In a terminal."""
        return run_in_terminal([*COMMAND, *arguments], environment=self.environment, type_when=type_when)

    def cancel_all(self) -> None:
        for each in self.json("transfers")["transfers"]:
            self.ok("transfers", "cancel", each["id"])

    def export_what_comes(self, silent: str, *options: str) -> list[str]:
        """Begins an import that does not end; the command of an export that waits for it."""
        reference = f"{silent}/team/app:v1"
        self.ok("import", reference, "--detach")
        return ["export", reference, f"oci:{self.folder}/out/never", "--wait-for-content", *options]


def plain(arguments: Sequence[str], environment: dict[str, str]) -> tuple[int, str, str]:
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image layout and a file."""
    folder = tmp_path_factory.mktemp("in")
    build_image(folder / "image", 40)
    real_file(folder / "model.bin", 5_000_000)
    return folder


@pytest.fixture
def silent() -> Iterator[str]:
    """Host and port of a registry that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[Node]:
    yield from _node(tmp_path_factory.mktemp("a"), images)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[Node]:
    yield from _node(tmp_path_factory.mktemp("b"), images)


def _node(folder: Path, images: Path) -> Iterator[Node]:
    (folder / "out").mkdir()
    with daemon(folder / "data", import_roots=[str(images)], export_roots=[str(folder / "out")]) as running:
        yield Node(running, folder)


def test_from_one_to_the_other_in_a_terminal(node: Node, other: Node, images: Path) -> None:
    """Import, look, fetch with the ticket, export, remove, all within 80 columns."""

    def shown(on: Node, *arguments: str) -> str:
        found = on.show(*arguments)
        assert found.exit_code == 0, found.text
        assert found.width <= 80, found.text
        return found.text

    assert "imported: " in shown(node, "import", f"oci:{images}/image:v1", "--as", REFERENCE)
    assert REFERENCE in shown(node, "packages")
    whole = node.show("packages", REFERENCE)
    ticket = next(line.split()[1] for line in whole.lines if line.startswith("ticket"))
    root = next(line.split()[1] for line in whole.lines if line.startswith("root"))

    shown(node, "peers", "connect", str(other.daemon.address.endpoint_id))
    assert "fetched: " in shown(other, "fetch", ticket, "--as", REFERENCE, "--expect", root)
    assert "connected" in shown(other, "status")
    assert root[:17] in shown(other, "packages")
    assert "complete" in shown(other, "blobs", "--package", REFERENCE)
    assert "complete" in shown(other, "blobs", root)
    assert "exported: " in shown(other, "export", REFERENCE, f"oci:{other.folder}/out/layout")
    index = json.loads((other.folder / "out" / "layout" / "index.json").read_text())
    assert [each["digest"] for each in index["manifests"]] == [root]
    assert "fetch" in shown(other, "transfers")
    assert str(other.daemon.address.endpoint_id) in shown(node, "peers")
    assert f"removed {REFERENCE}" in shown(other, "remove", REFERENCE)
    assert "no packages" in shown(other, "packages")
    shown(node, "peers", "disconnect", str(other.daemon.address.endpoint_id))


def test_a_bar_and_what_it_waits_for(node: Node, silent: str) -> None:
    """Ctrl-C stops the watching, not the transfer."""
    command = node.export_what_comes(silent)
    found = node.show(*command, type_when=("waiting for", CTRL_C))
    assert found.exit_code == 130
    assert found.width <= 80, found.raw
    assert "━" in found.text
    assert "\x1b[?25l" in found.raw
    assert found.raw.rindex("\x1b[?25h") > found.raw.rindex("\x1b[?25l"), "the cursor is back"
    assert re.search(r"\x1b\[[0-9;]*m", found.raw), "colours"
    assert "goes on in the daemon" in found.text
    id = re.findall(r"^peat-sidecar transfers cancel ([0-9a-f]{16})$", found.text, re.MULTILINE)[0]
    running = [
        each for each in node.json("transfers")["transfers"] if each["state"] == "TRANSFER_STATE_RUNNING"
    ]
    assert id in {each["id"] for each in running}

    assert f"cancelled {id}" in node.show("transfers", "cancel", id).text
    assert node.ok("transfers", "cancel", id) == f"cancelled {id}\n"
    code, _, errors = node.run("transfers", "watch", id)
    assert (code, "was cancelled" in errors) == (130, True)
    node.cancel_all()


def test_progress_without_a_terminal(node: Node, silent: str) -> None:
    """Nothing moves in standard output, and the bar is not drawn into a file."""
    id = node.ok(*node.export_what_comes(silent, "--detach")).strip()
    with subprocess.Popen(
        [*COMMAND, "transfers", "watch", id],
        env=os.environ | node.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        line = watching.stderr.readline()
        assert line.startswith(f"export {id}: 0 B, waiting for ")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
        assert f"peat-sidecar transfers cancel {id}" in watching.stderr.read()
        assert watching.stdout.read() == ""
    node.cancel_all()


def test_json_of_everything(node: Node, images: Path) -> None:
    """One document each, in the names of the API; transfers print an object a line."""
    code, text, errors = node.run("import", f"{images}/image", "--as", REFERENCE, "-o", "json")
    assert (code, errors) == (0, "")
    updates = [json.loads(line)["transfer"] for line in text.splitlines()]
    assert updates[-1]["state"] == "TRANSFER_STATE_DONE"
    package = updates[-1]["package"]
    assert {"reference", "root", "collection", "ticket", "mediaType"} <= set(package)

    assert node.json("status")["nodeId"] == str(node.daemon.address.endpoint_id)
    assert node.json("packages", REFERENCE)["packages"] == [package]
    assert node.json("packages")["packages"] == [package]
    blobs = node.json("blobs", "--package", package["root"])["blobs"]
    assert len(node.json("blobs", "--state", "complete", "--limit", "2")["blobs"]) == 2
    assert node.json("blobs", "--state", "partial") == {"blobs": []}
    assert node.json("blobs", blobs[0]["hash"]) == {"blob": blobs[0]}
    assert isinstance(node.json("transfers")["transfers"], list)
    connected = node.json("peers", "connect", ABSENT)
    assert node.json("peers")["peers"] == [connected["peer"]]
    assert node.json("peers", "disconnect", ABSENT) == {}
    assert node.json("peers") == {"peers": []}

    file = f"{node.folder}/out/first"
    began = node.json("export", "--blob", blobs[0]["hash"], file, "--detach")["transfer"]
    ended = [
        json.loads(line) for line in node.ok("transfers", "watch", began["id"], "-o", "json").splitlines()
    ]
    assert ended[-1]["transfer"]["blob"]["hash"] == blobs[0]["hash"]
    assert Path(file).stat().st_size == int(blobs[0]["size"])
    assert node.json("transfers", "cancel", began["id"])["transfer"]["state"] == "TRANSFER_STATE_DONE"
    assert int(node.json("remove", REFERENCE)["deletedBlobs"]) >= len(blobs)
    assert node.json("packages") == {"packages": []}


def test_a_file_in_and_out(node: Node, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With paths relative to where the user is, and a name of the blob to copy."""
    monkeypatch.chdir(images)
    text = node.ok("import", "model.bin", "--media-type", "application/x-model")
    digest = re.findall(r"sha256:[0-9a-f]{64}", text)[0]
    monkeypatch.chdir(node.folder / "out")
    node.ok("export", "--blob", digest, "model.bin")
    assert (node.folder / "out" / "model.bin").read_bytes() == (images / "model.bin").read_bytes()
    assert digest in node.ok("blobs", "--full")
    assert "application/x-model" in node.ok("blobs", "--media-type", "application/x-model")
    assert "removed" in node.ok("remove", "--blob", digest)
    assert node.run("blobs", digest)[0] == 3


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("export --blob {absent} {out}/x", 3, "in the store"),
        ("export example.com/none:v1 oci:{out}/x", 3, "not in the store"),
        ("packages example.com/none:v1", 3, "peat-sidecar packages"),
        ("remove example.com/none:v1", 3, ""),
        ("remove --blob {absent}", 3, ""),
        ("transfers watch none", 3, "no transfer"),
        ("transfers cancel none", 3, "no transfer"),
        ("fetch {absent} --from {absent}", 3, "ID@host:port"),
        ("peers disconnect {absent}", 3, ""),
        ("import {in}/none", 3, ""),
        ("import /etc/hostname", 4, "--import-root"),
        ("export --blob {absent} /etc/x --wait-for-content", 4, "--export-root"),
        ("import {in}/model.bin --expect sha256:{absent}", 6, "{absent}"),
        ("import oci:{in}/image:none", 3, "none"),
        ("import 127.0.0.1:1/app:v1", 8, "127.0.0.1:1"),
        ("fetch nonsense", 2, "ticket"),
        ("remove sha256:x", 2, "sha256"),
        ("fetch {absent} --from {absent}@127.0.0.1:1", 5, "127.0.0.1:1"),
        ("peers connect {absent}@127.0.0.1:1", 5, "127.0.0.1:1"),
        ("status --api tcp://127.0.0.1:1", 5, "peat-sidecar run"),
    ],
)
def test_exit_codes(line: str, code: int, says: str, node: Node, images: Path) -> None:
    places = {"absent": ABSENT, "out": f"{node.folder}/out", "in": str(images)}
    found, _, errors = node.run(*line.format(**places).split())
    assert found == code, errors
    assert says.format(**places) in errors
    *progress, last = errors.splitlines()
    assert last.startswith("peat-sidecar: ")
    assert not [line for line in progress if not re.match(r"(import|fetch|export) [0-9a-f]{16}: ", line)]


def test_over_tcp(node: Node, tmp_path: Path) -> None:
    """What changes something needs the token: of the data directory, of a file, or of a variable."""
    at = {"PEAT_SIDECAR_API": f"tcp://{node.daemon.tcp}", "PEAT_SIDECAR_DATA_DIR": str(tmp_path)}
    change = ["peers", "connect", ABSENT]
    assert plain(["status"], at)[0] == 0
    code, _, errors = plain(change, at)
    assert (code, "--token-file" in errors) == (4, True)
    assert plain(change, at | {"PEAT_SIDECAR_TOKEN": "wrong"})[0] == 4
    token_file = node.daemon.data_dir / "api.token"
    assert plain([*change, "--token-file", str(token_file)], at)[0] == 0
    assert plain(change, at | {"PEAT_SIDECAR_TOKEN_FILE": str(token_file)})[0] == 0
    assert plain(change, at | {"PEAT_SIDECAR_TOKEN": node.daemon.token})[0] == 0
    assert plain(change, at | node.environment)[0] == 0
    assert plain(["transfers", "watch", "x"], at)[0] == 3
    node.ok("peers", "disconnect", ABSENT)


def test_over_tls(tmp_path: Path) -> None:
    """With the authority that is named; without, a word on what is missing, and no token sent."""
    made = make_certificate(tmp_path)
    options = {"api": ["tcp://127.0.0.1:0"], "api_tls_cert": str(made.chain), "api_tls_key": str(made.key)}
    with daemon(tmp_path / "data", **options) as running:
        at = {"PEAT_SIDECAR_API": f"tcp://{running.tcp}", "PEAT_SIDECAR_DATA_DIR": str(running.data_dir)}
        assert plain(["peers", "connect", ABSENT, "--ca-file", str(made.ca)], at)[0] == 0
        assert plain(["transfers", "watch", "x", "--ca-file", str(made.ca)], at)[0] == 3
        another = tmp_path / "another"
        another.mkdir()
        for arguments in (["status"], ["status", "--ca-file", str(make_certificate(another).ca)]):
            code, _, errors = plain(arguments, at)
            assert (code, "--ca-file" in errors, len(errors.splitlines())) == (5, True, 1)


def test_the_daemon_goes_away(tmp_path: Path, silent: str) -> None:
    """A watcher is told, whether the daemon stops or is killed."""
    (tmp_path / "out").mkdir()
    for number, code in ((signal.SIGTERM, 130), (signal.SIGKILL, 5)):
        with daemon(tmp_path / "data", export_roots=[str(tmp_path / "out")]) as running:
            found = Node(running, tmp_path)
            id = found.ok(*found.export_what_comes(silent, "--detach")).strip()
            with subprocess.Popen(
                [*COMMAND, "transfers", "watch", id],
                env=os.environ | found.environment,
                stderr=subprocess.PIPE,
                text=True,
            ) as watching:
                assert watching.stderr is not None
                assert "waiting for" in watching.stderr.readline()
                running.stop(number)
                assert watching.wait(30) == code
                assert "kept" in watching.stderr.read()


def test_run(tmp_path: Path) -> None:
    """Options, variables and the file; a second one on the same data; an end without a trace."""
    (tmp_path / "config.toml").write_text('listen = "127.0.0.1:0"\nlog_level = "error"\n')
    data = str(tmp_path / "data")
    command = [*COMMAND, "run", "--config", str(tmp_path / "config.toml"), "--data-dir", data]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            assert running.stderr is not None
            assert running.stdout.readline().startswith("ready: ")
            code, _, errors = plain(command[3:], {})
            assert (code, "in use by" in errors, len(errors.splitlines())) == (2, True, 1)
            assert "ready" in plain(["status"], {"PEAT_SIDECAR_DATA_DIR": data})[1]
        finally:
            running.terminate()
        assert running.wait(30) == 0
        assert running.stderr.read() == ""


def test_outputs_that_are_closed_or_full(node: Node) -> None:
    """No traceback, whatever the shell did with them."""
    for redirect, codes in (
        ("status | true", {0}),
        ("status >&-", {0}),
        ("status >&- 2>&-", {0}),
        ("status >/dev/full", {1}),
        ("transfers watch x 2>&-", {3}),
    ):
        line = f"{sys.executable} -m peat_sidecar {redirect}"
        done = subprocess.run(
            ["sh", "-c", line],
            env=os.environ | node.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode in codes, (redirect, done.stderr)
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
