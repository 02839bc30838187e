"""The daemon as orchestrators run it: not as root, nothing to write to but its data directory; healthy and
ready in their sense; and at SIGTERM it ends in time with status 0, whatever goes on.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.confined_process import confined
from tests.support.daemon import RunningDaemon, daemon
from tests.support.images import build_image
from tests.support.odd_registry import OddRegistry, Reply, Request
from tests.support.real_files import real_bytes

NOBODY = 65534
STOP_SECONDS = 10
WAIT_SECONDS = 30
SERVICE = "/peat.sidecar.v1.PeatSidecar/"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everyone may enter, as those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="peat-confined-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def confined_daemon(place: Path, **options: Any) -> Iterator[RunningDaemon]:
    data_dir = place / "data"
    data_dir.mkdir()
    try:
        prefix = confined(data_dir, NOBODY)
    except PermissionError:
        pytest.fail("nobody but root can confine a process; run this as root")
    with daemon(data_dir, prefix=prefix, formation_keys=["5a" * 32], **options) as running:
        yield running


def client(running: RunningDaemon) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(uds=str(running.socket))
    return httpx.AsyncClient(transport=transport, base_url="http://sidecar", timeout=WAIT_SECONDS)


async def call(api: httpx.AsyncClient, method: str, **fields: Any) -> dict[str, Any]:
    response = await api.post(SERVICE + method, json=fields)
    answer: dict[str, Any] = response.json()
    assert response.status_code == 200, answer
    return answer


async def watch(api: httpx.AsyncClient, transfer: str) -> AsyncIterator[dict[str, Any]]:
    """The states of a transfer, until the daemon ends the stream or itself."""
    body = json.dumps({"id": transfer}).encode()
    headers = {"Content-Type": "application/connect+json"}
    content = struct.pack(">BI", 0, len(body)) + body
    buffer = b""
    with contextlib.suppress(httpx.TransportError):
        async with api.stream("POST", SERVICE + "WatchTransfer", content=content, headers=headers) as answer:
            async for data in answer.aiter_raw():
                buffer += data
                while len(buffer) >= 5 and len(buffer) >= 5 + (length := int.from_bytes(buffer[1:5], "big")):
                    message, buffer = buffer[5 : 5 + length], buffer[5 + length :]
                    if state := json.loads(message).get("transfer"):
                        yield state


async def until(api: httpx.AsyncClient, transfer: str, done_bytes: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        async for state in watch(api, transfer):
            assert state["state"] == "TRANSFER_STATE_RUNNING", state
            if int(state.get("doneBytes", 0)) >= done_bytes:
                return
    raise AssertionError("it never came so far")


def process_status(running: RunningDaemon) -> dict[str, str]:
    lines = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def writable_mounts(running: RunningDaemon) -> set[str]:
    rows = map(str.split, Path(f"/proc/{running.process.pid}/mounts").read_text().splitlines())
    writable = {row[1] for row in rows if "ro" not in row[3].split(",")}
    return {each for each in writable if not each.startswith(("/proc", "/sys", "/dev"))}


async def test_healthy_ready_and_gone_in_time(place: Path) -> None:
    with confined_daemon(place) as running:
        status = process_status(running)
        assert status["Uid"].split() == [str(NOBODY)] * 4
        assert int(status["CapEff"], 16) == 0
        assert writable_mounts(running) == {str(running.data_dir)}
        async with client(running) as api, httpx.AsyncClient(base_url=f"http://{running.tcp}") as tcp:
            for where in (api, tcp):
                health = await where.get("/healthz")
                assert (health.status_code, health.text) == (200, "ok\n")
                ready = await where.get("/readyz")
                assert (ready.status_code, ready.text) == (200, "ready\n")
            assert (await call(api, "GetStatus"))["phase"] == "NODE_PHASE_READY"
        started = time.monotonic()
        assert await asyncio.to_thread(running.stop) == 0
        assert time.monotonic() - started < STOP_SECONDS
        assert not running.socket.exists()
        assert {path.stat().st_uid for path in running.data_dir.rglob("*")} <= {NOBODY, os.getuid()}
        assert '"level": "error"' not in running.log.read_text()


async def test_it_ends_in_time_amid_a_fetch_an_import_and_clients_that_stream(place: Path) -> None:
    """The fetch's peer and the import's registry have fallen silent; one client reads what it watches, one
    does not, one has sent half a request.
    """
    (place / "files").mkdir()
    root = build_image(place / "files/image", 150, layers=2, gzip_level=0)
    with daemon(place / "provider", import_roots=[str(place / "files")]) as provider:
        async with OddRegistry() as registry, client(provider) as far:
            silent_after(registry, 200_000)
            with confined_daemon(place, plain_http=[registry.address]) as running:
                async with client(running) as api:
                    imported = await call(
                        far, "ImportBlob", layout=str(place / "files/image"), link=True, wait=True
                    )
                    assert imported["transfer"]["package"]["root"] == root
                    await call(far, "ConnectPeer", endpointId=str(running.address.endpoint_id))
                    ticket = imported["transfer"]["package"]["ticket"]
                    fetch = (await call(api, "FetchBlob", ticket=ticket))["transfer"]["id"]
                    try:
                        await until(api, fetch, 1)
                        provider.process.send_signal(signal.SIGSTOP)
                        reference = f"{registry.address}/team/app:v1"
                        importing = (await call(api, "ImportBlob", reference=reference))["transfer"]["id"]
                        await until(api, importing, 1)
                        await stops_amid(running, api, [fetch, importing])
                    finally:
                        provider.process.send_signal(signal.SIGCONT)
                assert "Traceback" not in running.log.read_text()


def silent_after(registry: OddRegistry, length_bytes: int) -> None:
    """A package whose layer's bytes cease."""
    layer, config = real_bytes(2_000_000), b"{}"
    digest = registry.add_blob(layer)
    registry.add_manifest(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": registry.add_blob(config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": digest,
                    "size": len(layer),
                }
            ],
        },
        tag="v1",
    )

    def stall(request: Request) -> Reply | None:
        if request.method == "GET" and digest in request.path:
            return Reply(body=layer, stall_after=length_bytes)
        return None

    registry.rules.append(stall)


