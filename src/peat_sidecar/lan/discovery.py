"""Finds members of the formation on the local network, and is found: mDNS over IPv4 and IPv6.

Announced and asked at are the interfaces that this node's own addresses belong to, never loopback; when
those change, or the network fails, a new session is opened. One that listens on loopback only says nothing.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog
from zeroconf.asyncio import AsyncServiceInfo

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.lan.multicast import Complaints, LanFault, Listener, complaints, open_multicast
from peat_sidecar.lan.neighbours import Neighbours
from peat_sidecar.lan.services import multicast_addresses, parse_service, services_of

LOOK_SECONDS = 5.0
"""How often the node's own addresses are looked at, and the longest that a new interface waits."""
RETRY_SECONDS = 30.0
_CLOSE_SECONDS = 5.0

_log = structlog.get_logger(__name__)

Opener = Callable[
    [Sequence[str], Sequence[AsyncServiceInfo], Listener], contextlib.AbstractAsyncContextManager[None]
]


class LanDiscovery:
    """`found` is called in the event loop with a peer each time it announces itself, with all addresses that
    are known for it; `recognises` says whether a tag is that of a member.
    """

    def __init__(
        self,
        own: Callable[[], PeerAddress],
        tag: bytes,
        recognises: Callable[[EndpointId, bytes], bool],
        found: Callable[[PeerAddress], None],
        *,
        open_network: Opener = open_multicast,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`own` gives the addresses of this machine's interfaces as they are now; `tag` has 16 bytes."""
        self._own = own
        self._tag = tag
        self._recognises = recognises
        self._found = found
        self._open = open_network
        self._sleep = sleep
        self._neighbours = Neighbours()
        self._id: EndpointId | None = None
        self._fault = ""
        self._complaint = ""
        self._warned_of_size = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns at once, and never fails: what does not work now is tried again."""
        self._task = asyncio.create_task(self._run(), name="look at the local network")

    async def close(self) -> None:
        """Withdraws what was announced and ends, within seconds."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)
        self._task = None

    @property
    def neighbours(self) -> int:
        """Members that are heard now."""
        return len(self._neighbours)

    @property
    def fault(self) -> str:
        """Why the local network cannot be used now; empty when it can."""
        return self._fault

    async def _run(self) -> None:
        with complaints() as heard:
            while True:
                own = self._now()
                try:
                    await self._session(own, heard)
                except LanFault as error:
                    self._say(str(error))
                    await self._changed(own, RETRY_SECONDS)
                except Exception as error:  # noqa: BLE001 - the edge of the task
                    _log.exception("looking at the local network failed")
                    self._fault = str(error)
                    await self._changed(own, RETRY_SECONDS)

    async def _session(self, own: PeerAddress, heard: Complaints) -> None:
        """Until the addresses change."""
        self._id = own.endpoint_id
        self._neighbours.clear()
        addresses = multicast_addresses(own)
        if not addresses:
            _log.info(
                "not looking for peers on the local network: from there, no address of this node is reached"
            )
            while not await self._changed(own, RETRY_SECONDS):
                pass
            return
        async with self._open(addresses, services_of(own, self._tag), self._heed):
            self._say("")
            while not await self._changed(own, LOOK_SECONDS):
                complaint = heard.take()
                if complaint and complaint != self._complaint:
                    self._complaint = complaint
                    _log.warning("mDNS has trouble on the local network", error=complaint)

    async def _changed(self, own: PeerAddress, seconds: float) -> bool:
        """Waits for other addresses, for that long at most; whether there are some."""
        waited = 0.0
        while waited < seconds and self._now() == own:
            await self._sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS
        return self._now() != own

    def _now(self) -> PeerAddress:
        own = self._own()
        return PeerAddress(own.endpoint_id, tuple(sorted(own.addresses)))

    def _heed(self, service: str, info: AsyncServiceInfo | None) -> None:
        if info is None:
            self._neighbours.drop(service)
            return
        said = parse_service(info)
        if said is None or said.endpoint_id == self._id or not self._recognises(said.endpoint_id, said.tag):
            return
        peer = self._neighbours.take(service, PeerAddress(said.endpoint_id, said.addresses))
        if peer is not None:
            self._found(peer)
        elif not self._warned_of_size:
            self._warned_of_size = True
            _log.warning(
                "more members than are kept announce themselves on the local network",
                kept=len(self._neighbours),
            )

    def _say(self, fault: str) -> None:
        """One line when it stops working, one when it works again."""
        if fault and fault != self._fault:
            _log.warning("mDNS does not work on the local network; it is tried again", error=fault)
        elif not fault and self._fault:
            _log.info("mDNS works again on the local network")
        self._fault = fault
