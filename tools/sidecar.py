"""Drives a real sidecar in a process of its own, for benches, demo and tests.

    async with Sidecar.start(directory, import_roots=[files]) as sidecar:
        blob = await sidecar.import_file(files / "layer.tar")

It talks Connect with JSON over the Unix socket, as curl would, and shares no code with the daemon.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from peat_sidecar.ids import BlobHash, EndpointId, PeerAddress

_SERVICE = "/peat.sidecar.v1.PeatSidecar/"
_START_SECONDS = 30
_STOP_SECONDS = 12
_CALL_SECONDS = 900
_READY = re.compile(r"ready: (\S+) api: unix:(\S+)(?: registry: (\S+))?")
_ENVELOPE = struct.Struct(">BI")
_END_OF_STREAM = 2


class SidecarError(Exception):
    """The daemon refused a call, or did not start; the text is its own."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code
        """As Connect names it: `not_found`, `unavailable`."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A transfer as the API shows it."""

    id: str
    state: str
    """`RUNNING`, `DONE`, `FAILED` or `CANCELLED`."""
    total_bytes: int
    done_bytes: int
    wire_bytes: int
    waiting_for: str
    error: str
    answer: dict[str, Any]
    """All of it."""

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "Moved":
        return cls(
            answer["id"],
            str(answer.get("state", "")).removeprefix("TRANSFER_STATE_"),
            int(answer.get("totalBytes", 0)),
            int(answer.get("doneBytes", 0)),
            int(answer.get("wireBytes", 0)),
            answer.get("waitingFor", ""),
            answer.get("error", ""),
            answer,
        )


