"""How much of a want's time is left, where the time of day may be set while it runs.

A machine may begin in 1970 and learn the time later. So what is left is counted by a clock that is never set,
and only what is remembered over a restart is a time of day; it is moved when that was set.
"""

from dataclasses import replace

from peat_sidecar.mesh.want import Entry
from peat_sidecar.state import WantRow

LOOK_SECONDS = 600.0
"""So often what is remembered is held against the time of day."""
_SET_SECONDS = 60.0
"""By which the time of day has to be other than expected to have been set."""


def seconds_left(entry: Entry, now: float, clock: float) -> float:
    """Of a want with a deadline; never more than it was given."""
    row = entry.row
    if entry.due is None:
        entry.due = clock + min(row.deadline - now, row.deadline - row.created_at)
    return entry.due - clock


def moved(row: WantRow, left: float, now: float) -> WantRow | None:
    """As it has to be remembered when the time of day was set; None while it was not."""
    later = now + left - row.deadline
    if abs(later) <= _SET_SECONDS:
        return None
    return replace(row, created_at=row.created_at + later, deadline=row.deadline + later)
