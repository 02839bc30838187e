"""mDNS by zeroconf: one session on some interfaces, from opening to goodbye. Errors are `LanFault`."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import zeroconf
from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from peat_sidecar.errors import PeatError
from peat_sidecar.lan.services import SERVICE_TYPE

_ASK_MILLISECONDS = 3000
_ASKING_LIMIT = 16
_GOODBYE_SECONDS = 2.0
_log = logging.getLogger(__name__)


class LanFault(PeatError):
    """The local network cannot be used now; the text says why."""


Listener = Callable[[str, AsyncServiceInfo | None], None]
"""Called with a service's name and what it says, or None when it is gone."""


@contextlib.asynccontextmanager
async def open_multicast(
    addresses: Sequence[str], services: Sequence[AsyncServiceInfo], listener: Listener
) -> AsyncIterator[None]:
    """Announces the services and listens for others on the interfaces that have those IP addresses, until it
    is left; then the services are withdrawn.
    """
    try:
        multicast = AsyncZeroconf(interfaces=list(addresses))
    except (OSError, RuntimeError, zeroconf.Error) as error:
        raise LanFault(str(error)) from None
    browser = None
    try:
        try:
            await multicast.zeroconf.async_wait_for_start()
            if not multicast.zeroconf.engine.senders:
                raise LanFault(f"no multicast at {', '.join(addresses)}")
            browser = _Browser(multicast.zeroconf, listener)
            announcing = [
                # Names hold public keys: nobody else has them, and nobody needs to be asked.
                await multicast.async_register_service(service, cooperating_responders=True)
                for service in services
            ]
            await asyncio.gather(*announcing)
        except (OSError, RuntimeError, zeroconf.Error) as error:
            raise LanFault(str(error) or type(error).__name__) from None
        yield
    finally:
        if browser is not None:
            await browser.close()
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await multicast.async_close()
        except (OSError, RuntimeError, zeroconf.Error, TimeoutError) as error:
            _log.debug("the local network was left without a goodbye: %s", error)


class _Browser:
    """Asks for services, and for what an announcement left out; a bounded number at once."""

    def __init__(self, zc: zeroconf.Zeroconf, listener: Listener) -> None:
        self._zc = zc
        self._listener = listener
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._inner = AsyncServiceBrowser(zc, SERVICE_TYPE, handlers=[self._changed])

    async def close(self) -> None:
        await self._inner.async_cancel()
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _changed(self, zeroconf: Any, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """The names of the parameters are zeroconf's."""
        try:
            self._heed(name, state_change)
        except Exception:  # noqa: BLE001 - zeroconf's edge: what one packet does is not for the next
            _log.exception("an announcement on the local network could not be read")

    def _heed(self, name: str, change: ServiceStateChange) -> None:
        if change is ServiceStateChange.Removed:
            self._listener(name, None)
            return
        try:
            info = AsyncServiceInfo(SERVICE_TYPE, name)
        except zeroconf.Error:
            return
        if info.load_from_cache(self._zc):
            self._listener(name, info)
        elif name not in self._asking and len(self._asking) < _ASKING_LIMIT:
            # One that finds no room here is heeded when the rest of it is heard.
            task = asyncio.create_task(self._ask(name, info), name="ask for a service")
            self._asking[name] = task
            task.add_done_callback(lambda _: self._asking.pop(name, None))

    async def _ask(self, name: str, info: AsyncServiceInfo) -> None:
        try:
            if await info.async_request(self._zc, _ASK_MILLISECONDS):
                self._listener(name, info)
        except zeroconf.Error as error:
            _log.debug("a service on the local network could not be asked for: %s", error)
        except Exception:  # noqa: BLE001 - the edge of a task
            _log.exception("an announcement on the local network could not be read")


class Complaints(logging.Handler):
    """What zeroconf logs, which is many lines with tracebacks about one cable: only the last text is kept,
    until it is taken.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._text = ""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._text = str(error or record.getMessage())

    def take(self) -> str:
        text, self._text = self._text, ""
        return text


@contextlib.contextmanager
def complaints() -> Iterator[Complaints]:
    """Keeps zeroconf's lines from the log meanwhile."""
    logger, handler = logging.getLogger("zeroconf"), Complaints()
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)