class Sidecar:
    """A daemon that is ready."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        data_dir: Path,
        peer: PeerAddress,
        api: str,
        registry: str = "",
    ) -> None:
        self.data_dir = data_dir
        self.peer = peer
        """Id and where to dial it."""
        self.registry = registry
        """Where the registry endpoint is served, as `127.0.0.1:5000`; empty where it is off."""
        self._process = process
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=api), base_url="http://sidecar", timeout=_CALL_SECONDS
        )

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        data_dir: Path,
        *,
        import_roots: Sequence[Path] = (),
        export_roots: Sequence[Path] = (),
        allow: Sequence[EndpointId] = (),
        peers: Sequence[PeerAddress] = (),
        bind: str = "127.0.0.1:0",
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> "AsyncIterator[Sidecar]":
        """Starts one with its data there and ends it; `prefix` goes before its command, `options` after."""
        _make(data_dir)
        with tempfile.TemporaryDirectory(prefix="peat-api-") as run_dir:
            command = [*prefix, sys.executable, "-m", "peat_sidecar", "run"]
            command += ["--data-dir", str(data_dir), "--listen", bind, "--api", f"unix:{run_dir}/api.sock"]
            for name, values in (
                ("--import-root", import_roots),
                ("--export-root", export_roots),
                ("--allow", allow),
                ("--peer", peers),
            ):
                command += [text for value in values for text in (name, str(value))]
            sidecar = await cls._spawn([*command, *options], data_dir)
            try:
                yield sidecar
            finally:
                await sidecar.stop()

    @classmethod
    async def _spawn(cls, command: list[str], data_dir: Path) -> "Sidecar":
        log = data_dir / "daemon.log"
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=errors, stdin=asyncio.subprocess.DEVNULL
            )
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _START_SECONDS)
        except BaseException:  # also when this task is cancelled: no process is left behind
            process.kill()
            await process.wait()
            raise
        ready = _READY.search(line.decode())
        if ready is None:
            status = await process.wait()
            raise SidecarError(
                f"the sidecar ended at its start with status {status}: {log.read_text()[-2000:]}"
            )
        return cls(process, data_dir, PeerAddress.parse(ready[1]), ready[2], ready[3] or "")

    # ---- the process

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it by a signal; its exit status. One that has ended stays as it is."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                self._process.send_signal(number)
        try:
            status = await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            status = await self._process.wait()
        await self._client.aclose()
        return status

    async def kill(self) -> None:
        """SIGKILL: it has no time for anything."""
        await self.stop(signal.SIGKILL)

    def peak_bytes(self) -> int:
        """The most memory that it has had."""
        return self._memory("VmHWM")

    def resident_bytes(self) -> int:
        """The memory that it has now."""
        return self._memory("VmRSS")

    def cpu_seconds(self) -> float:
        """Processor time of its own and of the kernel for it."""
        fields = Path(f"/proc/{self._pid()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _memory(self, field: str) -> int:
        status = Path(f"/proc/{self._pid()}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def _pid(self) -> int:
        """`ip netns exec` becomes the command, so the process is the daemon in any case."""
        return self._process.pid

    # ---- calls

    async def call(self, method: str, **fields: Any) -> dict[str, Any]:
        """One unary call with the fields' JSON names; `SidecarError` with the daemon's code and text."""
        response = await self._client.post(_SERVICE + method, json=fields)
        answer: dict[str, Any] = response.json()
        if response.status_code != 200:
            raise SidecarError(answer.get("message", ""), answer.get("code", ""))
        return answer

    async def metric(self, name: str) -> float:
        """A counter or gauge of its `/metrics`, without the prefix `peat_sidecar_`."""
        text = (await self._client.get("/metrics")).text
        found = re.search(rf"^peat_sidecar_{name} (\S+)$", text, re.MULTILINE)
        if found is None:
            raise SidecarError(f"there is no metric {name}")
        return float(found[1])

    async def watch(self, transfer: str) -> AsyncIterator[Moved]:
        """The transfer's states, up to its end."""
        body = json.dumps({"id": transfer}).encode()
        request = self._client.build_request(
            "POST",
            _SERVICE + "WatchTransfer",
            content=_ENVELOPE.pack(0, len(body)) + body,
            headers={"Content-Type": "application/connect+json"},
        )
        response = await self._client.send(request, stream=True)
        try:
            buffer = b""
            async for data in response.aiter_raw():
                buffer += data
                while len(buffer) >= _ENVELOPE.size:
                    flags, length = _ENVELOPE.unpack_from(buffer)
                    if len(buffer) < _ENVELOPE.size + length:
                        break
                    message = json.loads(buffer[_ENVELOPE.size : _ENVELOPE.size + length])
                    buffer = buffer[_ENVELOPE.size + length :]
                    if flags & _END_OF_STREAM:
                        if error := message.get("error"):
                            raise SidecarError(error.get("message", ""), error.get("code", ""))
                        return
                    yield Moved.of(message["transfer"])
        finally:
            await response.aclose()

    async def admit(self, peer: PeerAddress) -> None:
        """Lets a peer fetch from here, without dialling it."""
        await self.call("ConnectPeer", endpointId=str(peer.endpoint_id))

    async def import_file(self, path: Path, *, link: bool = False) -> BlobHash:
        """A file beneath an import root becomes a blob."""
        answer = await self.call("ImportBlob", file=str(path), link=link, wait=True)
        return BlobHash.parse(answer["transfer"]["blob"]["hash"])

    async def import_layout(self, path: Path, **fields: Any) -> BlobHash:
        """The package of an image layout beneath an import root; its collection."""
        answer = await self.call("ImportBlob", layout=str(path), wait=True, **fields)
        return BlobHash.parse(answer["transfer"]["package"]["collection"])

    async def fetch_blob(self, blob: BlobHash, peer: PeerAddress) -> Moved:
        """A blob from a peer, to its end."""
        return Moved.of((await self.call("FetchBlob", blob=str(blob), peer=str(peer), wait=True))["transfer"])

    async def fetch_package(self, collection: BlobHash, peer: PeerAddress, **fields: Any) -> Moved:
        """A package from a peer, to its end; with `wait=False` what has begun."""
        fields = {"wait": True} | fields
        answer = await self.call("FetchBlob", package=str(collection), peer=str(peer), **fields)
        return Moved.of(answer["transfer"])

    async def export_file(self, blob: BlobHash, target: Path, *, link: bool = False) -> None:
        """A blob to a file beneath an export root."""
        await self.call("ExportBlob", blob=str(blob), file=str(target), link=link, wait=True)


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
