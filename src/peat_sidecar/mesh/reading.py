"""One client that reads a blob while it comes."""

import asyncio
from contextlib import suppress
from typing import Protocol

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.ids import BlobHash
from peat_sidecar.mesh.offers import Offer
from peat_sidecar.mesh.wants import Wants
from peat_sidecar.store import Store
from peat_sidecar.transfer import ArrivingBlob, Progress, Readings

GRACE_SECONDS = 30.0
"""After a client has left: most come back, for the next blob or for the rest of this one."""
_LOOK_SECONDS = 0.5


class FetchesWhatIsRead(Protocol):
    """The part of the getter that is needed here."""

    readings: Readings

    def progress_of(self, blob_hash: BlobHash) -> Progress | None:
        """Of the transfer that is at work on that blob now."""
        ...


class Reading:
    """Keeps its package wanted, until it is closed and some time after. Lives on one event loop."""

    def __init__(
        self,
        wants: Wants,
        offer: Offer,
        store: Store,
        getter: FetchesWhatIsRead,
        blob: BlobHash,
        size: int,
        wait_seconds: float,
    ) -> None:
        self._wants = wants
        self._offer = offer
        self._getter = getter
        self._blob = blob
        self._wait_seconds = wait_seconds
        self._arriving = ArrivingBlob(store, blob, size, getter.readings)
        self._entry = wants.read(offer)
        self._is_closed = False

    async def read(self, offset: int, most_bytes: int) -> bytes:
        """The next bytes, as soon as some are here. `PeerUnavailable` when nothing has come for too long, and
        at once where nobody can bring it.
        """
        clock = asyncio.get_running_loop().time
        moved, since = self._moved, clock()
        while not (data := await self._arriving.read(offset, most_bytes)):
            if self._moved != moved:
                moved, since = self._moved, clock()
            entry = self._entry
            if entry.failed or entry.gone or clock() - since >= self._wait_seconds:
                raise PeerUnavailable(f"{self._offer.reference or self._offer.root}: {self._why}")
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._arriving.changed()
        return data

    async def aclose(self) -> None:
        """The client has all, or has left."""
        if self._is_closed:
            return
        self._is_closed = True
        self._arriving.close()
        loop = asyncio.get_running_loop()
        loop.call_later(GRACE_SECONDS, self._wants.read_no_more, self._entry)

    @property
    def _moved(self) -> object:
        """Changes whenever something comes for its package, or for its blob by another one's transfer."""
        other = self._getter.progress_of(self._blob)
        return self._entry.moved, other.wire_bytes if other is not None else 0

    @property
    def _why(self) -> str:
        return self._entry.reason or f"nothing has come for {self._wait_seconds:g} s"
