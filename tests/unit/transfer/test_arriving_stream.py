"""What a reader gets of a blob that comes as a stream, and when."""

import asyncio
from pathlib import Path

import pytest

from peat_sidecar.errors import IntegrityError, PeerUnavailable, SourceError
from peat_sidecar.packages import Descriptor
from peat_sidecar.ranges import GROUP_SIZE
from peat_sidecar.store import Store
from peat_sidecar.transfer.arriving_stream import ArrivingStream
from tests.support.images import OCI_LAYER
from tests.support.nodes import bounded, sha256_of
from tests.support.real_files import real_bytes

DATA = real_bytes(5 * GROUP_SIZE + 7)
BLOB = Descriptor(OCI_LAYER, sha256_of(DATA), len(DATA))
MOST = 1 << 20


async def test_the_last_group_waits_for_the_proof(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        bringing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stream = ArrivingStream(store, BLOB, bringing, 30)
        writer = store.writer(len(DATA), expected=BLOB.digest, resume=True)
        writer.write(DATA[: 2 * GROUP_SIZE])
        writer.flush()
        assert await bounded(stream.read(100, MOST)) == DATA[100 : 2 * GROUP_SIZE]
        writer.write(DATA[2 * GROUP_SIZE :])
        writer.flush()
        assert await bounded(stream.read(0, MOST)) == DATA[: 5 * GROUP_SIZE]
        rest = asyncio.create_task(stream.read(5 * GROUP_SIZE, MOST))
        await asyncio.sleep(0.2)
        assert not rest.done()
        writer.finish()
        bringing.set_result(None)
        assert await bounded(rest) == DATA[5 * GROUP_SIZE :]
        await stream.aclose()


async def test_silence_and_failure_end_it(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        loop = asyncio.get_running_loop()
        with pytest.raises(PeerUnavailable, match="nothing of"):
            await bounded(ArrivingStream(store, BLOB, loop.create_future(), 0.1).read(0, MOST))
        for error, told in (
            (SourceError("the registry is silent"), PeerUnavailable),
            (IntegrityError("other bytes"), IntegrityError),
        ):
            failed: asyncio.Future[None] = loop.create_future()
            failed.set_exception(error)
            with pytest.raises(told, match=str(error)):
                await bounded(ArrivingStream(store, BLOB, failed, 30).read(0, MOST))
