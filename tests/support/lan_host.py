"""A host on a LAN in a process of its own: an endpoint on Iroh, and the discovery that goes with it.

    python -m tests.support.lan_host '{"secret": "<64 digits>", "key": "<formation key>", "port": 4433}'

It prints what happens, one JSON object a line: `ready`, `found`, `stranger`, `neighbours`; SIGTERM ends it.
Time goes 20 times as fast for it.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import signal
import sys
from typing import Any

import structlog
import uvloop

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.lan import LanDiscovery
from peat_sidecar.net import IrohEndpoint

_FASTER = 20


def tag_of(key: str, endpoint_id: EndpointId) -> bytes:
    """Stands for the formation's."""
    return hmac.digest(key.encode(), endpoint_id.value, hashlib.sha256)[:16]


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event} | fields), flush=True)


async def main(secret: str, key: str, port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    endpoint = await IrohEndpoint.bind(
        bytes.fromhex(secret),
        bind_addresses=(f"0.0.0.0:{port}", f"[::]:{port + 1}"),
        alpns=[b"/none"],
        admit=lambda *_: False,
    )

    def recognises(peer: EndpointId, tag: bytes) -> bool:
        is_member = hmac.compare_digest(tag, tag_of(key, peer))
        if not is_member:
            say("stranger", id=str(peer))
        return is_member

    def found(peer: PeerAddress) -> None:
        say("found", id=str(peer.endpoint_id), addresses=peer.addresses)

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / _FASTER)

    lan = LanDiscovery(
        lambda: PeerAddress(endpoint.id, endpoint.addresses()),
        tag_of(key, endpoint.id),
        recognises,
        found,
        sleep=sleep,
    )
    await lan.start()
    say("ready", id=str(endpoint.id), addresses=endpoint.addresses())
    watching = asyncio.create_task(_watch(lan))
    await stop.wait()
    watching.cancel()
    await lan.close()
    await endpoint.close()


async def _watch(lan: LanDiscovery) -> None:
    known = 0
    while True:
        if lan.neighbours != known:
            known = lan.neighbours
            say("neighbours", count=known)
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(main(**json.loads(sys.argv[1])))
