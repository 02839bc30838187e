"""The registry endpoint of a real daemon that is killed, or whose disk is full, in the middle of a push."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from tests.support.daemon import RunningDaemon, daemon
from tests.support.images import ImageLayout, machine_files
from tests.support.real_files import real_bytes
from tests.support.registry import free_port, skopeo_pull, skopeo_push
from tests.support.registry_client import RegistryClient, code_of, digest_of, encoded, registry_http

TOKEN = "t" * 32
DATA = real_bytes(12_000_000)
DIGEST = digest_of(DATA)
SMALL_BYTES = 24 << 20


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


def push_options(token: Path, port: int = 0) -> dict[str, object]:
    return {"registry": [f"127.0.0.1:{port}"], "registry_token_file": str(token)}


def client_of(running: RunningDaemon) -> AbstractContextManager[httpx.Client]:
    return registry_http(running.registry, headers={"Authorization": f"Bearer {TOKEN}"})


def test_a_push_goes_on_after_kill_9_in_the_middle_of_its_body(tmp_path: Path, token: Path) -> None:
    """What was acknowledged is there, and what the daemon says of the rest is where the client goes on."""
    sent = 5_000_000
    with daemon(tmp_path / "data", **push_options(token)) as running, client_of(running) as http:
        client = RegistryClient(http, "app")
        at = client.follow("PATCH", client.begin(), content=DATA[:sent])
        where = http.base_url.join(at.headers["Location"]).path

        def killed_under_way() -> Iterator[bytes]:
            yield DATA[sent : sent + 3_000_000]
            running.stop(signal.SIGKILL)
            for start in range(sent + 3_000_000, len(DATA), 1_000_000):
                yield DATA[start : start + 1_000_000]

        with pytest.raises(httpx.TransportError):
            client.follow("PATCH", at, content=killed_under_way())
    with daemon(tmp_path / "data", **push_options(token)) as running, client_of(running) as http:
        client = RegistryClient(http, "app")
        answer = http.get(where)
        assert answer.status_code == 204
        offset = int(answer.headers["Range"].removeprefix("0-")) + 1
        assert sent <= offset <= sent + 3_000_000
        stated = {"Content-Range": f"{offset}-{len(DATA) - 1}"}
        at = client.follow("PATCH", answer, content=DATA[offset:], headers=stated)
        assert client.follow("PUT", at, params={"digest": DIGEST}).status_code == 201
        assert client.ask("GET", f"blobs/{DIGEST}").content == DATA


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Where a small file system is mounted."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def fill(place: Path, leave_bytes: int) -> Path:
    """Takes the room on a file system but for so much."""
    status = os.statvfs(place)
    path = place / "filler"
    path.write_bytes(b"\1" * max(0, status.f_bavail * status.f_frsize - leave_bytes))
    return path


def test_a_disk_that_fills_up_under_a_push(tmp_path: Path, token: Path, small: Path) -> None:
    with daemon(small / "data", **push_options(token, free_port())) as running, client_of(running) as http:
        client = RegistryClient(http, "app")
        at = client.follow("PATCH", client.begin(), content=DATA[:2_000_000])
        filler = fill(small, 3_000_000)
        rest = client.follow("PATCH", at, content=iter([DATA[2_000_000:6_000_000], DATA[6_000_000:]]))
        assert (rest.status_code, code_of(rest)) == (507, "UNKNOWN")
        assert "free some space" in rest.text
        said = {"Content-Length": str(len(DATA))}
        assert client.follow("PATCH", client.begin(), content=DATA, headers=said).status_code == 507
        assert client.ask("GET", "tags/list").status_code == 404, "it goes on"
        filler.unlink()
        where = client.follow("GET", at)
        offset = int(where.headers["Range"].removeprefix("0-")) + 1
        assert 2_000_000 <= offset < 6_000_000
        stated = {"Content-Range": f"{offset}-{len(DATA) - 1}"}
        at = client.follow("PATCH", where, content=DATA[offset:], headers=stated)
        assert at.status_code == 202, at.text
        assert client.follow("PUT", at, params={"digest": DIGEST}).status_code == 201
        assert client.ask("GET", f"blobs/{DIGEST}").content == DATA


def test_a_disk_without_room_for_a_manifest(tmp_path: Path, token: Path, small: Path) -> None:
    with daemon(small / "data", **push_options(token)) as running, client_of(running) as http:
        client = RegistryClient(http, "app")
        document = client.image()
        filler = fill(small, 0)
        raw = encoded(document)
        assert client.put_manifest(raw, "v1").status_code == 507
        assert client.get("v1").status_code == 404
        filler.unlink()
        assert client.put_manifest(raw, "v1").status_code == 201
        assert client.get("v1").content == raw


@pytest.mark.parametrize("way", ["one request", "last bytes", "nothing left to send", "another tag"])
def test_a_disk_without_room_at_the_end_of_a_push(tmp_path: Path, token: Path, small: Path, way: str) -> None:
    """The same request goes through when there is room again."""
    data = DATA[:6_000_000]
    digest = digest_of(data)
    with daemon(small / "data", **push_options(token)) as running, client_of(running) as http:
        client = RegistryClient(http, "app")
        document = client.image()
        client.push_manifest(document, "v1")
        begun = client.begin()

        def ask() -> httpx.Response:
            if way == "one request":
                return client.ask("POST", "blobs/uploads/", params={"digest": digest}, content=data)
            if way == "another tag":
                return client.put_manifest(encoded(document), "v2")
            offset = int(client.follow("GET", begun).headers["Range"].removeprefix("0-")) + 1
            rest = data[offset:] if offset > 1 else data
            return client.follow("PUT", begun, params={"digest": digest}, content=rest)

        if way == "last bytes":
            client.follow("PATCH", begun, content=data[:2_000_000])
        if way == "nothing left to send":
            client.follow("PATCH", begun, content=data)
        filler = fill(small, 0)
        refused = ask()
        assert (refused.status_code, code_of(refused)) == (507, "UNKNOWN")
        assert client.get("v1").status_code == 200, "it goes on"
        filler.unlink()
        assert ask().status_code == 201
        if way != "another tag":
            assert client.ask("GET", f"blobs/{digest}").content == data
        else:
            assert client.get("v2").content == encoded(document)


def received_bytes(running: RunningDaemon) -> int:
    """By its metrics."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(running.socket))) as http:
        text = http.get("http://localhost/metrics").text
    return int(float(text.partition("\npeat_sidecar_registry_received_bytes_total ")[2].split()[0]))


