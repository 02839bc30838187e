"""What clients are told, how it is written beside what others wrote, and that undo leaves nothing."""

import json
import os
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from peat_sidecar.cli import main

Cli = Callable[..., tuple[int, str, str]]
ENDPOINT = "http://127.0.0.1:5001"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Runs `mirror-config ... --dir` with the test's folder: its exit code and what it printed."""

    def run_command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["mirror-config", *arguments, "--dir", str(tmp_path)])
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run_command


def files(folder: Path) -> dict[str, str]:
    """All of them, and empty folders."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else "/"
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


def test_it_only_shows_unless_it_is_told_to_write(cli: Cli, tmp_path: Path) -> None:
    for client in (("containerd",), ("podman", "--registry", "a.example"), ("docker",)):
        code, text, errors = cli(*client)
        assert (code, errors) == (0, "")
        assert "127.0.0.1:5000" in text
        assert f"mirror-config {client[0]} --dir {tmp_path} --undo" in text
    assert files(tmp_path) == {}


def test_containerd_has_a_file_for_each_registry_or_one_for_all(cli: Cli, tmp_path: Path) -> None:
    registries = ["--registry", "docker.io", "--registry", "registry.example:5000"]
    assert cli("containerd", *registries, "--endpoint", ENDPOINT, "--write")[0] == 0
    assert cli("containerd", "--write")[0] == 0
    assert set(files(tmp_path)) == {
        f"{name}/hosts.toml" for name in ("docker.io", "registry.example:5000", "_default")
    }
    document = tomllib.loads((tmp_path / "docker.io/hosts.toml").read_text())
    assert document["host"][ENDPOINT]["capabilities"] == ["pull", "resolve"]
    assert "server" not in document
    assert cli("containerd", "--registry", "docker.io", "--undo")[0] == 0
    assert "docker.io/hosts.toml" not in files(tmp_path)
    assert cli("containerd", "--undo")[0] == 0
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("client", "path"), [("containerd", "a.example/hosts.toml"), ("podman", "900-peat-sidecar.conf")]
)
def test_what_others_wrote_comes_back(cli: Cli, tmp_path: Path, client: str, path: str) -> None:
    theirs = tmp_path / path
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("# theirs\n")
    before = files(tmp_path)
    for _ in range(2):  # what is written again is not taken for theirs
        assert cli(client, "--registry", "a.example", "--write")[0] == 0
        assert "127.0.0.1:5000" in theirs.read_text()
    code, text, _ = cli(client, "--registry", "a.example", "--undo")
    assert (code, text) == (0, f"took back {theirs}\n")
    assert files(tmp_path) == before
    code, text, _ = cli(client, "--registry", "a.example", "--undo")
    assert (code, files(tmp_path)) == (0, before)
    assert "nothing of peat-sidecar" in text


def test_what_was_changed_by_hand_is_not_taken_away(cli: Cli, tmp_path: Path) -> None:
    cli("podman", "--registry", "a.example", "--write")
    path = tmp_path / "900-peat-sidecar.conf"
    with path.open("a") as file:
        file.write("# mine\n")
    before = path.read_text()
    for way in ("--undo", "--write"):
        code, _, errors = cli("podman", "--registry", "a.example", way)
        assert (code, path.read_text()) == (2, before)
        assert "changed since" in errors


def test_podman_asks_the_sidecar_by_path(cli: Cli, tmp_path: Path) -> None:
    registries = ["--registry", "docker.io", "--registry", "a.example"]
    cli("podman", *registries, "--endpoint", "https://127.0.0.1:5001", "--write")
    document = tomllib.loads((tmp_path / "900-peat-sidecar.conf").read_text())
    assert [each["prefix"] for each in document["registry"]] == ["docker.io", "a.example"]
    assert document["registry"][1]["mirror"] == [{"location": "127.0.0.1:5001/a.example"}]
    code, _, errors = cli("podman", "--write")
    assert code == 2
    assert "--registry docker.io" in errors


@pytest.mark.parametrize(
    "theirs",
    [None, '{"debug":   true}', '{"registry-mirrors": ["https://mirror.example/"], "debug": true}', "{}"],
)
def test_dockers_file_is_merged_and_comes_back_as_it_was(
    cli: Cli, tmp_path: Path, theirs: str | None
) -> None:
    path = tmp_path / "daemon.json"
    if theirs is not None:
        path.write_text(theirs)
    before = files(tmp_path)
    for _ in range(2):
        assert cli("docker", "--write")[0] == 0
    document, own = json.loads(path.read_text()), json.loads(theirs or "{}")
    mirrors = ["http://127.0.0.1:5000", *own.get("registry-mirrors", [])]
    assert document == own | {"registry-mirrors": mirrors}
    assert cli("docker", "--undo")[0] == 0
    assert files(tmp_path) == before


def test_what_was_added_to_dockers_file_meanwhile_stays(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"debug": true}')
    cli("docker", "--write")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ipv6": True}))
    assert cli("docker", "--undo")[0] == 0
    assert json.loads(path.read_text()) == {"debug": True, "ipv6": True}
    assert set(files(tmp_path)) == {"daemon.json"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["containerd", "--registry", "../etc"], "is no registry"),
        (["containerd", "--registry", "a.example/team"], "is no registry"),
        (["docker", "--registry", "a.example"], "127.0.0.1:5000/a.example/NAME"),
        (["docker", "--endpoint", "127.0.0.1:5000"], "one looks like http://127.0.0.1:5000"),
        (["docker", "--endpoint", "http://127.0.0.1:99999"], "one looks like http://127.0.0.1:5000"),
        (["docker", "--endpoint", "http://a/b"], "one looks like http://127.0.0.1:5000"),
        (["docker", "--write", "--undo"], "opposites"),
    ],
)
def test_what_cannot_be_is_said(cli: Cli, tmp_path: Path, arguments: list[str], told: str) -> None:
    code, _, errors = cli(*arguments)
    assert code == 2
    assert told in " ".join(errors.split())
    assert files(tmp_path) == {}


@pytest.mark.parametrize("theirs", ["{", "[]", '{"registry-mirrors": 7}'])
def test_a_file_of_docker_that_is_none_is_left(cli: Cli, tmp_path: Path, theirs: str) -> None:
    (tmp_path / "daemon.json").write_text(theirs)
    code, _, errors = cli("docker", "--write")
    assert (code, files(tmp_path)) == (2, {"daemon.json": theirs})
    assert "mend it first" in " ".join(errors.split())


@pytest.mark.parametrize(("client", "path"), [("podman", "900-peat-sidecar.conf"), ("docker", "daemon.json")])
def test_a_private_file_stays_private_and_a_link_a_link(
    cli: Cli, tmp_path: Path, client: str, path: str
) -> None:
    real, link = tmp_path / "real", tmp_path / path
    real.write_text("{}")
    real.chmod(0o600)
    os.chown(real, 1234, 1234)
    link.symlink_to(real.name)
    assert cli(client, "--registry", "docker.io", "--write")[0] == 0
    assert "127.0.0.1:5000" in real.read_text()
    places = (real, link.with_name(f"{path}.before-peat-sidecar"))
    assert [shown(each) for each in places] == [(0o600, 1234, 1234)] * 2
    assert cli(client, "--registry", "docker.io", "--undo")[0] == 0
    assert (real.read_text(), shown(real), link.is_symlink()) == ("{}", (0o600, 1234, 1234), True)


def shown(path: Path) -> tuple[int, int, int]:
    """Mode and owner."""
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
