"""The table of transfers on a terminal, with colours, redrawn in place; it stays there at the end."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group, RenderableType
from rich.text import Text

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.drawing import SPARE_COLUMNS, Drawing, drawing
from peat_sidecar.cli.transfer_table import table

_STYLES = {"head": "bold", "transfer": "none", "sources": "dim", "waits": "yellow", "note": "dim"}


@contextmanager
def live_table() -> Iterator[Drawing]:
    """A table that is called with each snapshot."""
    with drawing(render, to_error=False, transient=False) as drawn:
        yield drawn


def render(snapshot: Json, width: int) -> RenderableType:
    """At most `width` columns."""
    lines = table(snapshot, width - SPARE_COLUMNS)
    return Group(*(Text(each.text, style=_STYLES[each.kind], no_wrap=True) for each in lines))
