"""The bar of a transfer on a terminal: how far, how fast, how long, and what it waits for.

Two lines on standard error, redrawn in place and taken away at the end.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.printing import clean, duration, middle, number, plural, size, word

_REFRESHES_PER_SECOND = 5
_KINDS = {"import": "importing", "fetch": "fetching", "export": "exporting"}


@contextmanager
def bar() -> Iterator["Bar"]:
    """A bar that is called with each state of a transfer."""
    console = Console(stderr=True, highlight=False)
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        with Live(console=console, transient=True, refresh_per_second=_REFRESHES_PER_SECOND) as live:
            yield Bar(live, console)
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: object) -> None:
    """So that the terminal gets its cursor back."""
    sys.exit(128 + number)


class Bar:
    """Draws the state that it is called with."""

    def __init__(self, live: Live, console: Console) -> None:
        self._live = live
        self._console = console

    def __call__(self, transfer: Json) -> None:
        self._live.update(render(transfer, self._console.width), refresh=True)


def render(transfer: Json, width: int) -> RenderableType:
    """At most `width` columns, two lines."""
    kind = word(transfer.get("kind"), "TRANSFER_KIND_")
    total, done = number(transfer.get("totalBytes")), number(transfer.get("doneBytes"))
    rate, eta = transfer.get("bytesPerSecond", 0), transfer.get("etaSeconds", 0)
    waits = transfer.get("waitingFor", "")
    head = f"{_KINDS.get(kind, kind)} {transfer.get('subject', '')}"
    grid = Table.grid(padding=(0, 1))
    grid.add_column(ratio=1)
    for _ in range(4):
        grid.add_column(no_wrap=True, justify="right")
    grid.expand = True
    grid.add_row(
        ProgressBar(total=total or None, completed=min(done, total), pulse=not total),
        Text(f"{done * 100 // total} %" if total else "", style="progress.percentage"),
        Text(f"{size(done)}/{size(total)}" if total else size(done), style="progress.download"),
        Text(f"{size(round(rate))}/s", style="progress.data.speed"),
        Text(f"{duration(eta)} left" if eta else "", style="progress.remaining"),
    )
    blobs = number(transfer.get("totalBlobs"))
    state = f"waiting for {waits}" if waits else ""
    if not state and blobs > 1:
        state = f"{number(transfer.get('doneBlobs'))} of {plural(blobs, 'blob')}"
    tail = middle(clean(state), max(width // 2, 10))
    line = Text(middle(clean(head), max(width - len(tail) - 2, 10)), style="bold", no_wrap=True)
    line.append(f"  {tail}" if tail else "", style="yellow" if waits else "none")
    line.truncate(width, overflow="ellipsis")
    return Group(line, grid)
