"""The daemon in this process: what it starts as, what it refuses to start as, what it leaves behind."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from peat_sidecar.app import run
from peat_sidecar.app.logs import configure_logs
from peat_sidecar.app.mesh import formation_of
from peat_sidecar.config import Settings, load_settings
from peat_sidecar.errors import ConfigError, StoreFailed
from peat_sidecar.mesh import Whereabouts

SECONDS = 20
ID = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def settings(tmp_path: Path, **options: Any) -> Settings:
    usual = {
        "data_dir": str(tmp_path / "data"),
        "listen": ["127.0.0.1:0"],
        "api": [f"unix:{tmp_path}/api.sock", "tcp://127.0.0.1:0"],
    }
    return load_settings(usual | options)


def open_files() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            continue
    return found


async def test_it_starts_stops_and_starts_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        stop = asyncio.Event()
        await asyncio.wait_for(run(settings(tmp_path), stop.set, stop=stop), SECONDS)
        line = capsys.readouterr().out
        assert line.startswith("ready: ")
        assert line.count("\n") == 1
        assert f"api: unix:{tmp_path}/api.sock tcp://127.0.0.1:" in line
        assert not (tmp_path / "api.sock").exists()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_it_stops_when_its_task_is_cancelled(tmp_path: Path) -> None:
    ready = asyncio.Event()
    task = asyncio.create_task(run(settings(tmp_path), ready.set))
    await asyncio.wait_for(ready.wait(), SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, SECONDS)
    assert not (tmp_path / "api.sock").exists()


async def test_a_peer_that_is_not_there_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    stop = asyncio.Event()
    named = settings(tmp_path, peers=[f"{ID}@127.0.0.1:9"])
    await asyncio.wait_for(run(named, stop.set, stop=stop), SECONDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"peers": ["nonsense"]}, "peers .*no endpoint id"),
        ({"peers": [f"{ID}@nowhere"]}, "peers .*no peer address"),
        ({"allow": ["nonsense"]}, "allow .*no endpoint id"),
        ({"listen": ["127.0.0.1:0", "127.0.0.2:0"]}, "one IPv4 address only"),
        ({"listen": ["192.0.2.1:1"]}, "cannot listen on 192.0.2.1:1"),
        ({"api": ["unix:/no/such/folder/api.sock"]}, "cannot be served on /no/such/folder"),
        (
            {"api": ["tcp://192.0.2.1:1"], "api_tls_cert": "/none", "api_tls_key": "/none"},
            "api_tls_cert /none",
        ),
        ({"agent_id": ID}, "agent_id .*is a node's id.*choose a name"),
    ],
)
async def test_what_it_does_not_start_as(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        await asyncio.wait_for(run(settings(tmp_path, **options)), SECONDS)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    stop = asyncio.Event()
    await asyncio.wait_for(run(settings(tmp_path), stop.set, stop=stop), SECONDS)


async def test_a_start_that_fails_leaves_no_file_open(tmp_path: Path) -> None:
    stop = asyncio.Event()
    await asyncio.wait_for(run(settings(tmp_path), stop.set, stop=stop), SECONDS)
    before = open_files()
    for api in (f"unix:{tmp_path}/none/api.sock", "tcp://192.0.2.1:1"):
        with pytest.raises(ConfigError):
            await run(settings(tmp_path, api=[f"unix:{tmp_path}/api.sock", "tcp://127.0.0.1:0", api]))
    left = {each for each in open_files() - before if "socket" in each or str(tmp_path) in each}
    assert not left
    assert not (tmp_path / "api.sock").exists()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_logs_show_no_values_of_variables(
    tmp_path: Path, log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(settings(tmp_path, log_format=log_format))
    secret = "-".join(["very", "secret"])
    try:
        raise RuntimeError("a fault")
    except RuntimeError:
        structlog.get_logger("one").exception("it failed", peer="x")
        logging.getLogger("two").exception("it failed %s", "too")
    written = capsys.readouterr().err
    assert secret not in written
    assert written.count("a fault") >= 2
    if log_format == "json":
        first, second = map(json.loads, written.splitlines())
        assert (first["event"], first["peer"], first["level"]) == ("it failed", "x", "error")
        assert (second["event"], second["logger"]) == ("it failed too", "two")


async def test_a_formation_key_that_everybody_can_read_is_told_of(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("ab" * 32)
    for mode, warned in ((0o644, True), (0o640, False)):
        key.chmod(mode)
        with structlog.testing.capture_logs() as logs:
            formation_of(settings(tmp_path, formation_key_files=[str(key)]))
        assert [each["file"] for each in logs] == [str(key)] * warned


async def test_whatever_of_the_mesh_fails_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, failed = asyncio.Event(), asyncio.Event()

    async def fail(_: Whereabouts) -> None:
        failed.set()
        raise StoreFailed("the disk is slow")

    monkeypatch.setattr(Whereabouts, "run", fail)
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings(tmp_path), ready.set, stop=stop))
    await asyncio.wait_for(asyncio.gather(ready.wait(), failed.wait()), SECONDS)
    await asyncio.sleep(0.1)
    assert not task.done()
    stop.set()
    await asyncio.wait_for(task, SECONDS)
