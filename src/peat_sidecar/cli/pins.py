"""The commands `pin`, `unpin` and `pins`."""

import time
from typing import Annotated

import typer

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.printing import duration, plural, print_json, print_table, print_text
from peat_sidecar.cli.session import Session, asks_daemon

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A reference, a pattern of them, a root's digest, or a collection."),
]


@asks_daemon
def pin(session: Session, name: Name) -> None:
    """Keeps packages from being taken out for room, also those that are still to come."""
    answer = session.client.call("SetPin", {"name": name})
    if session.as_json:
        print_json(answer)
        return
    held = answer.get("packages", [])
    print_text(f"pinned {answer['pin']['name']}; {plural(len(held), 'package')} of it here now")


@asks_daemon
def unpin(session: Session, name: Name) -> None:
    """Takes a pin away; what it was for may go for room then."""
    answer = session.client.call("RemovePin", {"name": name})
    print_json(answer) if session.as_json else print_text(f"unpinned {name}")


@asks_daemon
def pins(session: Session) -> None:
    """Lists what is pinned."""
    found: list[Json] = session.client.call("ListPins").get("pins", [])
    if session.as_json:
        print_json({"pins": found})
    elif not found:
        print_text("no pins; `peat-sidecar pin` sets one")
    else:
        now = time.time()
        rows = [(each["name"], duration(max(0.0, now - each.get("createdAt", now)))) for each in found]
        print_table(("PIN", "SINCE"), rows, flexible=0, right=(1,))
