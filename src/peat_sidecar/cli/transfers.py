"""The commands `transfers`, `transfers watch` and `transfers cancel`."""

from typing import Annotated

import typer

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.printing import (
    number,
    print_json,
    print_table,
    print_text,
    size,
    word,
)
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.cli.watching import watch as watch_transfer

Id = Annotated[str, typer.Argument(metavar="ID", help="As `peat-sidecar transfers` lists it.")]


@asks_daemon
def list_(session: Session) -> None:
    """Lists running transfers and those that ended last; watch or cancel one by its id."""
    answer = session.client.call("ListTransfers")
    found: list[Json] = answer.get("transfers", [])
    if session.as_json:
        print_json({"transfers": found})
        return
    if not found:
        print_text("no transfers since the daemon started")
        return
    rows = [
        (
            each.get("id", ""),
            word(each.get("kind"), "TRANSFER_KIND_"),
            word(each.get("state"), "TRANSFER_STATE_"),
            _done(each),
            each.get("subject", ""),
        )
        for each in found
    ]
    print_table(("ID", "KIND", "STATE", "DONE", "WHAT"), rows, flexible=4)
    for each in found:
        if each.get("error"):
            print_text(f"{each.get('id', '')} failed: {each['error']}")


@asks_daemon
def watch(session: Session, id: Id) -> None:
    """Shows a transfer up to its end, with that one's exit code."""
    watch_transfer(session, id)


@asks_daemon
def cancel(session: Session, id: Id) -> None:
    """Ends a transfer; what came so far is kept, and an equal one goes on from there."""
    answer = session.client.call("CancelTransfer", {"id": id})
    if session.as_json:
        print_json(answer)
        return
    state = word(answer.get("transfer", {}).get("state"), "TRANSFER_STATE_")
    print_text(f"cancelled {id}" if state == "cancelled" else f"transfer {id} had ended already: {state}")


def _done(transfer: Json) -> str:
    total, done = number(transfer.get("totalBytes")), number(transfer.get("doneBytes"))
    return f"{done * 100 // total}% of {size(total)}" if total else size(done)
