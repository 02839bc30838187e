"""The commands `peers ban`, `peers unban`, `peers bans`, `roster` and `roster load`."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.printing import print_json, print_line, print_pairs, print_text
from peat_sidecar.cli.roster import print_members
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId

_ROSTER_LIMIT_BYTES = 4 << 20

Peer = Annotated[str, typer.Argument(metavar="PEER", help="Its id.")]


@asks_daemon
def ban(
    session: Session,
    peer: Peer,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="For whoever reads the list of bans.")
    ] = None,
) -> None:
    """Keeps a peer out: its connections are closed, and its records count no more here."""
    id = EndpointId.parse(peer.partition("@")[0])
    answer = session.client.call("BanPeer", {"endpointId": str(id), "reason": reason or ""})
    if session.as_json:
        print_json(answer)
    else:
        print_line(f"banned {id}")
        print_text(answer.get("note", ""))


@asks_daemon
def unban(session: Session, peer: Peer) -> None:
    """Lets a banned peer in again."""
    id = EndpointId.parse(peer.partition("@")[0])
    answer = session.client.call("UnbanPeer", {"endpointId": str(id)})
    print_json(answer) if session.as_json else print_line(f"unbanned {id}")


@asks_daemon
def bans(session: Session) -> None:
    """Lists the peers that are kept out."""
    answer = session.client.call("ListBans")
    found: list[Json] = answer.get("bans", [])
    if session.as_json:
        print_json({"bans": found} | answer)
        return
    if not found:
        print_text("no peer is banned")
        return
    for each in found:
        print_line(each.get("endpointId", ""))
        reason = f": {each['reason']}" if each.get("reason") else ""
        print_text(f"{_when(each.get('bannedAt', 0.0))}{reason}", indent="  ")
    print_text(answer.get("note", ""))


@asks_daemon
def roster(session: Session) -> None:
    """Shows the roster in force; those below make one, from files, and load it."""
    answer = session.client.call("GetRoster")
    if session.as_json:
        print_json(answer)
        return
    if not answer.get("required"):
        print_text("admission is by the key alone: no roster is in force")
        return
    found: Json | None = answer.get("roster")
    if found is None:
        print_pairs([("admin", answer.get("admin", ""))])
        print_text(
            "no roster is known yet, so nobody may join; load one with `peat-sidecar roster load FILE`"
        )
    else:
        _print_roster(found, answer.get("admin", ""))
    if answer.get("lastRefusal"):
        print_text(f"the last one that came was not taken: {answer['lastRefusal']}")


@asks_daemon
def load(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `peat-sidecar roster sign` wrote it.")],
) -> None:
    """Gives the daemon a signed roster, which spreads from there to all members that have one."""
    try:
        with file.expanduser().open("rb") as opened:
            data = opened.read(_ROSTER_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the roster {file} cannot be read: {error.strerror}; name another file") from None
    if len(data) > _ROSTER_LIMIT_BYTES:
        raise ConfigError(f"{file} has more than {_ROSTER_LIMIT_BYTES:,} bytes, which no roster has")
    answer = session.client.call("LoadRoster", {"signedRoster": base64.b64encode(data).decode()})
    if session.as_json:
        print_json(answer)
    else:
        _print_roster(answer.get("roster", {}))


def _print_roster(found: Json, admin: str = "") -> None:
    pairs = [
        ("formation", found.get("appId", "")),
        ("admin", admin),
        ("signed", _when(found.get("signedAt", 0.0))),
    ]
    print_pairs([(title, value) for title, value in pairs if value])
    print_members(
        (each.get("endpointId", ""), each.get("agentId", ""), each.get("role", ""))
        for each in found.get("entries", [])
    )


def _when(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return "at an unknown time"
