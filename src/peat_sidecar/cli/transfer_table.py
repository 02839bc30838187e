"""All transfers and the wants that wait, as lines of a table: what, class, how far, how fast, how long; below
each who brings it, and why it waits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.printing import clean, duration, middle, number, plural, short, size, word

NOTHING = "nothing is being transferred, and nothing is waited for"
_SOURCES_SHOWN = 4
_GAP = "  "
_INDENT = "  "
_FIXED = (8, 14, 8, 10)
"""Columns of class, bytes, rate and time left."""
_CLASSES = ("critical", "high", "normal", "low", "bulk")


@dataclass(frozen=True, slots=True)
class Line:
    """One of them."""

    text: str
    kind: Literal["head", "transfer", "sources", "waits", "note"]


def table(snapshot: Json, width: int) -> list[Line]:
    """At most `width` columns, 40 at least."""
    transfers, wants = running(snapshot), snapshot.get("wants", [])
    if not transfers and not wants:
        return [Line(middle(NOTHING, width), "note")]
    lines = [Line(_row(("WHAT", "CLASS", "DONE", "RATE", "LEFT"), width), "head")]
    for each in sorted(transfers, key=_rank):
        lines += _transfer(each, width)
    for each in wants:
        lines += _want(each, width)
    if more := number(snapshot.get("moreWants")):
        lines.append(Line(f"and {plural(more, 'want')} more that wait", "note"))
    return lines


def running(snapshot: Json) -> list[Json]:
    """Transfers that go on."""
    return [each for each in snapshot.get("transfers", []) if state(each) == "running"]


def state(transfer: Json) -> str:
    return word(transfer.get("state"), "TRANSFER_STATE_")


def sources(transfer: Json) -> str:
    """Who brings it, with shares; who does not, and why."""
    found: list[Json] = transfer.get("sources", [])
    told = [_source(each) for each in found[:_SOURCES_SHOWN]]
    told += [f"{len(found) - _SOURCES_SHOWN} more"] if len(found) > _SOURCES_SHOWN else []
    return clean("from " + ", ".join(told)) if told else ""


def last_event(transfer: Json) -> str:
    """What happened last, and when; empty where that says nothing new."""
    events: list[Json] = transfer.get("events", [])
    if not events or events[-1].get("kind") in ("source joined", "limit"):
        return ""
    event = events[-1]
    at = datetime.fromtimestamp(event.get("at", 0.0)).astimezone().strftime("%H:%M:%S")
    peer, detail = short(event.get("endpointId", "")), event.get("detail", "")
    return clean(" ".join(part for part in (at, event.get("kind", ""), peer, detail) if part))


def waits(transfer: Json) -> str:
    return clean(f"waits for {transfer['waitingFor']}") if transfer.get("waitingFor") else ""


def _transfer(transfer: Json, width: int) -> Iterator[Line]:
    rate, eta = transfer.get("bytesPerSecond", 0.0), transfer.get("etaSeconds", 0.0)
    kind = word(transfer.get("kind"), "TRANSFER_KIND_")
    cells = (
        transfer.get("subject", ""),
        _class(transfer) if kind == "fetch" else kind,
        _done(transfer),
        f"{size(round(rate))}/s",
        _left(eta),
    )
    yield Line(_row(cells, width), "transfer")
    for text, what in ((sources(transfer), "sources"), (waits(transfer), "waits")):
        if text:
            yield Line(_below(text, width), "sources" if what == "sources" else "waits")
    if event := last_event(transfer):
        yield Line(_below(event, width), "note")


def _want(want: Json, width: int) -> Iterator[Line]:
    name = str(want.get("name", ""))
    plain = name if "/" in name else want.get("reference") or short(name)
    cells = (plain, _class(want), _done(want), word(want.get("state"), "WANT_STATE_"), "")
    yield Line(_row(cells, width), "transfer")
    if want.get("why"):
        yield Line(_below(clean(want["why"]), width), "waits")


def _source(source: Json) -> str:
    how = word(source.get("state"), "SOURCE_STATE_")
    share = f"{short(source.get('endpointId', ''))} {source.get('share', 0.0):.0%}"
    return share if how in ("working", "idle") else f"{share} ({how})"


def _row(cells: tuple[str, str, str, str, str], width: int) -> str:
    what, *others = (clean(cell) for cell in cells)
    fixed = _FIXED if width >= 70 else _FIXED[1:3]
    others = others if width >= 70 else others[1:3]
    room = max(width - sum(fixed) - len(_GAP) * len(fixed), 8)
    padded = [middle(cell, space).rjust(space) for cell, space in zip(others, fixed, strict=True)]
    if width >= 70:
        padded[0] = others[0].ljust(fixed[0])
    return _GAP.join((middle(what, room).ljust(room), *padded)).rstrip()


def _below(text: str, width: int) -> str:
    room = width - len(_INDENT)
    return _INDENT + (text if len(text) <= room else f"{text[: room - 2]}..")


def _done(each: Json) -> str:
    total, done = number(each.get("totalBytes")), number(each.get("doneBytes"))
    return f"{done * 100 // total}% of {size(total)}" if total else size(done) if done else "-"


def _left(seconds: float) -> str:
    return duration(seconds).replace(" min ", "m").replace(" h ", "h").replace(" min", "m") if seconds else ""


def _class(each: Json) -> str:
    return word(each.get("transferClass"), "TRANSFER_CLASS_")


def _rank(transfer: Json) -> int:
    return _CLASSES.index(name) if (name := _class(transfer)) in _CLASSES else len(_CLASSES)
