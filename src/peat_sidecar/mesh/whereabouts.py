"""Where nodes are: each says so in its own document of `nodes`, and hears it from the others'.

A peer that is known by its document alone is dialled when it is needed (a fetch from it), and when this node
has no session at all: who lost all the peers that it was told of finds its way back by those it has heard of.
"""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from peat_sidecar.errors import ConfigError, PeatError
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.records import Change, Document, Records

NODES = "nodes"
_ENDPOINT = "endpoint_addr"
_ALIVE = "alive_on"
"""A date: a sign of life once a day, since who says nothing for long is forgotten."""
_DAY_SECONDS = 86_400
_LOOK_SECONDS = 60.0
"""Between looks at this node's own addresses, and at whether it is alone."""
_AT_ONCE = 3
_PAGE = 1000
_KNOWN_LIMIT = 10_000

_log = structlog.get_logger(__name__)


class FindsPeers(Protocol):
    """The part of the table of peers that is needed here."""

    def discovered(self, peer: PeerAddress, source: Any, /) -> None: ...
    def sessions(self) -> frozenset[EndpointId]: ...
    async def reach(self, peer: EndpointId, /) -> PeerAddress: ...


class Whereabouts:
    """Stands for the records where other fields of this node's document are written, so that each keeps the
    other's.
    """

    def __init__(
        self,
        agent_id: str,
        records: Records,
        peers: FindsPeers,
        own: Callable[[], PeerAddress],
        *,
        about: Mapping[str, str],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`own` gives this node's id and addresses as they are now; `about`: what else the document says."""
        self._agent_id = agent_id
        self._records = records
        self._peers = peers
        self._own = own
        self._about = dict(about)
        self._sleep = sleep
        self._now = now
        self._lock = threading.Lock()
        self._ids: dict[str, EndpointId] = {}
        """Agent id -> endpoint id, as the nodes say."""

    # ---- this node's own document

    def put(self, collection: str, doc_id: str, document: Mapping[str, Any]) -> bool:
        """As the records; this node's own document says where it is as well."""
        if (collection, doc_id) == (NODES, self._agent_id):
            document = {**document, **self._fields()}
        return self._records.put(collection, doc_id, document)

    def delete(self, collection: str, doc_id: str) -> bool:
        """As the records."""
        return self._records.delete(collection, doc_id)

    def get(self, collection: str, doc_id: str) -> Document | None:
        """As the records."""
        return self._records.get(collection, doc_id)

    def list_ids(self, collection: str, *, after: str = "", limit: int = 1000) -> list[str]:
        """As the records."""
        return self._records.list_ids(collection, after=after, limit=limit)

    # ---- those of others

    def owner_of(self, agent_id: str) -> EndpointId | None:
        """Who is asked for what that agent's node holds: the endpoint that its document names, else the
        signer that the agent id belongs to (the two differ where identities are derived). Blocks.
        """
        with self._lock:
            said = self._ids.get(agent_id)
        return said or self._records.owner_of(agent_id)

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()

        def changed(changes: Sequence[Change]) -> None:
            for change in changes:
                if change.collection == NODES and change.document is not None:
                    loop.call_soon_threadsafe(self._heed, change.document)

        end = self._records.subscribe(changed)
        try:
            await self._read_all()
            while True:
                await self._look()
                await self._sleep(_LOOK_SECONDS)
        finally:
            end()

    async def _read_all(self) -> None:
        after = ""
        while page := await asyncio.to_thread(self._records.documents, NODES, after=after, limit=_PAGE):
            for document in page:
                self._heed(document)
            after = page[-1].doc_id

    async def _look(self) -> None:
        try:
            await asyncio.to_thread(self._write)
        except PeatError as error:
            _log.warning("this node's document cannot be written", error=str(error))
        if not self._peers.sessions():
            with self._lock:
                known = list(self._ids.values())
            some = random.sample(known, min(_AT_ONCE, len(known)))
            await asyncio.gather(*(self._try(peer) for peer in some))

    async def _try(self, peer: EndpointId) -> None:
        with suppress(PeatError):
            await self._peers.reach(peer)

    def _write(self) -> None:
        """Again only where it says something else."""
        before = self._records.get(NODES, self._agent_id)
        fields = dict(before.fields) if before is not None else {"agent_id": self._agent_id}
        self._records.put(NODES, self._agent_id, fields | self._fields())

    def _fields(self) -> dict[str, str]:
        own = self._own()
        # Each at its own time of day, so that a large formation does not speak up all at once.
        offset = int.from_bytes(own.endpoint_id.value[:4], "big") % _DAY_SECONDS
        day = datetime.fromtimestamp(self._now() - offset, UTC).date()
        return {**self._about, _ENDPOINT: str(own), _ALIVE: day.isoformat()}

    def _heed(self, document: Document) -> None:
        said = document.fields.get(_ENDPOINT)
        if document.doc_id == self._agent_id or not isinstance(said, str):
            return
        try:
            peer = PeerAddress.parse(said)
        except ConfigError:
            return
        if peer.endpoint_id == self._own().endpoint_id:
            return
        with self._lock:
            if len(self._ids) < _KNOWN_LIMIT or document.doc_id in self._ids:
                self._ids[document.doc_id] = peer.endpoint_id
        if peer.addresses:
            self._peers.discovered(peer, "record")
