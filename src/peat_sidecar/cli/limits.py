"""The commands `limits`, `limits set` and `limits clear`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.printing import print_json, print_line, print_pairs, print_text
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId
from peat_sidecar.rate import format_rate

_PLAIN = {"up": "up", "down": "down", "total": "total", "zone": "timeZone"}
_KINDS = "up, down, total, peer ID, class NAME, zone or share"


@asks_daemon
def show(session: Session) -> None:
    """Shows how fast bytes may go, and what holds at this moment."""
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
        typer.Argument(metavar="WHAT RATE", help=f"{_KINDS}; then the rate, or its zone or share."),
    ],
) -> None:
    """Limits something from now on, also after a restart."""
    limits, rest = _parse(what)
    value = " ".join(rest).strip()
    if not value:
        raise ConfigError("no rate is named; one looks like 512 kbit/s, or unlimited")
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
    if kind in ("peer", "class"):
        if not rest:
            raise ConfigError(f"no {kind} is named; it goes behind the word {kind}")
        name, *rest = rest
        if kind == "peer":
            return {"peers": {str(EndpointId.parse(name)): None}}, rest
        return {"classes": {name: None}}, rest
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
    if not texts:
        print_text("nothing is limited; `peat-sidecar limits set up 512 kbit/s` does that, for example")
    pairs = [
        ("time zone", limits.get("timeZone", "UTC")),
        ("share of lower classes", f"{limits.get('classShare', 0.0):.3g}"),
    ]
    if answer.get("nextChangeAt"):
        at = datetime.fromtimestamp(answer["nextChangeAt"], UTC)
        pairs.append(("next change", at.strftime("%Y-%m-%d %H:%M UTC")))
    print_pairs(pairs)
