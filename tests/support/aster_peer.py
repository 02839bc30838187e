"""A stock Rust iroh-blobs node in a process of its own, as a peer for interop tests and benches.

The node is iroh-blobs 0.99 inside PyPI `aster-rpc` 0.1.2. It runs in a subprocess, so that its Tokio runtime,
its memory and its processor time stay apart from those of the code under test. Parent and child speak one
JSON object a line over stdin and stdout; requests carry a number `n` and are answered in any order.

What it can do: hold blobs in memory or in a file store; serve any Get (ranges, hash sequences, GetMany),
Observe and Push to whoever connects; fetch a blob or a collection; tell how much of a blob it holds; set and
list tags; write a blob to a file. What it cannot: fetch a range that the caller chooses (it asks for what it
lacks by itself), show its bitfield beyond a byte count, import or export without a copy in its memory, refuse
a request.

Times of `get`: `wire_seconds` ends when the node's store holds the blob completely and verified;
`total_seconds` goes on until the binding has copied it into Python, which no other peer has to do, so that
comparisons use the former.
"""

import asyncio
import base64
import contextlib
import ipaddress
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from peat_sidecar.ids import BlobHash, EndpointId, PeerAddress

_LINE_LIMIT = 16 << 20


class AsterError(Exception):
    """The node, or the binding around it, answered with an error; its text is the message."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a `get` brought, and how long it took."""

    size: int
    blake3: BlobHash
    """Hash of the bytes as the binding gave them, computed anew."""
    wire_seconds: float
    total_seconds: float


@dataclass(frozen=True, slots=True)
class Held:
    """How much of a blob the node holds."""

    status: str
    """`complete`, `partial` or `not_found`."""
    size: int
    """Of the blob, 0 when the node does not know it."""
    local_bytes: int


def ticket(peer: PeerAddress, blob: BlobHash, *, is_sequence: bool = False) -> str:
    """The text of a blob ticket for IPv4 and IPv6 socket addresses, without a relay."""
    body = bytearray(b"\0" + peer.endpoint_id.value + b"\0")
    body += _varint(len(peer.addresses))
    for address in sorted(peer.addresses):
        host, _, port = address.rpartition(":")
        ip = ipaddress.ip_address(host.strip("[]"))
        body += bytes([ip.version == 6]) + ip.packed + _varint(int(port))
    body += bytes([is_sequence]) + blob.value
    return "blob" + base64.b32encode(bytes(body)).decode().rstrip("=").lower()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


