"""One reader of a blob that comes as a stream: what is in the file may be read before the rest is here.

The last group waits until the whole is proven: who checks no digest had better not take a blob for whole that
is another one.
"""

import asyncio

from peat_sidecar.errors import IntegrityError, NotFound, PeatError, PeerUnavailable
from peat_sidecar.packages import Descriptor
from peat_sidecar.store import BlobReader, Store
from peat_sidecar.transfer.arriving import last_group
from peat_sidecar.transfer.threads import in_thread

_LOOK_SECONDS = 0.05
"""Between two looks at the file, which grows by a piece or each half second."""


class ArrivingStream:
    """Lives on one event loop. What brings the blob goes on when this is closed."""

    def __init__(
        self, store: Store, blob: Descriptor, bringing: "asyncio.Future[None]", wait_seconds: float
    ) -> None:
        self._store = store
        self._blob = blob
        self._bringing = bringing
        self._wait_seconds = wait_seconds
        self._proven_from = last_group(blob.size)
        self._reader: BlobReader | None = None

    async def read(self, offset: int, most_bytes: int) -> bytes:
        """The next bytes, as soon as some are here. `PeerUnavailable` when none has come for too long, or
        none will; `IntegrityError` when they are not what the digest promised.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + self._wait_seconds
        come = -1
        while True:
            is_over = self._bringing.done()
            if data := await in_thread(self._read, offset, most_bytes):
                return data
            if is_over:
                self._fail()
            length = await in_thread(self._store.downloaded, self._blob.digest)
            if length != come:
                come, end = length, clock() + self._wait_seconds
            if clock() >= end:
                raise PeerUnavailable(f"nothing of {self._blob.digest} has come for {self._wait_seconds:g} s")
            await asyncio.wait((self._bringing,), timeout=_LOOK_SECONDS)

    async def aclose(self) -> None:
        """Reads no more."""
        if self._reader is not None:
            self._reader.close()

    def _read(self, offset: int, most_bytes: int) -> bytes:
        if self._reader is None:
            info = self._store.find(self._blob.digest)
            if info is not None and info.complete:
                self._reader = self._store.reader(info.hash)
        if self._reader is not None:
            return self._reader.read(offset, min(most_bytes, self._blob.size - offset))
        most = min(most_bytes, self._proven_from - offset)
        return self._store.read_download(self._blob.digest, offset, most) if most > 0 else b""

    def _fail(self) -> None:
        error = None if self._bringing.cancelled() else self._bringing.exception()
        if error is None:
            raise PeerUnavailable(f"{self._blob.digest} was given up")
        if isinstance(error, PeatError) and not isinstance(error, IntegrityError | NotFound):
            raise PeerUnavailable(str(error)) from error
        raise error
