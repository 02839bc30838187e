"""The work of verifying all blobs of the store, as a transfer that is watched and cancelled."""

import asyncio
import threading

from peat_sidecar.errors import IntegrityError, PeatError
from peat_sidecar.ids import BlobHash
from peat_sidecar.store import BlobInfo, Store, StoredPackage, Verdict
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.threads import opened

_PAGE = 100
_NAMED = 5
"""Damaged blobs that an error names; the log has them all."""


class Verifier:
    """One run."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.damaged: list[BlobInfo] = []
        self.trees_made = 0

    async def run(self, progress: Progress) -> None:
        """Every complete blob once. Damaged ones are set aside as they are found."""
        usage = await asyncio.to_thread(self._store.usage)
        progress.total_bytes, progress.total_blobs = usage.bytes, usage.blobs
        after = ""
        while page := await asyncio.to_thread(self._page, after):
            after = str(page[-1].hash)
            for info in page:
                verdict = await self._verify(info.hash, progress)
                progress.done_blobs += verdict is not Verdict.GONE
                if verdict is Verdict.DAMAGED:
                    self.damaged.append(info)
                self.trees_made += verdict is Verdict.TREE_MADE_ANEW

    def broken_packages(self) -> list[StoredPackage]:
        """Packages that miss a blob, whoever took it. Blocks."""
        return [each for each in self._store.packages() if not self._store.is_whole(each)]

    def fault(self, broken: int, *, repair: bool) -> IntegrityError | None:
        """What is wrong, in a sentence; None where nothing is."""
        if not self.damaged and not broken:
            return None
        parts = []
        if self.damaged:
            names = ", ".join(str(each.digest) for each in self.damaged[:_NAMED])
            more = ", ..." if len(self.damaged) > _NAMED else ""
            parts.append(f"damaged and set aside in `damaged/` of the data directory: {names}{more}")
        if broken:
            what = f"{broken} package{'s miss' if broken > 1 else ' misses'} a blob"
            mend = "and wanted again; `peat-sidecar wants` shows how that goes"
            parts.append(f"{what} {mend if repair else 'now; --repair fetches what is missing from peers'}")
        return IntegrityError("; ".join(parts))

    def _page(self, after: str) -> list[BlobInfo]:
        return self._store.blobs(after=after, limit=_PAGE, complete=True)

    async def _verify(self, blob: BlobHash, progress: Progress) -> Verdict:
        """In a thread, which is told to stop when this is cancelled."""
        stop = threading.Event()

        def report(size: int) -> None:
            if stop.is_set():
                raise PeatError("verification was cancelled")
            progress.done_bytes += size

        return await opened(lambda: self._store.verify(blob, report), lambda _: None, stop.set)
