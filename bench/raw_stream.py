"""The yardstick: a bare QUIC stream of the same Iroh bindings, with nothing of ours on it.

Run as a process of its own: `raw_stream provider FILE` prints its id and address and sends the whole file to
whoever opens a stream; `raw_stream getter ID ADDRESS BYTES OUT` reads it, writes it to OUT, hashes it by
SHA-256, fsyncs it, and prints how long that took. Nothing is verified and nothing could be resumed.

It is as fast as we could make it: pieces of 1 MiB, hash and write in a thread while the next piece comes
(inline was slower), and the same memmove patch of the bindings that the sidecar uses.
"""

import asyncio
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import iroh

import peat_sidecar.net  # noqa: F401 - its import makes the bindings' writes fast, here as for the sidecar

_ALPN = b"/peat-sidecar/bench/raw/1"
_PIECE_BYTES = 1 << 20
_CONNECT_SECONDS = 10


async def _endpoint() -> iroh.Endpoint:
    iroh.iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())  # type: ignore[arg-type]
    return await iroh.Endpoint.bind(
        iroh.EndpointOptions(
            preset=iroh.preset_minimal(),
            bind_addr="127.0.0.1:0",
            alpns=[_ALPN],
            relay_mode=iroh.RelayMode.disabled(),
        )
    )


async def provide(path: Path) -> None:
    """Serves the file until stdin closes."""
    endpoint = await _endpoint()
    address = next(text for text in endpoint.bound_sockets() if text.startswith("127.0.0.1"))
    print(json.dumps({"id": endpoint.id().to_bytes().hex(), "address": address}), flush=True)
    serving = asyncio.create_task(_accept(endpoint, path))
    await asyncio.to_thread(sys.stdin.read)
    serving.cancel()
    await endpoint.close()


async def _accept(endpoint: iroh.Endpoint, path: Path) -> None:
    while (incoming := await endpoint.accept_next()) is not None:
        connection = await (await incoming.accept()).connect()
        stream = await connection.accept_bi()
        sender = stream.send()
        await stream.recv().read_to_end(1)
        with path.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                await sender.write_all(piece)
        await sender.finish()
        await sender.stopped()


async def get(endpoint_id: str, address: str, size: int, out: Path) -> None:
    """Fetches once and prints the seconds from the request to the fsync."""
    endpoint = await _endpoint()
    peer = iroh.EndpointAddr(iroh.EndpointId.from_bytes(bytes.fromhex(endpoint_id)), None, [address])
    connection = await asyncio.wait_for(endpoint.connect(peer, _ALPN), _CONNECT_SECONDS)
    started = time.monotonic()
    stream = await connection.open_bi()
    await stream.send().finish()
    digest = await _receive(stream.recv(), size, out)
    seconds = time.monotonic() - started
    print(json.dumps({"seconds": seconds, "sha256": digest}), flush=True)
    connection.close(0, b"")
    await endpoint.close()


async def _receive(receiver: iroh.RecvStream, size: int, out: Path) -> str:
    sha256 = hashlib.sha256()
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def keep(piece: bytes, offset: int) -> None:
        os.pwrite(file, piece, offset)
        sha256.update(piece)

    keeping: asyncio.Future[None] | None = None
    offset = 0
    while offset < size:
        piece = await receiver.read_exact(min(_PIECE_BYTES, size - offset))
        if keeping is not None:
            await keeping
        keeping = asyncio.ensure_future(asyncio.to_thread(keep, piece, offset))
        offset += len(piece)
    if keeping is not None:
        await keeping
    await asyncio.to_thread(os.fsync, file)
    os.close(file)
    return sha256.hexdigest()


def main(arguments: list[str]) -> None:
    """Runs one of the two sides."""
    if arguments[0] == "provider":
        asyncio.run(provide(Path(arguments[1])))
    else:
        endpoint_id, address, size, out = arguments[1:]
        asyncio.run(get(endpoint_id, address, int(size), Path(out)))


if __name__ == "__main__":
    main(sys.argv[1:])
