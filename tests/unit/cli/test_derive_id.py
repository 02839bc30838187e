"""The id of a derived identity is what the node itself would have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from peat_sidecar.cli.derive_id import derive_id
from peat_sidecar.errors import ConfigError
from peat_sidecar.mesh import Formation
from peat_sidecar.net import endpoint_id

KEY = bytes(range(32))


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(derive_id)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_it_prints_the_id_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.hex() + "\n")
    printed = run("--formation-key-file", str(tmp_path / "key"), "peat-mesh-0")
    assert printed == f"{endpoint_id(Formation('any', [KEY]).derive_secret('peat-mesh-0'))}\n"


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        run("--formation-key-file", str(tmp_path / "none"), "x")
    (tmp_path / "key").write_text(KEY.hex())
    with pytest.raises(ConfigError, match="node_id"):
        run("--formation-key-file", str(tmp_path / "key"), "")


def test_help_does_not_load_the_mesh() -> None:
    code = "import sys, peat_sidecar.cli.derive_id; print('peat_sidecar.mesh' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ, timeout=30
    )
    assert answer.stdout == "False\n"
