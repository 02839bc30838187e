"""Transfers as users see them: two real daemons, and a limit that keeps a fetch going for a while."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import RunningDaemon, daemon
from tests.support.real_files import real_bytes
from tests.support.terminal import CTRL_C, run_in_terminal

COMMAND = (sys.executable, "-m", "peat_sidecar")
SIZE = 8_000_000
MISSING = "registry.example/team/missing:v1"


class Pair:
    """A getter that is at a blob of its provider, slowly."""

    def __init__(self, getter: RunningDaemon, provider: RunningDaemon, blob: str, transfer: str) -> None:
        self.getter = getter
        self.provider = provider
        self.blob = blob
        self.transfer = transfer

    @property
    def source(self) -> str:
        return str(self.provider.address.endpoint_id)


def command(at: RunningDaemon, *arguments: str) -> list[str]:
    return [*COMMAND, *arguments, "--data-dir", str(at.data_dir)]


def ask(at: RunningDaemon, *arguments: str) -> Any:
    done = subprocess.run(command(at, *arguments, "-o", "json"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1] if arguments[0] == "import" else done.stdout)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder: Path = tmp_path_factory.mktemp("watch")
    (folder / "model.gguf").write_bytes(real_bytes(SIZE))
    with (
        daemon(folder / "one", import_roots=[str(folder)]) as provider,
        daemon(folder / "two", limit_down="256 kbit/s") as getter,
    ):
        blob = ask(provider, "import", str(folder / "model.gguf"))["transfer"]["blob"]["hash"]
        ask(provider, "peers", "connect", str(getter.address))
        source = str(provider.address)
        begun = ask(getter, "fetch", blob, "--from", source, "--blob", "--class", "bulk", "--detach")
        ask(getter, "wants", "add", MISSING)
        yield Pair(getter, provider, blob, begun["transfer"]["id"])


def snapshots(pair: Pair) -> Iterator[Any]:
    """Without end; each as it comes."""
    with subprocess.Popen(
        command(pair.getter, "watch", "-o", "json"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield json.loads(line)
        finally:
            process.kill()


def moving(pair: Pair) -> Any:
    """The transfer, as soon as something has come."""
    for snapshot in snapshots(pair):
        for transfer in snapshot.get("transfers", []):
            if transfer.get("sources", [{}])[0].get("doneBytes"):
                return transfer, snapshot
    raise AssertionError("the daemon has stopped")


def test_the_stream_says_who_brings_it_and_what_waits(pair: Pair) -> None:
    transfer, snapshot = moving(pair)
    assert transfer["id"] == pair.transfer
    assert transfer["transferClass"] == "TRANSFER_CLASS_BULK"
    (source,) = transfer["sources"]
    assert (source["endpointId"], source["share"]) == (pair.source, 1)
    assert 0 < int(source["doneBytes"]) < SIZE
    assert transfer["events"][0]["kind"] == "source joined"
    (want,) = snapshot["wants"]
    assert want["name"] == MISSING
    assert "not known" in want["why"]


def test_the_status_of_a_blob_says_the_same(pair: Pair) -> None:
    moving(pair)
    blob = ask(pair.getter, "blobs", pair.blob)["blob"]
    assert blob["state"] == "BLOB_STATE_PARTIAL"
    assert blob["transferId"] == pair.transfer
    assert blob["presentRanges"] >= 1
    assert [each["endpointId"] for each in blob["sources"]] == [pair.source]


def test_metrics_have_the_bytes_by_class(pair: Pair) -> None:
    moving(pair)
    with urllib.request.urlopen(f"http://{pair.getter.tcp}/metrics", timeout=30) as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines())
    assert float(lines['peat_sidecar_fetched_wire_bytes_total{class="bulk"}']) > 0
    assert float(lines['peat_sidecar_fetched_wire_bytes_total{class="high"}']) == 0


def test_a_live_table_within_80_columns(pair: Pair) -> None:
    moving(pair)
    shown = run_in_terminal(command(pair.getter, "watch"), type_when=(r"WHAT(.|\s)*missing:v1", CTRL_C))
    assert shown.exit_code == 130
    assert shown.width <= 80
    assert f"from {pair.source[:10]} 100%" in shown.text
    assert "Traceback" not in shown.text


def test_the_daemon_stops_although_it_is_watched(pair: Pair) -> None:
    process = subprocess.Popen(
        command(pair.getter, "watch"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert pair.transfer in process.stdout.readline()
    assert pair.getter.stop() == 0
    _, errors = process.communicate(timeout=30)
    assert "stop" in errors
    assert process.returncode == 5
