"""Something on a terminal that is redrawn in place, and what signals do meanwhile."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live

from peat_sidecar.cli.client import Json

SPARE_COLUMNS = 4
"""At the right: a terminal writes ^C there."""

Render = Callable[[Json, int], RenderableType]
"""From a state and the width of the terminal."""


@contextmanager
def drawing(render: Render, *, to_error: bool, transient: bool) -> Iterator["Drawing"]:
    """What is to be called with each state; `transient`: it is taken away at the end."""
    console = Console(stderr=to_error, highlight=False)
    with Live(console=console, transient=transient, auto_refresh=False) as live:
        drawn = Drawing(render, live, console)
        handlers = {signal.SIGINT: drawn.interrupt, signal.SIGTERM: _leave}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield drawn
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Drawing:
    """Draws the state that it is called with. Ctrl-C waits until it is drawn, so that nothing of it is left
    behind.
    """

    def __init__(self, render: Render, live: Live, console: Console) -> None:
        self._render = render
        self._live = live
        self._console = console
        self._drawing = False
        self._interrupted = False

    def __call__(self, state: Json) -> None:
        self._drawing = True
        self._live.update(self._render(state, self._console.width), refresh=True)
        self._drawing = False
        if self._interrupted:
            raise KeyboardInterrupt

    def interrupt(self, number: int, frame: object) -> None:
        """What SIGINT does."""
        self._interrupted = True
        if not self._drawing:
            raise KeyboardInterrupt


def _leave(number: int, frame: object) -> None:
    """What SIGTERM does: the terminal gets its cursor back."""
    sys.exit(128 + number)
