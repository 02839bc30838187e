"""Waiting for content that a transfer is bringing, without polling."""

import asyncio
import weakref
from collections.abc import Iterable
from typing import Any

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.store import BlobInfo, Store, StoredPackage
from peat_sidecar.transfer import Progress, Transfer, TransferKind, Transfers, TransferState

_LOOK_SECONDS = 0.2
"""Not after each of the many pieces of a fast fetch."""

_Name = BlobHash | Digest | str


class Arrivals:
    """Which transfer brings what, as far as that is known by its names."""

    def __init__(self, store: Store, transfers: Transfers) -> None:
        self._store = store
        self._transfers = transfers
        self._names: weakref.WeakKeyDictionary[Transfer, frozenset[str]] = weakref.WeakKeyDictionary()

    def announce(self, transfer: Transfer, names: Iterable[str]) -> None:
        """Says by which names what the transfer brings may be waited for."""
        self._names[transfer] = frozenset(names)

    async def require_package(self, name: _Name) -> StoredPackage:
        """`NotFound` when it is not here."""
        package = await asyncio.to_thread(self._store.package, name)
        if package is None:
            raise NotFound(f"package {name} is not in the store; import or fetch it first")
        return package

    async def require_blob(self, name: BlobHash | Digest) -> BlobInfo:
        """`NotFound` when it is not here as a whole."""
        blob = await asyncio.to_thread(self._store.find, name)
        if blob is None or not blob.complete:
            raise NotFound(f"blob {name} is not complete in the store; import or fetch it first")
        return blob

    async def package(self, name: _Name, progress: Progress) -> StoredPackage:
        """As soon as it is here; `NotFound` when no transfer that runs brings it."""
        bringing: Transfer | None = None
        while True:
            package = await asyncio.to_thread(self._store.package, name)
            if package is not None:
                progress.waiting_for = ""
                return package
            if bringing is not None and bringing.error is not None:
                raise NotFound(f"package {name} has not come: {bringing.error}")
            bringing = next(iter(self._bringing(str(name))), None)
            if bringing is None:
                raise NotFound(f"package {name} is not in the store, and no transfer is bringing it")
            progress.waiting_for = f"transfer {bringing.id}, which brings it"
            await bringing.wait()

    async def blob(self, name: BlobHash | Digest, progress: Progress) -> BlobInfo:
        """As soon as it is here as a whole; `NotFound` when nothing comes in that might bring it."""
        loop = asyncio.get_running_loop()
        more = asyncio.Event()

        def grown(*_: object) -> None:
            loop.call_soon_threadsafe(more.set)

        while True:
            more.clear()
            info = await asyncio.to_thread(self._store.find, name)
            hash = info.hash if info is not None else name if isinstance(name, BlobHash) else None
            end = self._store.subscribe(hash, grown) if hash is not None else None
            try:
                info = await asyncio.to_thread(self._store.find, name)
                if info is not None and info.complete:
                    progress.waiting_for = ""
                    return info
                coming = self._bringing(str(name)) or self._bringing(None)
                if not coming:
                    raise NotFound(
                        f"blob {name} is not complete in the store, and no transfer is bringing it"
                    )
                progress.waiting_for = f"blob {name}, which is not here yet"
                await _first(more, coming)
                if more.is_set():
                    await asyncio.sleep(_LOOK_SECONDS)
            finally:
                if end is not None:
                    end()

    def _bringing(self, name: str | None) -> list[Transfer]:
        """Transfers that bring something in: what has that name, or anything."""
        incoming = [
            each
            for each in self._transfers.running()
            if each.kind in (TransferKind.IMPORT, TransferKind.FETCH)
        ]
        return [each for each in incoming if name is None or name in self._names.get(each, ())]


async def _first(more: asyncio.Event, transfers: list[Transfer]) -> None:
    """Returns when there is more of the blob, or one of the transfers has ended."""
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(more.wait())]
    waits += [asyncio.ensure_future(each.wait()) for each in transfers if each.state is TransferState.RUNNING]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
