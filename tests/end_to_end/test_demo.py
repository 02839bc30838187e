"""The demo as `make demo` runs it, with a small image: with registries, without, and stopped in between."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_WIDTH = 80
_SECONDS = 120


def start(folder: Path, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "demo", "--size", "20"],
        env={**os.environ, "TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_behind(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith("peat-")]


@pytest.mark.parametrize("registries", [True, False])
def test_it_runs_and_compares(tmp_path: Path, registries: bool) -> None:
    path = {} if registries else {"PATH": str(tmp_path)}
    with start(tmp_path, **path) as demo:
        told, _ = demo.communicate(timeout=_SECONDS)
    assert demo.returncode == 0, told
    assert ("skopeo pushed it" in told) == registries
    assert "It is started again" in told or "through before it could be killed" in told
    assert "It arrived on ship by itself" in told
    assert "It arrived on field by itself" in told
    assert ("its policy wrote it to the registry" in told) == registries
    assert ("skopeo pulled 127.0.0.1:" in told) == registries
    assert "The same image at all ends, byte for byte." in told
    assert max(map(len, told.splitlines())) <= _WIDTH
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "step",
    ["An image", "Two registries", "Two sidecars", "The first imports", "killed", "A formation", "on ship"],
)
def test_it_cleans_up_when_it_is_stopped(tmp_path: Path, step: str, number: signal.Signals) -> None:
    with start(tmp_path, PYTHONUNBUFFERED="1") as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if step in line:
                break
        demo.send_signal(number)
        told, _ = demo.communicate(timeout=_SECONDS)
    assert demo.returncode == 130, told
    assert "Stopped" in told
    assert left_behind(tmp_path) == []
    assert processes_that_name(tmp_path) == []


def processes_that_name(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if str(folder) in command:
            found.append(command)
    return found