def test_skopeo_goes_on_after_kill_9(tmp_path: Path, token: Path) -> None:
    """What was whole before the kill is not sent again."""
    layout = ImageLayout(tmp_path / "image")
    layers = [layout.layer(3_000_000, machine_files(number * 40)) for number in range(6)]
    layout.tag(layout.image(layers), "v1")
    total = sum(layer["size"] for layer in layers)
    port, credentials = free_port(), ("--dest-creds", f"token:{TOKEN}")
    place = f"127.0.0.1:{port}/app:v1"
    with daemon(tmp_path / "data", **push_options(token, port)) as running, client_of(running) as http:
        client = RegistryClient(http, "app")
        for layer in layers[:3]:
            data = layout.path(layer["digest"]).read_bytes()
            assert client.push_blob(data) == layer["digest"]
        at = client.begin()
        client.follow("PATCH", at, content=layout.path(layers[3]["digest"]).read_bytes()[:1_000_000])
        running.stop(signal.SIGKILL)
    with daemon(tmp_path / "data", **push_options(token, port)) as running:
        skopeo_push(layout.directory, "v1", place, *credentials)
        assert received_bytes(running) < total - sum(layer["size"] for layer in layers[:3]) + 100_000
        skopeo_pull(place, tmp_path / "pulled", "v1")
