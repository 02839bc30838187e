"""Which wants begin next, who is asked, and which make way: by class, then by age. Does nothing itself."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.providers import Holder, Providers
from peat_sidecar.mesh.want import Entry
from peat_sidecar.rate import format_size

PLACES = 16
"""Of packages that are fetched at once."""
LARGE_PLACES = 4
"""That a large one takes: four of them fill a link, where small ones wait for round trips."""
SMALL_BYTES = 1 << 20
READ_AT_ONCE = 16
"""Of those that clients read while they come, beside the others: none of them waits for its turn."""
_BEHIND = "its turn; others of its class or a higher one go first"


@dataclass(slots=True)
class Turn:
    """What has to be done now."""

    begins: list[tuple[Entry, Holder]] = field(default_factory=list)
    stops: list[Entry] = field(default_factory=list)
    """Fetches that make way for one of a higher class; what they have got is kept."""
    waits: list[float] = field(default_factory=list)
    """Seconds after which something may be different although nothing was said."""
    seeks: set[EndpointId] = field(default_factory=set)
    """Those that are not connected and hold what waits for a peer."""


def next_turn(
    entries: Iterable[Entry],
    providers: Providers,
    sessions: frozenset[EndpointId],
    now: float,
    approve_above: int | None = None,
) -> Turn:
    """Of open wants; says in each that waits why. Those that lack more bytes than `approve_above` wait until
    they are approved.
    """
    turn = Turn()
    waiting, running = [], []
    for entry in entries:
        if entry.transfer is not None:
            running.append(entry)
        elif not entry.failed:
            waiting.append(entry)
    free = max(0, PLACES - sum(_places(each) for each in running if not each.readers))
    read = READ_AT_ONCE - sum(bool(each.readers) for each in running)
    lowest = max((each.transfer_class.rank for each in running if not each.is_stopped), default=0)
    stopping = sum(_places(each) for each in running if each.is_stopped)
    dialled = {each.fetch.holder.endpoint_id for each in running if each.fetch is not None} - sessions
    for entry in sorted(waiting, key=lambda each: _order(each, sessions)):
        if approve_above is not None and entry.missing_bytes > approve_above and not entry.row.approved:
            entry.why = (
                f"{format_size(entry.missing_bytes)} are more than {format_size(approve_above)}:"
                f" approve it with `peat-sidecar wants approve {entry.row.id}`"
            )
            continue
        if entry.not_before > now:
            turn.waits.append(entry.not_before - now)
            continue
        is_read = bool(entry.readers and read > 0)
        if is_read and (holder := _holder(entry, providers, dialled, turn)) is not None:
            read -= 1
            turn.begins.append((entry, holder))
            dialled |= {holder.endpoint_id} - sessions
        if is_read:
            continue
        if entry.offer is not None and not (free or stopping) and entry.transfer_class.rank >= lowest:
            entry.why = _BEHIND  # without a look at its holders, which takes long for a thousand
            continue
        holder = _holder(entry, providers, dialled, turn)
        if holder is None:
            continue
        needed = _places(entry)
        if needed <= free:
            free -= needed
            turn.begins.append((entry, holder))
            dialled |= {holder.endpoint_id} - sessions
            continue
        while needed > free + stopping and (victim := _lowest(entry, holder, running)) is not None:
            victim.is_stopped = True
            turn.stops.append(victim)
            stopping += _places(victim)
        entry.why = _BEHIND if needed > free + stopping else "its turn; another one makes way for it"
        free, stopping = 0, max(0, stopping + free - needed)  # what is free is kept for it
    return turn


def _places(entry: Entry) -> int:
    return 1 if entry.offer is not None and entry.offer.bytes <= SMALL_BYTES else LARGE_PLACES


def _holder(entry: Entry, providers: Providers, dialled: set[EndpointId], turn: Turn) -> Holder | None:
    """Whom to ask; None: nobody now. Of several wants one shows whether a peer can be reached."""
    if entry.offer is None:
        entry.why = f"{entry.row.name} is not known in the formation; it is looked for when records come"
        return None
    holders = providers.rank(entry.claims)
    for holder in holders:
        if holder.can_be_asked and holder.endpoint_id not in dialled:
            return holder
    gone = (each for each in holders if not each.connected and each.wait_seconds < math.inf)
    turn.seeks |= {each.endpoint_id for each in gone}
    turn.waits += [each.wait_seconds for each in holders if 0 < each.wait_seconds < math.inf]
    if not holders:
        entry.why = "nobody is known who holds it"
    elif all(each.wait_seconds == math.inf for each in holders):
        entry.failed = True
        entry.why = entry.row.last_error or "all who hold it gave wrong bytes"
    else:
        error = f": {entry.row.last_error}" if entry.row.last_error else ""
        entry.why = f"{len(holders)} hold it, and none of them can be reached or gives it now{error}"
    return None


def _lowest(entry: Entry, holder: Holder, running: Sequence[Entry]) -> Entry | None:
    """The fetch of a lower class that is the least loss."""
    rank = entry.transfer_class.rank
    lower = [each for each in running if not each.is_stopped and each.transfer_class.rank > rank]
    if not holder.connected:  # it may not be reached at all
        lower = [each for each in lower if each.fetch is not None and not each.fetch.was_connected]
    return max(lower, key=lambda each: (each.transfer_class.rank, each.row.created_at), default=None)


def _order(entry: Entry, sessions: frozenset[EndpointId]) -> tuple[int, bool, float, str]:
    row = entry.row
    return entry.transfer_class.rank, sessions.isdisjoint(entry.claims), row.created_at, row.id
