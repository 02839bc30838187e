"""Transfers while they go on: a bar on a terminal, a line now and then elsewhere, objects for programs.

A transfer belongs to the daemon: whoever stops watching does not stop it.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from peat_sidecar.cli.client import ApiError, Client, DaemonUnavailable, Json
from peat_sidecar.cli.exit_codes import ExitCode, exit_code_of
from peat_sidecar.cli.packages import print_package
from peat_sidecar.cli.printing import (
    clean,
    duration,
    number,
    plural,
    print_error,
    print_json,
    print_pairs,
    print_text,
    short,
    size,
    word,
)
from peat_sidecar.cli.session import Session

_WITHOUT_CURSOR = ("dumb", "unknown")
_LINE_SECONDS = 5.0
_OBJECT_SECONDS = 1.0
_PAST = {"import": "imported", "fetch": "fetched", "export": "exported", "verify": "verified"}

Show = Callable[[Json], None]


def begin(session: Session, method: str, request: Json, *, detach: bool) -> None:
    """Begins a transfer and watches it, or says what it is called and leaves."""
    try:
        answer = session.client.call(method, request)
    except ApiError as error:
        of_source = method != "FetchBlob"
        raise TransferFailed(str(error), exit_code_of(error.code, of_source=of_source)) from None
    except KeyboardInterrupt:
        print_error("interrupted; whether it has begun says `peat-sidecar transfers`")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    transfer = answer.get("transfer", {})
    if not detach:
        watch(session, str(transfer.get("id", "")))
    elif session.as_json:
        print_json(answer)
    else:
        print(clean(str(transfer.get("id", ""))))


def watch(session: Session, id: str) -> None:
    """Shows a transfer up to its end; `TransferFailed` when that is no good one."""
    try:
        last = _follow(session, id)
    except KeyboardInterrupt:
        print_error("interrupted; the transfer goes on in the daemon. To cancel it:")
        print_error(f"peat-sidecar transfers cancel {id}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    end(session, last)


def end(session: Session, transfer: Json) -> None:
    """Says how a transfer ended."""
    state, kind = word(transfer.get("state"), "TRANSFER_STATE_"), word(transfer.get("kind"), "TRANSFER_KIND_")
    if state == "cancelled":
        raise TransferFailed(
            f"transfer {transfer.get('id')} was cancelled; what came is kept, start it again to go on",
            ExitCode.INTERRUPTED,
        )
    if state == "failed":
        code = exit_code_of(str(transfer.get("errorCode", "")), of_source=kind != "fetch")
        raise TransferFailed(str(transfer.get("error", "")), code)
    if not session.as_json:
        _print_outcome(transfer, kind)


class TransferFailed(Exception):
    """A transfer did not begin, or ended without success."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def _follow(session: Session, id: str) -> Json:
    last: Json = {}
    with _display(as_json=session.as_json) as show:
        for last in _updates(session.client, id):
            show(last)
    if word(last.get("state"), "TRANSFER_STATE_") == "running":
        raise DaemonUnavailable("the daemon stopped before the transfer ended; start it and try again")
    if session.as_json:
        print_json({"transfer": last}, one_line=True)
    return last


def _updates(client: Client, id: str) -> Iterator[Json]:
    try:
        yield from client.watch(id)
    except DaemonUnavailable as error:
        raise DaemonUnavailable(
            f"{error}; what came is kept, and the same command goes on from there"
        ) from None


@contextmanager
def _display(*, as_json: bool) -> Iterator[Show]:
    if as_json:
        yield _seldom(0, _OBJECT_SECONDS, lambda transfer: print_json({"transfer": transfer}, one_line=True))
    elif sys.stderr.isatty() and os.environ.get("TERM") not in _WITHOUT_CURSOR:
        from peat_sidecar.cli.bars import bar

        with bar() as show:
            yield show
    else:
        yield _seldom(
            _LINE_SECONDS, _LINE_SECONDS, lambda transfer: print(_line(transfer), file=sys.stderr, flush=True)
        )


def _seldom(first_seconds: float, seconds: float, show: Show) -> Show:
    """After some time, then now and then; something new to wait for sooner. Of running transfers only: the
    end is told by another.
    """
    due, waited_for = time.monotonic() + first_seconds, None

    def sometimes(transfer: Json) -> None:
        nonlocal due, waited_for
        if word(transfer.get("state"), "TRANSFER_STATE_") != "running":
            return
        now, waits_for = time.monotonic(), transfer.get("waitingFor")
        if now < due - (seconds - _OBJECT_SECONDS if waits_for != waited_for else 0):
            return
        due, waited_for = now + seconds, waits_for
        show(transfer)

    return sometimes


def _line(transfer: Json) -> str:
    """Without a terminal: how far it is."""
    kind = word(transfer.get("kind"), "TRANSFER_KIND_")
    total, done = number(transfer.get("totalBytes")), number(transfer.get("doneBytes"))
    share = f"{done * 100 // total} % of {size(total)}" if total else size(done)
    rate, eta = transfer.get("bytesPerSecond", 0), transfer.get("etaSeconds", 0)
    parts = [f"{kind} {transfer.get('id', '')}: {share}"]
    parts += [f"{size(round(rate))}/s"] if rate else []
    parts += [f"{duration(eta)} left"] if eta else []
    parts += [f"waiting for {transfer['waitingFor']}"] if transfer.get("waitingFor") else []
    return clean(", ".join(parts))


def _print_outcome(transfer: Json, kind: str) -> None:
    package, blob = transfer.get("package"), transfer.get("blob")
    seconds = transfer.get("elapsedSeconds", 0.0)
    moved = f"{size(transfer.get('doneBytes'))} in {duration(seconds)}"
    several = number(transfer.get("packages"))
    many = package or several or kind == "verify"
    what = plural(number(transfer.get("totalBlobs")), "blob") if many else "a blob"
    what = f"{plural(several, 'package')} of {what}" if several else what
    print_text(f"{_PAST.get(kind, kind)}: {what}, {moved}")
    if package:
        print_package(package)
    elif blob:
        print_pairs(
            [
                ("hash", blob.get("hash", "")),
                ("digest", blob.get("digest", "")),
                ("size", size(blob.get("size"))),
            ]
        )
    if kind == "export":
        print_pairs([("to     ", transfer.get("otherSide", ""))])
    referrers, foreign = transfer.get("referrers", []), transfer.get("foreign", [])
    if referrers:
        roots = ", ".join(short(each.get("root", "")) for each in referrers)
        print_text(f"with {plural(len(referrers), 'package')} that refer to it: {roots}")
    if foreign:
        print_text(
            f"without {plural(len(foreign), 'layer')} that the licence keeps elsewhere:"
            f" {', '.join(short(each) for each in foreign)}"
        )
