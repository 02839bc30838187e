"""curl with JSON: on the unix socket, over TCP, over TLS; and what it is not given."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.rpc.bounds import BODY_LIMIT_BYTES
from tests.support.daemon import RunningDaemon, daemon
from tests.support.registry import make_certificate, require

SERVICE = "peat.sidecar.v1.PeatSidecar"
ID = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
JSON = ("-H", "content-type: application/json")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    require("curl", "curl")
    with daemon(tmp_path_factory.mktemp("daemon")) as found:
        yield found


def curl(*arguments: str, data: str | None = None) -> tuple[int, str]:
    """Status and body of the answer."""
    body = () if data is None else ("--data-binary", "@-")
    done = subprocess.run(
        ["curl", "-sS", "-m", "20", "-w", "\n%{http_code}", *body, *arguments],
        input=data,
        capture_output=True,
        text=True,
        check=True,
    )
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def unix(running: RunningDaemon, method: str, data: str = "{}", *arguments: str) -> tuple[int, Any]:
    url = f"http://localhost/{SERVICE}/{method}"
    status, text = curl("--unix-socket", str(running.socket), *JSON, *arguments, url, data=data)
    return status, json.loads(text)


def tcp(running: RunningDaemon, method: str, data: str = "{}", *arguments: str) -> tuple[int, Any]:
    status, text = curl(*JSON, *arguments, f"http://{running.tcp}/{SERVICE}/{method}", data=data)
    return status, json.loads(text)


def bearer(running: RunningDaemon) -> tuple[str, str]:
    return "-H", f"authorization: Bearer {running.token}"


def test_status_over_both(running: RunningDaemon) -> None:
    for call in (unix, tcp):
        status, answer = call(running, "GetStatus")
        assert (status, answer["phase"]) == (200, "NODE_PHASE_READY")
        assert answer["nodeId"] == str(running.address.endpoint_id)


def test_http2_without_an_upgrade(running: RunningDaemon) -> None:
    assert tcp(running, "GetStatus", "{}", "--http2-prior-knowledge")[0] == 200
    assert tcp(running, "DeleteBlob", "{}", "--http2-prior-knowledge")[0] == 401


def test_peers(running: RunningDaemon) -> None:
    asked = json.dumps({"endpointId": ID})
    named = {"endpointId": ID, "source": "named"}
    assert unix(running, "ConnectPeer", asked) == (200, {"peer": named})
    assert tcp(running, "ListPeers")[1] == {"peers": [named]}
    assert tcp(running, "DisconnectPeer", asked, *bearer(running)) == (200, {})
    status, answer = unix(running, "DisconnectPeer", asked)
    assert (status, answer["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "token", [(), ("-H", "authorization: Bearer wrong"), ("-H", "authorization: Basic eDp5")]
)
def test_changes_over_tcp_need_the_token(running: RunningDaemon, token: tuple[str, ...]) -> None:
    status, answer = tcp(running, "DisconnectPeer", json.dumps({"endpointId": ID}), *token)
    assert (status, answer["code"]) == (401, "unauthenticated")
    assert running.token not in answer["message"]


@pytest.mark.parametrize("method", ["GetStatus", "DeleteBlob"])
@pytest.mark.parametrize("header", ["host: evil.example", "origin: https://evil.example"])
def test_other_hosts_and_origins(running: RunningDaemon, method: str, header: str) -> None:
    status, answer = tcp(running, method, "{}", "-H", header, *bearer(running))
    assert (status, answer["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "[]",
        '"text"',
        '{"name": 5}',
        '{"nmae": "x"}',
        '{"name": "a", "name": {}}',
        "[" * 100_000,
        '{"name":' * 50_000,
        "\x00",
        '{"name": "\\ud800"}',
    ],
    ids=lambda data: data[:20].encode("unicode_escape").decode(),
)
def test_json_that_is_none_of_a_request(running: RunningDaemon, data: str) -> None:
    status, answer = unix(running, "DeleteBlob", data)
    assert (status, answer["code"]) == (400, "invalid_argument")
    assert "Traceback" not in answer["message"]


def test_grpc_web(running: RunningDaemon) -> None:
    """A frame with the answer, and one with the end of the call; errors before the service as headers."""
    url = f"http://{running.tcp}/{SERVICE}"
    web = ("-H", "content-type: application/grpc-web+proto", "--data-binary", "@-")
    empty = bytes(5)
    done = subprocess.run(
        ["curl", "-sS", "-m", "20", *web, f"{url}/GetStatus"], input=empty, capture_output=True, check=True
    )
    size = int.from_bytes(done.stdout[1:5])
    assert str(running.address.endpoint_id).encode() in done.stdout[5 : 5 + size]
    assert done.stdout[5 + size] == 0x80
    assert b"grpc-status: 0" in done.stdout[5 + size :].lower()
    done = subprocess.run(
        ["curl", "-sS", "-i", "-m", "20", *web, f"{url}/DeleteBlob"],
        input=empty,
        capture_output=True,
        check=True,
    )
    assert b"grpc-status: 16" in done.stdout.lower()


def test_connect_get(running: RunningDaemon) -> None:
    """Calls without effects are there for caches too."""
    url = f"http://{running.tcp}/{SERVICE}"
    status, text = curl(f"{url}/GetStatus?encoding=json&message=%7B%7D")
    assert (status, json.loads(text)["phase"]) == (200, "NODE_PHASE_READY")
    assert curl(f"{url}/DeleteBlob?encoding=json&message=%7B%7D")[0] == 401
    deep = "%5B" * 5000
    assert curl(f"{url}/GetStatus?encoding=json&message={deep}")[0] == 400


def test_a_body_that_is_too_large(running: RunningDaemon) -> None:
    for call in (unix, tcp):
        status, answer = call(running, "GetStatus", " " * BODY_LIMIT_BYTES + "{}")
        assert (status, answer["code"]) == (429, "resource_exhausted")
    chunked = ("-H", "transfer-encoding: chunked", "-H", "expect:")
    assert unix(running, "GetStatus", " " * (BODY_LIMIT_BYTES + 1), *chunked)[0] == 429


def test_a_small_body_that_unpacks_to_a_large_one(running: RunningDaemon, tmp_path: Path) -> None:
    import gzip

    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(b" " * (64 << 20)))
    url = f"http://localhost/{SERVICE}/GetStatus"
    packed = ("-H", "content-encoding: gzip", "--data-binary", f"@{bomb}")
    status, text = curl("--unix-socket", str(running.socket), *JSON, *packed, url)
    assert (status, json.loads(text)["code"]) == (429, "resource_exhausted")


def test_paths_and_methods_that_there_are_not(running: RunningDaemon) -> None:
    status, text = curl("--unix-socket", str(running.socket), "http://localhost/nothing")
    assert (status, json.loads(text)["code"]) == (404, "not_found")
    status, text = curl("--unix-socket", str(running.socket), f"http://localhost/{SERVICE}/None")
    assert status == 404
    assert "no such call" in text
    delete = ("-X", "DELETE", f"http://localhost/{SERVICE}/GetStatus")
    assert curl("--unix-socket", str(running.socket), *delete)[0] in (404, 405, 415)
    plain = ("-H", "content-type: text/plain", f"http://localhost/{SERVICE}/GetStatus")
    status, text = curl("--unix-socket", str(running.socket), *plain, data="{}")
    assert status == 415
    assert "application/json" in text


def test_health_readiness_and_metrics(running: RunningDaemon) -> None:
    base = f"http://{running.tcp}"
    assert curl(f"{base}/healthz") == (200, "ok\n")
    assert curl(f"{base}/readyz") == (200, "ready\n")
    tcp(running, "GetStatus")
    tcp(running, "DeleteBlob", json.dumps({"name": ID}), *bearer(running))
    status, text = curl(f"{base}/metrics")
    assert status == 200
    assert "peat_sidecar_ready 1.0" in text
    assert 'peat_sidecar_api_calls_total{code="ok",method="GetStatus"}' in text
    assert 'peat_sidecar_api_calls_total{code="not_found",method="DeleteBlob"}' in text
    free = next(line for line in text.splitlines() if line.startswith("peat_sidecar_store_free_bytes "))
    assert float(free.split()[1]) > 0
    assert curl("-H", "host: evil.example", f"{base}/metrics")[0] == 403


def test_metrics_of_the_mesh(running: RunningDaemon) -> None:
    def figures() -> dict[str, float]:
        text = curl(f"http://{running.tcp}/metrics")[1]
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name.removeprefix("peat_sidecar_"): float(value) for name, _, value in lines}

    before = figures()
    document = {"collection": "notes", "docId": "metrics", "jsonData": '{"a": 1}'}
    assert tcp(running, "PutDocument", json.dumps(document), *bearer(running))[0] == 200
    want = json.dumps({"name": "nobody.example/has/it:v1"})
    status, answer = tcp(running, "AddWant", want, *bearer(running))
    assert status == 200
    after = figures()
    cancel = json.dumps({"id": answer["want"]["id"]})
    assert tcp(running, "CancelWant", cancel, *bearer(running))[0] == 200
    for name in ("documents", "records", 'wants{state="waiting"}'):
        assert after[name] == before[name] + 1, name
    assert after["record_bytes"] > before["record_bytes"]
    for name in ("sync_sent_bytes_total", "sync_received_bytes_total", "sync_active", "sync_sessions"):
        assert after[name] == 0, name
    for name in ('handshakes_total{result="refused"}', 'record_faults_total{kind="forged"}', "bans"):
        assert after[name] == 0, name


def test_tls(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    options = {
        "api": ["tcp://0.0.0.0:0"],
        "api_tls_cert": str(certificate.chain),
        "api_tls_key": str(certificate.key),
        "api_hosts": ["sidecar.example"],
    }
    with daemon(tmp_path / "data", **options) as running:
        port = running.tcp.rpartition(":")[2]
        call = ("--cacert", str(certificate.ca), *JSON)
        url = f"https://localhost:{port}/{SERVICE}/GetStatus"
        assert curl(*call, url, data="{}")[0] == 200
        assert curl(*call, "-H", "host: sidecar.example", url, data="{}")[0] == 200
        assert curl(*call, "-H", "host: evil.example", url, data="{}")[0] == 403
        with pytest.raises(subprocess.CalledProcessError):
            curl(*JSON, f"http://localhost:{port}/{SERVICE}/GetStatus", data="{}")
        assert "Traceback" not in running.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with daemon(tmp_path / "data") as running:
        assert unix(running, "GetStatus")[0] == 200
        assert running.stop(number) == 0
        assert not running.socket.exists()
        assert running.token not in running.log.read_text()


def test_a_second_daemon_is_refused_and_the_socket_of_a_dead_one_replaced(tmp_path: Path) -> None:
    with daemon(tmp_path / "data") as first:
        with (
            pytest.raises(AssertionError, match=f"in use by the process {first.process.pid}"),
            daemon(tmp_path / "data"),
        ):
            pass
        assert unix(first, "GetStatus")[0] == 200
        other = tmp_path / "other"
        with (
            pytest.raises(AssertionError, match="a daemon that runs answers there"),
            daemon(other, api=[f"unix:{first.socket}"]),
        ):
            pass
        assert unix(first, "GetStatus")[0] == 200
        first.process.kill()
        first.process.wait()
        assert first.socket.exists()
    with daemon(tmp_path / "data") as second:
        assert unix(second, "GetStatus")[1]["nodeId"] == str(first.address.endpoint_id)


def test_faults_of_the_daemon_say_nothing_of_its_inside(running: RunningDaemon) -> None:
    assert "Traceback" not in running.log.read_text()
    assert sys.executable not in running.log.read_text()
