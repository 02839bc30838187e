"""What others need for the same over the same link: Rust iroh-blobs, and curl and skopeo over TCP.

Server and client run on the hosts `ship` and `shore` of a lab, as our own sidecars do.
"""

import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.support.aster_peer import AsterError, AsterPeer
from tests.support.real_files import real_bytes, real_file
from tests.support.registry import registry, skopeo_push

from bench.lab.hosts import Hosts
from bench.layouts import write_layout

_PORT = 8000
_LONGEST_SECONDS = 1200
_START_SECONDS = 20


async def curl_seconds(hosts: Hosts, size_bytes: int) -> float:
    """One file from a plain HTTP server, by one TCP connection."""
    served = hosts.folder / "http"
    served.mkdir()
    await asyncio.to_thread(real_file, served / "file", size_bytes)
    address = hosts.lab.address("ship")
    server = (sys.executable, "-m", "http.server", "--bind", address, "--directory", str(served), str(_PORT))
    async with _server(hosts, server, "/"):
        seconds = await _timed(
            hosts, "curl", "--silent", "--fail", "--output", str(served / "copy"), _url(hosts, "/file")
        )
    assert (served / "copy").stat().st_size == size_bytes
    await asyncio.to_thread(shutil.rmtree, served)
    return seconds


async def skopeo_seconds(hosts: Hosts, size_bytes: int) -> float:
    """An image of one layer from a docker-registry to an image layout."""
    folder = hosts.folder / "skopeo"
    layout, storage = folder / "layout", folder / "storage"
    await asyncio.to_thread(lambda: write_layout(layout, [real_bytes(size_bytes)]))
    await asyncio.to_thread(_fill_registry, folder, storage, layout)
    config = folder / "served.yml"
    address = f"{hosts.lab.address('ship')}:{_PORT}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": {"addr": address},
    }
    config.write_text(json.dumps(settings))  # JSON is YAML
    async with _server(hosts, ("docker-registry", "serve", str(config)), "/v2/"):
        source, target = f"docker://{address}/app:v1", f"oci:{folder / 'copy'}:v1"
        copy = ("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", source, target)
        seconds = await _timed(hosts, *copy)
    await asyncio.to_thread(shutil.rmtree, folder)
    return seconds


async def rust_seconds(hosts: Hosts, size_bytes: int) -> float:
    """From a Rust provider to a Rust getter, both in memory; until the getter's store holds the blob."""
    content = hosts.folder / "rust-content"
    await asyncio.to_thread(real_file, content, size_bytes)
    async with await _rust(hosts, "ship") as provider, await _rust(hosts, "shore") as getter:
        blob = await provider.add_file(content)
        began = time.monotonic()
        while True:  # one packet of its handshake that is lost ends its try
            tried = time.monotonic()
            try:
                fetched = await getter.get(provider.address, blob, timeout_seconds=_LONGEST_SECONDS)
                return tried - began + fetched.wire_seconds
            except AsterError:
                if time.monotonic() - began > _LONGEST_SECONDS:
                    raise


async def _rust(hosts: Hosts, host: str) -> AsterPeer:
    return await AsterPeer.start(host=hosts.lab.address(host), prefix=hosts.lab.command(host))


def _fill_registry(folder: Path, storage: Path, layout: Path) -> None:
    with registry(folder / "filling", storage=storage) as running:
        skopeo_push(layout, "v1", f"{running.address}/app:v1")


@contextlib.asynccontextmanager
async def _server(hosts: Hosts, command: Sequence[str], path: str) -> AsyncIterator[None]:
    """On the ship, once it answers there."""
    process = await asyncio.create_subprocess_exec(
        *hosts.lab.command("ship", *command),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        retry = ("--retry", "100", "--retry-delay", "0", "--retry-connrefused")
        patience = ("--retry-max-time", str(_START_SECONDS))
        await _run(
            hosts.lab.command("ship", "curl", "--silent", "--fail", *retry, *patience, _url(hosts, path))
        )
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _url(hosts: Hosts, path: str) -> str:
    return f"http://{hosts.lab.address('ship')}:{_PORT}{path}"


async def _timed(hosts: Hosts, *command: str) -> float:
    began = time.monotonic()
    await _run(hosts.lab.command("shore", *command))
    return time.monotonic() - began


async def _run(command: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _LONGEST_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {output.decode(errors='replace')[-2000:]}")
