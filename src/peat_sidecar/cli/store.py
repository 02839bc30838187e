"""The commands `store usage`, `store gc` and `store verify`."""

import time
from typing import Annotated

import typer

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.content import Detach
from peat_sidecar.cli.printing import (
    duration,
    number,
    plural,
    print_json,
    print_table,
    print_text,
    short,
    size,
)
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.cli.watching import begin


@asks_daemon
def usage(session: Session) -> None:
    """Shows what takes the disk, by package: alone, and shared with others.

    OWN is what removing that package frees. A replica may go for room, unless it is pinned.
    """
    answer = session.client.call("GetStoreUsage")
    if session.as_json:
        print_json(answer)
        return
    now = time.time()
    rows = [
        (
            each.get("reference") or short(each.get("root", "")),
            size(each.get("ownBytes")),
            size(each.get("sharedBytes")),
            _kind(each),
            duration(max(0.0, now - each.get("lastUsedAt", now))),
        )
        for each in answer.get("packages", [])
    ]
    if rows:
        print_table(("PACKAGE", "OWN", "SHARED", "KIND", "UNUSED"), rows, flexible=0, right=(1, 2, 4))
    print_text(_totals(answer))


@asks_daemon
def gc(
    session: Session,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Also what is not old: it may be of an import that broke off.")
    ] = False,
) -> None:
    """Deletes blobs that nothing needs, and parts that nobody goes on with, of fetches and of imports.

    Without --all only blobs of more than a day, and parts of more than a week; the daemon does that
    by itself every hour.
    """
    answer = session.client.call("CollectGarbage", {"dryRun": dry_run, "all": all_})
    if session.as_json:
        print_json(answer)
        return
    blobs, parts = number(answer.get("orphanBlobs")), number(answer.get("partialBlobs"))
    freed = number(answer.get("orphanBytes")) + number(answer.get("partialBytes"))
    what = f"{plural(blobs, 'blob')} and {plural(parts, 'part')}, {size(freed)}"
    print_text(f"would delete {what}" if dry_run else f"deleted {what}")


@asks_daemon
def verify(
    session: Session,
    repair: Annotated[
        bool, typer.Option("--repair", help="Want from peers what is damaged or missing in packages.")
    ] = False,
    detach: Detach = False,
) -> None:
    """Reads and hashes all blobs again; damaged ones are set aside and not served any more.

    Trees that are wrong over sound content are made anew. Ends with exit code 6 when something was damaged
    or missing, also where it is wanted again.
    """
    begin(session, "VerifyStore", {"repair": repair}, detach=detach)


def _kind(package: Json) -> str:
    if package.get("pinned"):
        return "pinned"
    return "replica" if package.get("replica") else "own"


def _totals(answer: Json) -> str:
    quota = number(answer.get("quotaBytes"))
    parts = [f"{size(answer.get('packageBytes'))} in packages" + (f" of {size(quota)}" if quota else "")]
    parts += [f"{size(answer['keptBytes'])} in single blobs"] if number(answer.get("keptBytes")) else []
    for name, noun in (("orphan", "blob that nothing needs"), ("partial", "part of a blob")):
        count = number(answer.get(f"{name}Blobs"))
        nouns = noun if count == 1 else noun.replace("blob that", "blobs that").replace("part of", "parts of")
        parts += [f"{size(answer.get(f'{name}Bytes'))} in {count:,} {nouns}"] if count else []
    return ", ".join([*parts, f"{size(answer.get('freeBytes'))} free on the disk"])
