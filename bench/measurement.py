"""How things are measured here: interleaved rounds, medians, ratios; and the table that shows them.

Contestants of one comparison take turns within each round, and each round begins with another of them, so
that a machine that slows down or warms up does so for all of them. Dirty pages are written out before each
turn, so that nobody pays for what another has left. Timings never decide an exit code: machines differ.
"""

import argparse
import asyncio
import os
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

MEGABYTE = 1_000_000
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    subject: str
    """What was measured."""
    ours: str
    """Our figure, with its unit."""
    peer: str
    """The figure beside it and whose it is; empty where there is none."""
    result: str
    """What the target is about: a ratio or the figure itself."""
    target: str
    """As the project's budget says it; empty where the row is for information."""
    met: bool | None
    """Whether the target is met; None where there is none."""


@dataclass(slots=True)
class Report:
    """Collects rows and prints them."""

    console: Console
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Keeps the row and says it at once, so that a long run shows where it is."""
        self.rows.append(row)
        self.console.print(
            f"{row.subject}: {row.ours}" + (f" / {row.peer}" if row.peer else "") + f" -> {row.result}",
            highlight=False,
        )

    def print(self) -> None:
        """The table, and how many targets were met."""
        table = Table(show_lines=False, pad_edge=False)
        for column in ("what", "ours", "beside it", "result", "target", ""):
            table.add_column(column, overflow="fold")
        for row in self.rows:
            verdict = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[row.met]
            table.add_row(row.subject, row.ours, row.peer, row.result, row.target, verdict)
        self.console.print(table)
        judged = [row for row in self.rows if row.met is not None]
        self.console.print(f"{sum(bool(row.met) for row in judged)} of {len(judged)} targets met")


async def interleaved(
    rounds: int, contestants: Mapping[str, Callable[[], Awaitable[float]]], console: Console
) -> dict[str, list[float]]:
    """Seconds of each contestant, one figure a round."""
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            await asyncio.to_thread(os.sync)
            taken = await contestants[name]()
            seconds[name].append(taken)
            console.print(f"  round {turn + 1}, {name}: {taken:.2f} s", highlight=False)
    return seconds


async def side_by_side(
    rounds: int,
    subject: str,
    ours: Callable[[], Awaitable[float]],
    theirs: Callable[[], Awaitable[float]],
    console: Console,
) -> tuple[list[float], list[float]]:
    """Seconds of ours and of a peer's, one figure a round."""
    contestants = {f"{subject}, ours": ours, f"{subject}, beside it": theirs}
    first, second = (await interleaved(rounds, contestants, console)).values()
    return first, second


def rate(size_bytes: int, seconds: Sequence[float]) -> str:
    """Median and range in MB/s, as `284 [200-348] MB/s`."""
    rates = sorted(size_bytes / MEGABYTE / second for second in seconds)
    return f"{statistics.median(rates):.0f} [{rates[0]:.0f}-{rates[-1]:.0f}] MB/s"


def speed_row(
    subject: str,
    size_bytes: int,
    ours: Sequence[float],
    peer: Sequence[float],
    peer_name: str,
    *,
    at_least: float | None,
    aim: str = "",
) -> Row:
    """A comparison of speeds: how much of the peer's speed ours is."""
    ratio = statistics.median(peer) / statistics.median(ours)
    return Row(
        subject,
        rate(size_bytes, ours),
        f"{rate(size_bytes, peer)} {peer_name}",
        f"{ratio:.2f}",
        "" if at_least is None else f">= {at_least:.2f}{aim}",
        None if at_least is None else ratio >= at_least,
    )


def limit_row(subject: str, value: float, unit: str, *, under: float, beside: str = "") -> Row:
    """A figure that must stay under a limit."""
    text = f"{value:.1f} {unit}" if value < 1000 else f"{value:.0f} {unit}"
    return Row(subject, text, beside, text, f"< {under:g} {unit}", value < under)


def parse_size(text: str) -> int:
    """Bytes from `500M`, `4G` (decimal), `4Gi`, `64Ki` (binary) or a plain number."""
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    digits = text.rstrip("KMGi")
    unit = text[len(digits) :]
    if not digits.isdigit() or unit not in units or int(digits) == 0:
        raise ValueError(f"{text!r} is no size; one looks like 500M or 4Gi")
    return int(digits) * units[unit]


def size_text(size_bytes: int) -> str:
    """The short form that `parse_size` reads."""
    for unit, factor in (
        ("Gi", 2**30),
        ("Mi", 2**20),
        ("G", 10**9),
        ("M", 10**6),
        ("Ki", 2**10),
        ("K", 10**3),
    ):
        if size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)


def rate_text(bits_per_second: float) -> str:
    """As `2 Mbit/s` or `256 kbit/s`, with three digits."""
    if bits_per_second >= 1e6:
        return f"{bits_per_second / 1e6:.3g} Mbit/s"
    return f"{bits_per_second / 1e3:.3g} kbit/s"


def some_of(text: str, names: Sequence[str]) -> list[str]:
    """The names in `a,b,c`, for an option; `argparse.ArgumentTypeError` where one is unknown."""
    chosen = text.split(",")
    unknown = set(chosen) - set(names)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no rows are named {', '.join(sorted(unknown))}; there are {', '.join(names)}"
        )
    return chosen
