"""All packages of a place, one after the other: what one of them lacks does not keep the others away."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from peat_sidecar.errors import PeatError, SourceError, StoreFull
from peat_sidecar.oci import Source
from peat_sidecar.packages import Platform
from peat_sidecar.transfer.importer import Importer
from peat_sidecar.transfer.progress import Progress

OpenSource = Callable[[], Awaitable[Source]]
_SHOWN = 3

_log = structlog.get_logger(__name__)


async def import_all(
    importer: Importer,
    packages: Sequence[tuple[str | None, OpenSource]],
    progress: Progress,
    *,
    platforms: Sequence[Platform] = (),
    referrers: bool = False,
    link: bool = False,
) -> int:
    """How many packages came. Each is opened when it is its turn, and listed under its name.

    `StoreFull` ends it at once; else what went wrong is a `SourceError` at the end, and what came stays.
    """
    faults: dict[str, PeatError] = {}
    for list_as, open_source in packages:
        try:
            source = await open_source()
            try:
                await importer.import_package(
                    source, progress, list_as=list_as, platforms=platforms, referrers=referrers, link=link
                )
            finally:
                await source.close()
        except StoreFull:
            raise
        except PeatError as error:
            faults[list_as or "a package without a name"] = error
            _log.warning("one of many packages was not imported", package=list_as, error=str(error))
    if faults:
        raise _faulty(faults, len(packages))
    return len(packages)


def _faulty(faults: Mapping[str, PeatError], count: int) -> SourceError:
    shown = "; ".join(f"{name}: {error}" for name, error in list(faults.items())[:_SHOWN])
    more = f"; and {len(faults) - _SHOWN} more, which the log names" if len(faults) > _SHOWN else ""
    return SourceError(f"{len(faults)} of {count} packages were not imported, the others were: {shown}{more}")