class AsterPeer:
    """The parent's handle. `async with AsterPeer.start() as peer:` ends the process at the end."""

    def __init__(self, process: asyncio.subprocess.Process, peer: PeerAddress) -> None:
        self.address = peer
        """Id and loopback address, to dial it."""
        self._process = process
        self._next = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls,
        store: Path | None = None,
        *,
        secret_key: bytes | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        prefix: Sequence[str] = (),
    ) -> Self:
        """In memory, or over a file store in the directory `store`, which survives restarts; `prefix` goes
        before its command.
        """
        options = {
            "store": str(store) if store else None,
            "secret_key": secret_key.hex() if secret_key else None,
            "bind": f"{host}:{port}",
        }
        process = await asyncio.create_subprocess_exec(
            *prefix,
            sys.executable,
            __file__,
            json.dumps(options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
        )
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        if not line:
            raise AsterError(f"the node ended at its start with status {await process.wait()}")
        hello = json.loads(line)
        if "error" in hello:
            await process.wait()
            raise AsterError(hello["error"])
        return cls(process, PeerAddress(EndpointId.parse(hello["id"]), tuple(hello["addresses"])))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def id(self) -> EndpointId:
        return self.address.endpoint_id

    @property
    def pid(self) -> int:
        """Process id, for memory and processor time in /proc."""
        return self._process.pid

    async def add_file(self, path: Path) -> BlobHash:
        """Reads the file whole into the node's memory, then stores it."""
        return BlobHash.parse((await self._ask("add_file", path=str(path)))["hash"])

    async def add_bytes(self, data: bytes) -> BlobHash:
        return BlobHash.parse((await self._ask("add_bytes", data=data.hex()))["hash"])

    async def add_collection(self, entries: Mapping[str, bytes]) -> BlobHash:
        """A hash sequence with names; returns its root."""
        listed = [[name, data.hex()] for name, data in entries.items()]
        return BlobHash.parse((await self._ask("add_collection", entries=listed))["hash"])

    def ticket(self, blob: BlobHash, *, is_sequence: bool = False) -> str:
        return ticket(self.address, blob, is_sequence=is_sequence)

    async def get(
        self, source: str | PeerAddress, blob: BlobHash | None = None, *, timeout_seconds: float = 60
    ) -> Fetched:
        """Fetches a blob by ticket, or by hash from a peer.

        The node itself never gives up on a silent provider: at the time-out the fetch is cancelled, what was
        verified is kept, and `AsterError("timeout")` is raised."""
        text = _as_ticket(source, blob, is_sequence=False)
        answer = await self._ask("get", ticket=text, timeout=timeout_seconds)
        return Fetched(answer["size"], BlobHash.parse(answer["blake3"]), answer["wire"], answer["total"])

    async def get_collection(
        self, source: PeerAddress, root: BlobHash, *, timeout_seconds: float = 60
    ) -> dict[str, bytes]:
        """Fetches a hash sequence with all its children: name -> bytes.

        The binding takes no address for this: the root is fetched by ticket first, which names the peer."""
        text = ticket(source, root)
        request = {"ticket": text, "hash": str(root), "id": str(source.endpoint_id)}
        answer = await self._ask("get_collection", **request, timeout=timeout_seconds)
        return {name: bytes.fromhex(data) for name, data in answer["entries"]}

    async def held(self, blob: BlobHash) -> Held:
        answer = await self._ask("held", hash=str(blob))
        return Held(answer["status"], answer["size"], answer["local_bytes"])

    async def read(self, blob: BlobHash) -> bytes:
        """For small blobs; `AsterError` where the node lacks it."""
        return bytes.fromhex((await self._ask("read", hash=str(blob)))["data"])

    async def export(self, blob: BlobHash, path: Path) -> int:
        """Writes a complete blob to a file; returns its size."""
        return int((await self._ask("export", hash=str(blob), path=str(path)))["size"])

    async def tag(self, name: str, blob: BlobHash, *, is_sequence: bool = False) -> None:
        await self._ask("tag", name=name, hash=str(blob), format="hash_seq" if is_sequence else "raw")

    async def tags(self) -> dict[str, tuple[BlobHash, bool]]:
        """Name -> hash and whether it is a hash sequence."""
        listed: Sequence[tuple[str, str, str]] = (await self._ask("tags"))["tags"]
        return {name: (BlobHash.parse(hash_), form == "hash_seq") for name, hash_, form in listed}

    def kill(self) -> None:
        """SIGKILL: the peer vanishes without a word on the wire. `close` is still due."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await self._reader

    async def _ask(self, op: str, **arguments: object) -> dict[str, Any]:
        self._next += 1
        number = self._next
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"n": number, "op": op, **arguments}).encode() + b"\n")
            await self._process.stdin.drain()
            result = await answer
        except (BrokenPipeError, ConnectionResetError):
            raise AsterError("the node's process has ended") from None
        finally:
            self._waiting.pop(number, None)
        if "error" in result:
            raise AsterError(result["error"])
        return result

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            result = json.loads(line)
            waiting = self._waiting.pop(result["n"], None)
            if waiting is not None and not waiting.done():
                waiting.set_result(result)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result({"error": "the node's process has ended"})


def _as_ticket(source: str | PeerAddress, blob: BlobHash | None, *, is_sequence: bool) -> str:
    if isinstance(source, str):
        return source
    if blob is None:
        raise ValueError("a hash is needed beside a peer's address")
    return ticket(source, blob, is_sequence=is_sequence)


# ---- the child: everything below runs in the node's own process


class _Node:
    """The child's side: one method for each op, which returns the fields of the answer."""

    def __init__(self, blobs: Any) -> None:
        self._blobs = blobs

    async def add_file(self, path: str) -> dict[str, object]:
        return {"hash": await self._blobs.add_bytes(await asyncio.to_thread(Path(path).read_bytes))}

    async def add_bytes(self, data: str) -> dict[str, object]:
        return {"hash": await self._blobs.add_bytes(bytes.fromhex(data))}

    async def add_collection(self, entries: list[tuple[str, str]]) -> dict[str, object]:
        return {"hash": await self._blobs.add_collection([(n, bytes.fromhex(d)) for n, d in entries])}

    async def get(self, ticket: str, timeout: float) -> dict[str, object]:
        from blake3 import blake3

        padded = ticket[4:].upper()
        body = base64.b32decode(padded + "=" * (-len(padded) % 8))
        started = time.monotonic()
        watcher = asyncio.ensure_future(self._complete(body[-32:].hex()))
        try:
            data = await asyncio.wait_for(self._blobs.download_blob(ticket), timeout)
            total = time.monotonic() - started
            wire = await asyncio.wait_for(watcher, 1) - started
        except TimeoutError:
            raise AsterError("timeout") from None
        finally:
            watcher.cancel()
        return {"size": len(data), "blake3": blake3(data).hexdigest(), "wire": wire, "total": total}

    async def _complete(self, blob: str) -> float:
        """When the store has the blob; asked again while the fetch has not begun."""
        while True:
            try:
                await self._blobs.blob_observe_complete(blob)
                return time.monotonic()
            except Exception:  # noqa: BLE001 - the binding has one class for all its errors
                await asyncio.sleep(0.002)

    async def get_collection(self, ticket: str, hash: str, id: str, timeout: float) -> dict[str, object]:
        async def run() -> list[tuple[str, bytes]]:
            await self._blobs.download_blob(ticket)
            return list(await self._blobs.download_collection_hash(hash, id))

        try:
            entries = await asyncio.wait_for(run(), timeout)
        except TimeoutError:
            raise AsterError("timeout") from None
        return {"entries": [[name, bytes(data).hex()] for name, data in entries]}

    async def held(self, hash: str) -> dict[str, object]:
        status = await self._blobs.blob_status(hash)
        local = await self._blobs.blob_local_info(hash)
        return {"status": status.status, "size": status.size, "local_bytes": local.local_bytes}

    async def read(self, hash: str) -> dict[str, object]:
        return {"data": (await self._blobs.read_to_bytes(hash)).hex()}

    async def export(self, hash: str, path: str) -> dict[str, object]:
        data = await self._blobs.read_to_bytes(hash)
        return {"size": await asyncio.to_thread(Path(path).write_bytes, data)}

    async def tag(self, name: str, hash: str, format: str) -> dict[str, object]:
        await self._blobs.tag_set(name, hash, format)
        return {}

    async def tags(self) -> dict[str, object]:
        return {"tags": [(tag.name, tag.hash, tag.format) for tag in await self._blobs.tag_list()]}


async def _answer(node: _Node, request: dict[str, Any]) -> None:
    number, op = request.pop("n"), request.pop("op")
    handle: Callable[..., Awaitable[dict[str, object]]] = getattr(node, op)
    try:
        result = await handle(**request)
    except Exception as error:  # noqa: BLE001 - the edge of the task: the parent raises it
        result = {"error": str(error) or repr(error)}
    print(json.dumps({"n": number, **result}), flush=True)


async def _serve(options: dict[str, Any]) -> None:
    from aster import _aster  # type: ignore[import-untyped]

    alpn = b"aster-peer/1"
    key = options["secret_key"]
    config = _aster.EndpointConfig(
        alpns=[alpn],
        relay_mode="disabled",
        bind_addr=options["bind"],
        portmapper_config="disabled",
        secret_key=bytes.fromhex(key) if key else None,
    )
    try:
        if options["store"]:
            inner = await _aster.IrohNode.persistent_with_alpns(options["store"], [alpn], config)
        else:
            inner = await _aster.IrohNode.memory_with_alpns([alpn], config)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        print(json.dumps({"error": f"the node cannot start: {error}"}), flush=True)
        return
    addresses = list(inner.node_addr_info().direct_addresses)
    print(json.dumps({"id": inner.node_id(), "addresses": addresses}), flush=True)
    node = _Node(_aster.blobs_client(inner))
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    tasks: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        task = asyncio.create_task(_answer(node, json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(inner.shutdown(), 3)


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
    sys.stdout.flush()
    os._exit(0)  # the node's own threads may still be busy with a cancelled fetch
