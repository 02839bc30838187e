"""The commands `wants`, `wants add`, `wants approve`, `wants cancel`, `wants class` and `quote`."""

import re
import time
from enum import StrEnum
from typing import Annotated

import typer

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.printing import (
    duration,
    number,
    plural,
    print_json,
    print_line,
    print_pairs,
    print_table,
    print_text,
    short,
    size,
    word,
)
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.errors import ConfigError
from peat_sidecar.rate import format_rate

_TIME = re.compile(r"(\d+(?:\.\d+)?) ?([smhd])", re.ASCII)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

Id = Annotated[str, typer.Argument(metavar="ID", help="As `peat-sidecar wants` lists it.")]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A reference, a root's digest, or a collection's hash.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="However large it is.")]
Arch = Annotated[str | None, typer.Option(metavar="ARCH", help="Where a reference has several: as amd64.")]


class ClassName(StrEnum):
    """What goes first."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    BULK = "bulk"


@asks_daemon
def list_(session: Session) -> None:
    """Lists the packages that are wanted here."""
    answer = session.client.call("ListWants")
    found: list[Json] = answer.get("wants", [])
    if session.as_json:
        print_json({"wants": found})
        return
    if not found:
        print_text("nothing is wanted; add something with `peat-sidecar wants add NAME`")
        return
    rows = [
        (
            each.get("id", ""),
            _state(each),
            _class(each),
            each.get("origin", ""),
            _done(each),
            _shown_name(each),
        )
        for each in found
    ]
    print_table(("ID", "STATE", "CLASS", "BY", "DONE", "WHAT"), rows, flexible=5)
    for each in found:
        if each.get("why"):
            print_text(f"{each.get('id', '')}: {each['why']}")
        if left := _left(each):
            print_text(f"{each.get('id', '')}: {left}")


@asks_daemon
def add(
    session: Session,
    name: Name,
    class_: Annotated[ClassName, typer.Option("--class", help="What goes first.")] = ClassName.NORMAL,
    arch: Arch = None,
    export: Annotated[
        str | None,
        typer.Option(metavar="HOST[:PORT]", help="A registry that it is written to when it is here."),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long it is wanted, as 30m, 6h or 2d; else for ever."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Wants a package: it is fetched as soon as somebody has it, also after a restart."""
    request: Json = {"name": name, "transferClass": _enum(class_), "arch": arch or ""}
    request |= {"exportTo": export or ""} | ({"approved": True} if yes else {})
    if deadline is not None:
        request["deadlineSeconds"] = _seconds(deadline)
    _print(session, session.client.call("AddWant", request))


@asks_daemon
def approve(session: Session, id: Id) -> None:
    """Lets a want be as large as it is."""
    _print(session, session.client.call("ApproveWant", {"id": id}))


@asks_daemon
def cancel(session: Session, id: Id) -> None:
    """Wants a package no more; what came of it is kept."""
    answer = session.client.call("CancelWant", {"id": id})
    print_json(answer) if session.as_json else print_text(f"cancelled {id}")


@asks_daemon
def set_class(
    session: Session,
    id: Id,
    class_: Annotated[
        ClassName, typer.Argument(metavar="CLASS", help="critical, high, normal, low or bulk.")
    ],
) -> None:
    """Says how urgent a want is."""
    _print(session, session.client.call("SetWantClass", {"id": id, "transferClass": _enum(class_)}))


@asks_daemon
def quote(session: Session, name: Name) -> None:
    """Says what getting a package would take: how much is missing, who has it, how long."""
    answer = session.client.call("Quote", {"name": name})
    if session.as_json:
        print_json(answer)
        return
    providers: list[Json] = answer.get("providers", [])
    eta, rate = answer.get("etaSeconds", 0.0), answer.get("bytesPerSecond", 0.0)
    whole = f"{size(answer.get('missingBytes'))} missing of {size(answer.get('totalBytes'))}"
    limit, free = answer.get("limitBytesPerSecond", 0.0), number(answer.get("freeBytes"))
    parts = [whole, plural(len(providers), "peer")]
    parts += [f"{duration(eta)} at {size(round(min(rate or limit, limit or rate)))}/s"] if eta else []
    print_text(", ".join(parts))
    if limit and (not rate or limit < rate):
        print_text(f"a limit of {format_rate(limit)} holds; `peat-sidecar limits` shows it")
    room = "enough" if answer.get("fits") else "too little"
    print_text(f"{size(free)} free on the disk, {room}")
    print_pairs(
        [
            (title, value)
            for title, value in (("root", answer.get("root", "")), ("hash", answer.get("collection", "")))
            if value
        ]
    )
    for each in providers:
        connected = "connected" if each.get("connected") else "not connected"
        print_line(f"{each.get('endpointId', '')}")
        print_text(f"{each.get('state', '')}, {connected}, {each.get('agentId', '')}", indent="  ")


def _print(session: Session, answer: Json) -> None:
    want: Json = answer.get("want", {})
    if session.as_json:
        print_json(answer)
        return
    print_pairs(
        [
            ("want", want.get("id", "")),
            ("what", want.get("name", "")),
            ("class", _class(want)),
            ("state", _state(want)),
        ]
    )
    if want.get("why"):
        print_text(want["why"])
    if left := _left(want):
        print_text(left)


def _shown_name(want: Json) -> str:
    """A reference where one is known: a hash or digest says nothing to people, and is cut."""
    name, arch = str(want.get("name", "")), want.get("arch", "")
    plain = name if "/" in name else want.get("reference") or short(name)
    return f"{plain} ({arch})" if arch else plain


def _done(want: Json) -> str:
    total, done = number(want.get("totalBytes")), number(want.get("doneBytes"))
    return f"{done * 100 // total}% of {size(total)}" if total else "-"


def _left(want: Json) -> str:
    """How long it is until its deadline; empty where it has none, or has ended."""
    deadline = float(want.get("deadline", 0))
    if not deadline or _state(want) not in ("waiting", "fetching"):
        return ""
    return f"it fails in {duration(max(0.0, deadline - time.time()))} unless it is here"


def _seconds(text: str) -> float:
    """From `90s`, `30m`, `6h` or `2d`."""
    found = _TIME.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise ConfigError(f"{text[:80]!r} is no time; one looks like 90s, 30m, 6h or 2d")
    return float(found[1]) * _UNITS[found[2]]


def _state(want: Json) -> str:
    return word(want.get("state"), "WANT_STATE_")


def _class(want: Json) -> str:
    return word(want.get("transferClass"), "TRANSFER_CLASS_")


def _enum(class_: ClassName) -> str:
    return f"TRANSFER_CLASS_{class_.name}"
