"""Peers behind a name of DNS that stands for several of them, as that of a headless service does.

DNS gives addresses without ids, and a peer is dialled by its id; so each address is offered for each peer
that is not connected, and the connection tells which belongs to whom.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from peat_sidecar.ids import EndpointId, PeerAddress

LOOKUP_SECONDS = 20.0
ADDRESSES_LIMIT = 64
"""Of one name."""
_log = structlog.get_logger(__name__)

Resolver = Callable[[str, int], list[str]]
"""Host and port to `host:port`s; blocks; `OSError` when it cannot."""


class DnsDiscovery:
    """`names` are `host:port`; `ids` gives the peers that are looked for now."""

    def __init__(
        self,
        names: Sequence[str],
        ids: Callable[[], Iterable[EndpointId]],
        found: Callable[[PeerAddress], None],
        *,
        seconds: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        resolver: Resolver | None = None,
    ) -> None:
        self._names = tuple(dict.fromkeys(names))
        self._ids = ids
        self._found = found
        self._seconds = seconds
        self._sleep = sleep
        self._resolver = resolver or look_up
        self._lookups: dict[str, asyncio.Future[list[str]]] = {}
        self._faults: dict[str, str] = {}

    async def run(self) -> None:
        """Looks the names up again and again, until it is cancelled."""
        try:
            while True:
                try:
                    await self._round()
                except Exception:  # noqa: BLE001 - the edge of the task: the next round may go better
                    _log.exception("looking for peers by DNS failed")
                await self._sleep(self._seconds)
        finally:
            for lookup in self._lookups.values():
                lookup.cancel()

    async def _round(self) -> None:
        if not any(True for _ in self._ids()):
            return
        answers = await asyncio.gather(*map(self._addresses, self._names))
        addresses = tuple(dict.fromkeys(address for answer in answers for address in answer))
        if addresses:
            for peer in tuple(self._ids()):
                self._found(PeerAddress(peer, addresses))

    async def _addresses(self, name: str) -> list[str]:
        """Empty while no name server answers: one lookup of a name at a time, however long it takes."""
        if name not in self._lookups:
            self._lookups[name] = self._begin(name)
        lookup = self._lookups[name]
        done, _ = await asyncio.wait([lookup], timeout=LOOKUP_SECONDS)
        if not done:
            self._say(name, "no name server answers")
            return []
        del self._lookups[name]
        try:
            addresses = lookup.result()[:ADDRESSES_LIMIT]
        except (OSError, ValueError) as error:
            self._say(name, getattr(error, "strerror", None) or str(error))
            return []
        self._say(name, "")
        return addresses

    def _begin(self, name: str) -> asyncio.Future[list[str]]:
        """In a thread that ends with the process: a pool's would be waited for when the program stops."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[str]] = loop.create_future()
        host, _, port = name.rpartition(":")

        def settle(answer: list[str] | Exception) -> None:
            if future.done():
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        def work() -> None:
            answer: list[str] | Exception
            try:
                answer = self._resolver(host.strip("[]"), int(port))
            except Exception as error:  # noqa: BLE001 - the edge of the thread; raised where it is waited for
                answer = error
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(settle, answer)

        threading.Thread(target=work, name=f"look up {name}", daemon=True).start()
        return future

    def _say(self, name: str, fault: str) -> None:
        """One line when a name cannot be looked up, one when it can again."""
        before = self._faults.get(name, "")
        if fault and fault != before:
            _log.warning("peers cannot be looked up by DNS; it is tried again", name=name, error=fault)
        elif before and not fault:
            _log.info("peers can be looked up by DNS again", name=name)
        self._faults[name] = fault


def look_up(host: str, port: int) -> list[str]:
    """By the system's resolver."""
    found = []
    for _, _, _, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
        text = str(where[0])
        if "%" not in text:  # a link-local address: Iroh cannot dial it
            found.append(f"[{text}]:{port}" if ":" in text else f"{text}:{port}")
    return list(dict.fromkeys(found))
