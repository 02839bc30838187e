"""The bar of a transfer on a terminal: how far, how fast, how long, and what it waits for.

Two lines on standard error, redrawn in place and taken away at the end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.drawing import SPARE_COLUMNS, Drawing, drawing
from peat_sidecar.cli.printing import clean, duration, middle, number, plural, size, word

_STEADY_COLUMNS = (5, 14, 8, 10)
"""Share, bytes, rate and time left: so that the bar keeps its length."""
_KINDS = {"import": "importing", "fetch": "fetching", "export": "exporting", "verify": "verifying"}


@contextmanager
def bar() -> Iterator[Drawing]:
    """A bar that is called with each state of a transfer."""
    with drawing(render, to_error=True, transient=True) as drawn:
        yield drawn


def render(transfer: Json, width: int) -> RenderableType:
    """At most `width` columns, two lines."""
    kind = word(transfer.get("kind"), "TRANSFER_KIND_")
    total, done = number(transfer.get("totalBytes")), number(transfer.get("doneBytes"))
    rate, eta = transfer.get("bytesPerSecond", 0), transfer.get("etaSeconds", 0)
    waits = transfer.get("waitingFor", "")
    head = f"{_KINDS.get(kind, kind)} {transfer.get('subject', '')}"
    grid = Table.grid(padding=(0, 1))
    grid.add_column(ratio=1)
    for least in _STEADY_COLUMNS:
        grid.add_column(no_wrap=True, justify="right", min_width=least if width >= 80 else None)
    grid.width = max(width - SPARE_COLUMNS, 20)
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
