"""Rows about the registry endpoint beside docker-registry: skopeo pulls and pushes, and many clients pull."""

import asyncio
import contextlib
import mmap
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.registry import free_port, registry, skopeo_push
from tools.sidecar import Sidecar

from bench.layouts import layers_of, write_layout
from bench.measurement import MEBIBYTE, limit_row, side_by_side, size_text, speed_row
from bench.setting import Content, Setting

LAYERS = 5
_CLIENTS = 32
_MEMORY_LIMIT_MIB = 250
_PACKAGE = "bench/app:v1"
_TOKEN = "a token of the bench, for pushing"


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A registry that answers."""

    address: str
    credentials: tuple[str, ...] = ()
    sidecar: Sidecar | None = None


def write_image(content: Content, directory: Path, layers: int = LAYERS) -> Path:
    """A layout of the content, in so many layers."""
    with content.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        write_layout(directory, layers_of(data, layers))
    return directory


async def registry_rows(setting: Setting, content: Content) -> None:
    """Pulls from stores that have the image, pushes to empty ones."""
    layout = await asyncio.to_thread(write_image, content, setting.scratch / "registry-layout")
    await _push_rows(setting, content, layout)
    async with (
        _ours(setting.scratch / "ours", layout.parent) as ours,
        _theirs(setting.scratch / "theirs") as theirs,
    ):
        assert ours.sidecar is not None
        await ours.sidecar.import_layout(layout, listAs=f"localhost/{_PACKAGE}", link=True)
        await asyncio.to_thread(skopeo_push, layout, "v1", f"{theirs.address}/{_PACKAGE}")
        await _pull_rows(setting, content, ours, theirs)
        await _crowd_rows(setting, layout, ours, theirs)
    for folder in (layout, setting.scratch / "ours", setting.scratch / "theirs"):
        await asyncio.to_thread(shutil.rmtree, folder)


async def _pull_rows(setting: Setting, content: Content, ours: _Endpoint, theirs: _Endpoint) -> None:
    target = setting.scratch / "pulled"

    async def pull(endpoint: _Endpoint) -> float:
        source = f"docker://{endpoint.address}/{_PACKAGE}"
        seconds = await _skopeo("--src-tls-verify=false", source, f"dir:{target}")
        await asyncio.to_thread(shutil.rmtree, target)
        return seconds

    subject = f"skopeo pulls {size_text(content.size)} in {LAYERS} layers"
    await _compare(setting, subject, content.size, lambda: pull(ours), lambda: pull(theirs))


async def _push_rows(setting: Setting, content: Content, layout: Path) -> None:
    empty = setting.scratch / "empty"

    async def push_to(
        start: Callable[[Path], contextlib.AbstractAsyncContextManager[_Endpoint]],
    ) -> float:
        async with start(empty) as endpoint:
            options = ("--dest-tls-verify=false", *endpoint.credentials)
            seconds = await _skopeo(*options, f"oci:{layout}:v1", f"docker://{endpoint.address}/{_PACKAGE}")
        await asyncio.to_thread(shutil.rmtree, empty)
        return seconds

    subject = f"skopeo pushes {size_text(content.size)} in {LAYERS} layers"
    await _compare(setting, subject, content.size, lambda: push_to(_ours), lambda: push_to(_theirs))


async def _crowd_rows(setting: Setting, layout: Path, ours: _Endpoint, theirs: _Endpoint) -> None:
    """Each client takes one whole layer and drops it."""
    layer = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    size = layer.stat().st_size

    async def crowd(endpoint: _Endpoint) -> float:
        url = f"http://{endpoint.address}/v2/{_PACKAGE.partition(':')[0]}/blobs/sha256:{layer.name}"
        started = time.monotonic()
        await asyncio.gather(
            *(_run("curl", "--silent", "--fail", "--output", "/dev/null", url) for _ in range(_CLIENTS))
        )
        return time.monotonic() - started

    subject = f"{_CLIENTS} clients pull {size_text(size)} each"
    await _compare(setting, subject, size * _CLIENTS, lambda: crowd(ours), lambda: crowd(theirs))
    assert ours.sidecar is not None
    memory = ours.sidecar.peak_bytes() / MEBIBYTE
    setting.report.add(limit_row(f"memory after {subject}", memory, "MiB", under=_MEMORY_LIMIT_MIB))


async def _compare(
    setting: Setting,
    subject: str,
    size: int,
    ours: Callable[[], Awaitable[float]],
    theirs: Callable[[], Awaitable[float]],
) -> None:
    rounds = setting.rounds_for(size)
    seconds = await side_by_side(rounds, subject, ours, theirs, setting.console)
    setting.report.add(speed_row(subject, size, *seconds, "docker-registry", at_least=1.0))


def _token_file(data_dir: Path) -> Path:
    data_dir.mkdir(parents=True)
    token = data_dir / "registry.token"
    token.touch(mode=0o600)
    token.write_text(_TOKEN)
    return token


@contextlib.asynccontextmanager
async def _ours(data_dir: Path, *import_roots: Path) -> AsyncIterator[_Endpoint]:
    token = await asyncio.to_thread(_token_file, data_dir)
    address = f"127.0.0.1:{free_port()}"
    options = ["--registry", address, "--registry-token-file", str(token)]
    async with Sidecar.start(data_dir, import_roots=import_roots, options=options) as sidecar:
        yield _Endpoint(address, ("--dest-creds", f"token:{_TOKEN}"), sidecar)


@contextlib.asynccontextmanager
async def _theirs(directory: Path) -> AsyncIterator[_Endpoint]:
    with registry(directory) as running:
        yield _Endpoint(running.address)


async def _skopeo(*arguments: str) -> float:
    """Copies byte for byte; the seconds that it took."""
    started = time.monotonic()
    await _run("skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests", *arguments)
    return time.monotonic() - started


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {errors.decode(errors='replace')[-2000:]}")
