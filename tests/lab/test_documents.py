"""Documents on a link that blobs have saturated: they overtake what is queued."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from tools.sidecar import Moved, Sidecar

from tests.lab.network import Lab, Link
from tests.support.real_files import real_file

BLOB_BYTES = 3_000_000
QUEUE_BYTES = 32 << 10
OTHER_BYTES = 64 << 10
"""What may pass before a document does, beside the link's own queue, which nobody can overtake: a few looks,
and the round trips of its own connection."""


@contextlib.asynccontextmanager
async def ship_and_shore(folder: Path) -> AsyncIterator[tuple[Lab, Sidecar, Sidecar]]:
    """Two members; what the ship sends goes over 256 kbit/s."""
    key = folder / "key"
    key.write_text(secrets.token_hex(32))
    link = Link.both(rate_bits=256e3, delay_seconds=0.05, queue_bytes=QUEUE_BYTES)
    with Lab({"ship": link, "shore": Link()}) as lab:
        async with contextlib.AsyncExitStack() as stack:
            started: list[Sidecar] = []
            for name in ("shore", "ship"):
                sidecar = await stack.enter_async_context(
                    Sidecar.start(
                        folder / name,
                        bind=f"{lab.address(name)}:4433",
                        prefix=lab.command(name),
                        options=("--formation-key-file", str(key), "--no-discover-mdns"),
                        import_roots=[folder],
                        peers=[each.peer for each in started],
                    )
                )
                started.append(sidecar)
            shore, ship = started
            yield lab, ship, shore


async def wait_for(shore: Sidecar, document: str) -> None:
    """Returns when it is there."""
    async with asyncio.timeout(60):
        request = {"collection": "notes", "docId": document}
        while not (await shore.call("GetDocument", **request)).get("jsonData"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_documents_overtake_blobs(tmp_path: Path) -> None:
    async with ship_and_shore(tmp_path) as (lab, ship, shore):
        real_file(tmp_path / "large.bin", BLOB_BYTES)
        blob = await ship.import_file(tmp_path / "large.bin")
        answer = await shore.call("FetchBlob", blob=str(blob), peer=str(ship.peer))
        fetching = answer["transfer"]["id"]

        async def moved() -> Moved:
            found = (await shore.call("ListTransfers"))["transfers"]
            return Moved.of(next(each for each in found if each["id"] == fetching))

        async with asyncio.timeout(60):
            while (await moved()).wire_bytes < 300_000:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        passed: list[int] = []
        for number in range(7):
            before = lab.traffic()["ship"].up.bytes
            document = {"collection": "notes", "docId": f"{number}", "jsonData": json.dumps({"n": number})}
            await ship.call("PutDocument", **document)
            await wait_for(shore, f"{number}")
            passed.append(lab.traffic()["ship"].up.bytes - before)
        assert sorted(passed)[2] < QUEUE_BYTES + OTHER_BYTES, "one that the full link drops comes later"
        assert (await moved()).state == "RUNNING", "blobs were on the link all the while"
        await shore.call("CancelTransfer", id=fetching)
