"""Printing: documents for programs, short texts and tables for people.

What comes from elsewhere (names, media types, messages) is shown without control characters, so that nobody
who makes a package can write to the terminal of who lists it.
"""

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_GAP = "  "
_SHORT = 10


def print_json(document: Any, *, one_line: bool = False) -> None:
    """One document, or one line of a stream of them."""
    print(json.dumps(document, indent=None if one_line else 2), flush=one_line)


def print_line(text: str = "") -> None:
    """A line that is not broken, for what is to be copied."""
    print(clean(text))


def print_text(text: str, *, indent: str = "") -> None:
    """Broken at the width of the terminal."""
    print(wrapped(text, indent))


def print_error(text: str) -> None:
    """To standard error."""
    print(wrapped(text, width=_columns(sys.stderr)), file=sys.stderr)


def print_pairs(pairs: Sequence[tuple[str, str]], *, indent: str = "") -> None:
    """A name and a value a line; values are not broken."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        print_line(f"{indent}{name:<{width}}  {value}".rstrip())


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, flexible: int, right: Sequence[int] = ()
) -> None:
    """Columns as wide as they need; the `flexible` one gives way where the terminal is too narrow. Into a
    pipe nothing is cut.
    """
    cells = [list(heads), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    columns = _columns(sys.stdout)
    if columns is not None:
        others = sum(widths) - widths[flexible] + len(_GAP) * (len(heads) - 1)
        widths[flexible] = max(min(widths[flexible], columns - others), len(heads[flexible]))
    for row in cells:
        row[flexible] = middle(row[flexible], widths[flexible])
        line = _GAP.join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print(line.rstrip())


def wrapped(text: str, indent: str = "", width: int | None = None) -> str:
    """Broken between words, at the width of standard output unless another one is named."""
    columns = width or _columns(sys.stdout) or 10_000
    lines = textwrap.wrap(
        clean(" ".join(text.split())),
        columns,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    return "\n".join(lines) or indent


def clean(text: str) -> str:
    """Without what a terminal would obey."""
    return _CONTROL.sub("?", text)


def middle(text: str, width: int) -> str:
    """Cut in the middle to that many characters: both ends of references and paths matter."""
    if len(text) <= width:
        return text
    if width < 8:
        return text[: max(width, 0)]
    left = (width - 2) // 2
    return f"{text[:left]}..{text[len(text) - (width - 2 - left) :]}"


def short(name: str) -> str:
    """The beginning of a hash, digest or id, enough to tell them apart."""
    algorithm, colon, digits = name.rpartition(":")
    return f"{algorithm}{colon}{digits[:_SHORT]}" if len(digits) > _SHORT else name


def size(count: object) -> str:
    """Bytes for people, in powers of ten as registries show them."""
    value, units = float(number(count)), ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
    unit = units.pop(0)
    while value >= 999.5 and units:
        value, unit = value / 1000, units.pop(0)
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def number(value: object) -> int:
    """A 64-bit number, which JSON has as a text; 0 where it was left out."""
    return int(value) if isinstance(value, (int, str)) and value else 0


def duration(seconds: float) -> str:
    """`4 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def word(enum: object, prefix: str) -> str:
    """`partial` from `BLOB_STATE_PARTIAL`."""
    return str(enum or "unknown").removeprefix(prefix).lower()


def plural(count: int, noun: str) -> str:
    """`1 blob`, `2 blobs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _columns(stream: Any) -> int | None:
    """Of the terminal that it is; None where it is none."""
    return max(shutil.get_terminal_size().columns, 40) if stream.isatty() else None
