"""The commands `limits`, `limits set` and `limits clear`."""

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.printing import (
    number,
    print_json,
    print_line,
    print_pairs,
    print_table,
    print_text,
    size,
)
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId
from peat_sidecar.rate import format_rate

_PLAIN = {
    "up": "up",
    "down": "down",
    "total": "total",
    "zone": "timeZone",
    "approve-above": "approveAbove",
}
_NAMED = {"peer": "peers", "class": "classes", "budget": "budgets", "metered": "metered"}
_KINDS = (
    "up, down, total, peer ID, class NAME, budget PLACE, metered PLACE, approve-above, zone or share"
    " (PLACE: any, interface NAME, or addresses as 10.0.0.0/8)"
)


@asks_daemon
def show(session: Session) -> None:
    """Shows how fast bytes may go and how many, what holds at this moment, and what of it is used."""
    answer = session.client.call("GetLimits")
    if session.as_json:
        print_json(answer)
    else:
        _print(answer)


@asks_daemon
def set_(
    session: Session,
    what: Annotated[
        list[str],
        typer.Argument(metavar="WHAT VALUE", help=f"{_KINDS}; then the rate, amount, class, zone or share."),
    ],
) -> None:
    """Limits something from now on, also after a restart."""
    limits, rest = _parse(what)
    value = " ".join(rest).strip()
    if not value:
        raise ConfigError("no rate or value is named; a rate looks like 512 kbit/s, or unlimited")
    _fill(limits, value)
    _change(session, {"limits": limits})


@asks_daemon
def clear(
    session: Session,
    what: Annotated[list[str], typer.Argument(metavar="WHAT", help=f"{_KINDS}; or all.")],
) -> None:
    """Takes a limit back that was set; what the daemon was started with holds again."""
    if what == ["all"]:
        _change(session, {"clear": True})
        return
    limits, rest = _parse(what)
    if rest:
        raise ConfigError(f"{' '.join(rest)[:80]!r} does not belong there; name {_KINDS}, or all")
    _fill(limits, "" if "classShare" not in limits else "-1")
    _change(session, {"limits": limits})


def _parse(words: list[str]) -> tuple[Json, list[str]]:
    """A request with an empty place for the value, and what stands behind the name."""
    kind, *rest = words
    if kind in _PLAIN:
        return {_PLAIN[kind]: None}, rest
    if kind == "share":
        return {"classShare": None}, rest
    if kind in _NAMED:
        if not rest:
            raise ConfigError(f"nothing is named; what it is for goes behind the word {kind}")
        name, *rest = rest
        if kind == "peer":
            name = str(EndpointId.parse(name))
        if kind in ("budget", "metered") and name == "interface" and rest:
            name, rest = f"{name} {rest[0]}", rest[1:]
        return {_NAMED[kind]: {name: None}}, rest
    raise ConfigError(f"{kind[:80]!r} cannot be limited; name {_KINDS}")


def _fill(limits: Json, value: str) -> None:
    for field, place in limits.items():
        if isinstance(place, dict):
            limits[field] = dict.fromkeys(place, value)
        elif field == "classShare":
            try:
                limits[field] = float(value)
            except ValueError:
                raise ConfigError(f"{value[:40]!r} is no share; it is a number from 0 to 0.5") from None
        else:
            limits[field] = value


def _change(session: Session, request: Json) -> None:
    answer = session.client.call("SetLimits", request)
    if session.as_json:
        print_json(answer)
    else:
        _print(answer)


def _print(answer: Json) -> None:
    limits: Json = answer.get("limits", {})
    texts: dict[str, str] = {name: limits[name] for name in ("up", "down", "total") if name in limits}
    texts |= {f"peer {peer}": text for peer, text in limits.get("peers", {}).items()}
    texts |= {f"class {name}": text for name, text in limits.get("classes", {}).items()}
    now = {each.get("name", ""): each.get("bytesPerSecond", 0.0) for each in answer.get("now", [])}
    for name, text in texts.items():
        print_line(name)
        rate = format_rate(now.get(name) or None)
        print_text(text if text == rate else f"{text} (now {rate})", indent="  ")
    if not (texts or limits.get("budgets") or limits.get("metered") or limits.get("approveAbove")):
        print_text("nothing is limited; `peat-sidecar limits set up 512 kbit/s` does that, for example")
    _print_amounts(limits, answer.get("used", []))
    pairs = [
        ("time zone", limits.get("timeZone", "UTC")),
        ("share of lower classes", f"{limits.get('classShare', 0.0):.3g}"),
    ]
    if answer.get("nextChangeAt"):
        at = datetime.fromtimestamp(answer["nextChangeAt"], UTC)
        pairs.append(("next change", at.strftime("%Y-%m-%d %H:%M UTC")))
    print_pairs(pairs)


def _print_amounts(limits: Json, used: list[Json]) -> None:
    rows = [
        (
            each.get("place", ""),
            each.get("direction", ""),
            each.get("period", ""),
            size(each.get("usedBytes")),
            size(max(0, number(each.get("amountBytes")) - number(each.get("usedBytes")))),
            _clock(each),
        )
        for each in used
    ]
    if rows:
        print_table(("BUDGET", "OF", "A", "USED", "LEFT", "ANEW AT"), rows, flexible=0)
    for place, text in limits.get("budgets", {}).items():
        print_text(f"budget {place}: {text}")
    for place, name in limits.get("metered", {}).items():
        print_text(f"metered {place}: only what is {name} or goes before it")
    if limits.get("approveAbove"):
        print_text(f"more than {limits['approveAbove']} is approved first, by `peat-sidecar wants approve`")


def _clock(use: Json) -> str:
    """When counting begins anew, by the budget's own clock."""
    at = datetime.fromtimestamp(use.get("until", 0.0), ZoneInfo(use.get("timeZone", "UTC")))
    return at.strftime("%Y-%m-%d %H:%M %Z")