async def stops_amid(running: RunningDaemon, api: httpx.AsyncClient, transfers: list[str]) -> None:
    seen: dict[str, list[str]] = {transfer: [] for transfer in transfers}

    async def read(transfer: str) -> None:
        async for state in watch(api, transfer):
            seen[transfer].append(state["state"])

    readers = [asyncio.create_task(read(transfer)) for transfer in transfers]
    with idle_client(running, transfers[0]), half_a_request(running):
        async with asyncio.timeout(WAIT_SECONDS):
            while not all(seen.values()):  # noqa: ASYNC110 - a stream raises no events
                await asyncio.sleep(0.01)
        assert {state for states in seen.values() for state in states} == {"TRANSFER_STATE_RUNNING"}
        started = time.monotonic()
        status = await asyncio.to_thread(running.stop)
        assert time.monotonic() - started < STOP_SECONDS
        assert status == 0, running.log.read_text()
        await asyncio.wait_for(asyncio.gather(*readers), WAIT_SECONDS)


@contextlib.contextmanager
def idle_client(running: RunningDaemon, transfer: str) -> Iterator[None]:
    """Asks for a stream and never reads it."""
    body = json.dumps({"id": transfer}).encode()
    body = struct.pack(">BI", 0, len(body)) + body
    head = f"POST {SERVICE}WatchTransfer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with connection(running) as stream:
        stream.sendall(head.encode() + b"Content-Type: application/connect+json\r\n\r\n" + body)
        yield


@contextlib.contextmanager
def half_a_request(running: RunningDaemon) -> Iterator[None]:
    with connection(running) as stream:
        stream.sendall(
            f"POST {SERVICE}GetStatus HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{{".encode()
        )
        yield


@contextlib.contextmanager
def connection(running: RunningDaemon) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(running.socket))
        yield stream
