"""Commands about the mesh against a real daemon, in a terminal of 80 columns and for programs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.daemon import RunningDaemon, daemon
from tests.support.images import build_image
from tests.support.terminal import CTRL_C, Shown, run_in_terminal

REFERENCE = "registry.example:5000/a/team/with/a/long/name/app:v1"
STRANGER = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
KEY = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    folder = tmp_path_factory.mktemp("mesh")
    build_image(folder / "image", 5)
    options = {"formation_keys": [KEY], "app_id": "fleet", "agent_id": "ship-7", "discover_mdns": False}
    with daemon(folder / "data", import_roots=[str(folder)], **options) as found:
        yield found


def show(
    running: RunningDaemon, *arguments: str, code: int = 0, type_when: tuple[str, bytes] | None = None
) -> Shown:
    found = run_in_terminal(
        [sys.executable, "-m", "peat_sidecar", *arguments],
        environment={"PEAT_SIDECAR_DATA_DIR": str(running.data_dir)},
        type_when=type_when,
    )
    assert found.exit_code == code, found.text
    return found


def test_documents(running: RunningDaemon) -> None:
    show(running, "documents", "put", "notes", "one", '{"five":5}')
    assert show(running, "documents", "list", "notes").text.split() == ["one"]
    assert json.loads(show(running, "documents", "get", "notes", "one").text) == {"five": 5}
    watched = show(running, "documents", "watch", "notes", code=130, type_when=("five", CTRL_C))
    assert 'notes/one  {"five":5}' in watched.text
    show(running, "documents", "delete", "notes", "one")
    show(running, "documents", "get", "notes", "one", code=3)
    show(running, "documents", "put", "notes", "one", "[", code=2)


def test_packages_wants_and_quotes(running: RunningDaemon, tmp_path: Path) -> None:
    show(running, "import", f"oci:{running.data_dir.parent}/image:v1", "--as", REFERENCE)
    for _ in range(100):
        listed = json.loads(show(running, "packages", "--mesh", "-o", "json").text)["packages"]
        if listed:
            break
    (package,) = listed
    assert (package["reference"], package["agentId"]) == (REFERENCE, "ship-7")
    assert (package["state"], package["here"]) == ("complete", "BLOB_STATE_COMPLETE")
    table = show(running, "packages", "--mesh")
    assert table.width <= 80
    assert "ship-7" in table.text
    assert "0 B missing of" in show(running, "quote", REFERENCE).text
    show(running, "quote", "registry.example/none:v1", code=3)
    added = show(running, "wants", "add", "registry.example/none:v1", "--class", "bulk")
    id = added.text.splitlines()[0].split()[-1]
    assert show(running, "wants").width <= 80
    timed = show(running, "wants", "add", "registry.example/timed:v1", "--deadline", "90m")
    assert "unless it is here" in timed.text
    show(running, "wants", "add", "registry.example/timed:v2", "--deadline", "soon", code=2)
    show(running, "wants", "class", id, "critical")
    assert "critical" in show(running, "wants").text
    show(running, "wants", "cancel", id)
    show(running, "wants", "cancel", id, code=3)


def test_status_sync_bans_and_roster(running: RunningDaemon) -> None:
    for arguments in (
        ["status"],
        ["sync"],
        ["sync", "stop"],
        ["sync", "start"],
        ["peers", "ban", STRANGER, "--reason", "lost at sea, with a key that others may have by now"],
        ["peers", "bans"],
        ["peers"],
        ["peers", "unban", STRANGER],
        ["roster"],
    ):
        found = show(running, *arguments)
        assert found.text
        assert found.width <= 80, found.text
    show(running, "peers", "unban", STRANGER, code=3)
    status = json.loads(show(running, "status", "-o", "json").text)
    assert (status["agentId"], status["formation"]["appId"]) == ("ship-7", "fleet")
