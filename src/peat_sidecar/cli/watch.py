"""The command `watch`: everything that goes on, live on a terminal, as lines elsewhere, as objects for
programs.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import chain
from typing import Annotated

import typer

from peat_sidecar.cli.client import DaemonUnavailable, Json
from peat_sidecar.cli.exit_codes import ExitCode
from peat_sidecar.cli.printing import clean, duration, number, print_json, size
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.cli.transfer_table import NOTHING, last_event, sources, state, table, waits

_WITHOUT_CURSOR = ("dumb", "unknown")
_LINE_SECONDS = 5.0
_PIPE_COLUMNS = 120


@asks_daemon
def watch(
    session: Session, once: Annotated[bool, typer.Option("--once", help="Print it once and leave.")] = False
) -> None:
    """Shows all transfers and the wants that wait, live; end it with Ctrl-C.

    Not on a terminal it prints a line for each change, and with -o json all of it as an object a line.
    """
    snapshots = session.client.stream("WatchTransfers")
    try:
        if once:
            _print_once(session, next(snapshots, {}))
        elif session.as_json:
            for snapshot in snapshots:
                print_json(snapshot, one_line=True)
        elif sys.stdout.isatty() and os.environ.get("TERM") not in _WITHOUT_CURSOR:
            from peat_sidecar.cli.live_table import live_table

            first = next(snapshots, {})

            with live_table() as show:
                for snapshot in chain((first,), snapshots):
                    show(snapshot)
        else:
            for line in _lines(snapshots):
                print(line, flush=True)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        snapshots.close()
    if not once:
        raise DaemonUnavailable("the daemon has stopped; start it and watch again")


def _print_once(session: Session, snapshot: Json) -> None:
    if session.as_json:
        print_json(snapshot)
        return
    width = max(shutil.get_terminal_size().columns, 40) if sys.stdout.isatty() else _PIPE_COLUMNS
    for each in table(snapshot, width):
        print(each.text)


def _lines(snapshots: Iterator[Json]) -> Iterator[str]:
    """What is new of each transfer and want: at once when it begins or ends or something happens to it, and
    how far it is every few seconds.
    """
    told: dict[str, tuple[str, float]] = {}
    is_first = True
    for snapshot in snapshots:
        shown = {str(each.get("id", "")): each for each in snapshot.get("transfers", [])}
        waiting = {str(each.get("id", "")): each for each in snapshot.get("wants", [])}
        if is_first and not shown and not waiting:
            yield NOTHING
        is_first = False
        for id, transfer in shown.items():
            if _is_due(told, id, f"{state(transfer)} {last_event(transfer)}"):
                yield _transfer_line(transfer)
        for id, want in waiting.items():
            if _is_due(told, id, str(want.get("why", "")), seconds=float("inf")):
                yield clean(f"want {id} {want.get('name', '')}: {want.get('why') or 'waits'}")
        told = {id: each for id, each in told.items() if id in shown or id in waiting}


def _is_due(told: dict[str, tuple[str, float]], id: str, news: str, seconds: float = _LINE_SECONDS) -> bool:
    now = time.monotonic()
    if id in told and told[id][0] == news and now - told[id][1] < seconds:
        return False
    told[id] = news, now
    return True


def _transfer_line(transfer: Json) -> str:
    total, done = number(transfer.get("totalBytes")), number(transfer.get("doneBytes"))
    rate, eta = transfer.get("bytesPerSecond", 0.0), transfer.get("etaSeconds", 0.0)
    parts = [f"{done * 100 // total} % of {size(total)}" if total else size(done), f"{size(round(rate))}/s"]
    parts += [f"{duration(eta)} left"] if eta else []
    parts += [each for each in (sources(transfer), waits(transfer), last_event(transfer)) if each]
    parts += [str(transfer["error"])] if transfer.get("error") else []
    return clean(
        f"{transfer.get('id', '')} {transfer.get('subject', '')} {state(transfer)}: {', '.join(parts)}"
    )
