"""Uploads that nobody goes on with are dropped after a day, and blobs that no manifest has come for."""

import asyncio

import structlog

from peat_sidecar.store import Store
from peat_sidecar.transfer import in_thread

ABANDONED_SECONDS = 24 * 3600.0
_EVERY_SECONDS = 1800.0

_log = structlog.get_logger(__name__)


async def drop_abandoned(store: Store) -> None:
    """Goes on until it is cancelled."""
    while True:
        dropped = await in_thread(store.uploads.expire, ABANDONED_SECONDS)
        if dropped:
            _log.info("what was uploaded and never used is dropped", count=dropped)
        await asyncio.sleep(_EVERY_SECONDS)
