"""Tells what the demo does: steps, facts, and a bar that moves; in 80 columns, on a terminal or in a file."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

_WIDTH = 80


class Story:
    """Prints to standard output. Nothing here decides anything."""

    def __init__(self) -> None:
        self._console = Console(width=_WIDTH, highlight=False)
        self._step = 0
        self._started = time.monotonic()

    def step(self, title: str) -> None:
        """Begins the next step."""
        self._step += 1
        self._console.print(f"\n[bold]{self._step}. {title}[/]")

    def fact(self, text: str) -> None:
        """One line within a step; long digests are broken where they must be."""
        self._console.print(f"   {text}", soft_wrap=False)

    def bar(self, label: str, total: int) -> "Bar":
        """A context manager whose value takes the bytes done so far."""
        return Bar(self._console, label, total)

    def end(self, text: str, good: bool) -> None:
        """The last line."""
        seconds = time.monotonic() - self._started
        style = "bold green" if good else "bold red"
        self._console.print(f"\n[{style}]{text}[/] ({seconds:.0f} s)")


class Bar:
    """Progress of one transfer: a moving bar on a terminal, else a line for each tenth."""

    def __init__(self, console: Console, label: str, total: int) -> None:
        self._console = console
        self._label = label
        self._total = total
        self._tenths = -1
        self._progress = Progress(
            TextColumn("   {task.description}"),
            BarColumn(bar_width=28),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            auto_refresh=False,
        )
        self._task = self._progress.add_task(label, total=total)

    def __enter__(self) -> Callable[[int], None]:
        if self._console.is_terminal:
            self._progress.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def _show(self, done: int) -> None:
        if self._console.is_terminal:
            self._progress.update(self._task, completed=done, refresh=True)
        elif (tenths := done * 10 // max(1, self._total)) != self._tenths:
            self._tenths = tenths
            self._console.print(f"   {self._label}: {done / 1e6:.1f} of {self._total / 1e6:.1f} MB")
