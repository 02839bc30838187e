"""The command `blobs`."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer

from peat_sidecar.cli.client import Client, Json
from peat_sidecar.cli.exit_codes import ExitCode
from peat_sidecar.cli.printing import (
    duration,
    number,
    print_error,
    print_json,
    print_pairs,
    print_table,
    print_text,
    short,
    size,
    word,
)
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.errors import ConfigError

_PAGE = 1000


class Wanted(StrEnum):
    """Which blobs are listed."""

    PARTIAL = "partial"
    COMPLETE = "complete"


@asks_daemon
def blobs(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="How much of this one is here: a hash or a digest.")
    ] = None,
    package: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of that package.")] = None,
    state: Annotated[Wanted | None, typer.Option(help="Only those that are whole, or not yet.")] = None,
    media_type: Annotated[str | None, typer.Option(metavar="TYPE", help="Only those of that type.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="COUNT", help="At most so many.", show_default=False)
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Whole hashes and digests, for copying.")] = False,
) -> None:
    """Lists the blobs in the store; of one that is named, how much of it is here."""
    if name is not None:
        if package or state or media_type or limit:
            raise ConfigError(
                "a named blob is no list; leave --package, --state, --media-type and --limit out"
            )
        _show(session, name)
        return
    asked: Json = {"package": package or "", "mediaType": media_type or ""}
    if state is not None:
        asked["state"] = f"BLOB_STATE_{state.name}"
    found = list(_list(session.client, asked, limit))
    if session.as_json:
        print_json({"blobs": found})
    elif not found:
        print_text("no such blobs")
    elif full:
        for each in found:
            print_pairs([("hash", each.get("hash", "")), ("", each.get("digest", "")), ("", _summary(each))])
    else:
        _print_list(found)


def _list(client: Client, asked: Json, limit: int | None) -> Iterator[Json]:
    """Page after page, up to the limit."""
    left, token = limit, ""
    while True:
        page_size = _PAGE if left is None else min(left, _PAGE)
        answer = client.call("ListBlobs", asked | {"pageSize": page_size, "pageToken": token})
        page: list[Json] = answer.get("blobs", [])
        yield from page
        token = answer.get("nextPageToken", "")
        left = None if left is None else left - len(page)
        if not token or left == 0:
            return


def _print_list(found: list[Json]) -> None:
    rows = [
        (
            short(each.get("hash", "")),
            short(each.get("digest", "") or "-"),
            _state(each),
            size(each.get("size")),
            each.get("mediaType") or "-",
        )
        for each in found
    ]
    print_table(("HASH", "DIGEST", "STATE", "SIZE", "TYPE"), rows, flexible=4, right=(3,))


def _show(session: Session, name: str) -> None:
    """Ends with `NOT_FOUND` for one of which nothing is here."""
    answer = session.client.call("GetBlobStatus", {"name": name})
    blob: Json = answer.get("blob", {})
    if session.as_json:
        print_json(answer)
    else:
        pairs = [
            ("hash", blob.get("hash", "")),
            ("digest", blob.get("digest", "")),
            ("state", _summary(blob)),
            ("type", blob.get("mediaType", "")),
            ("linked", "shares its file with its owner" if blob.get("linked") else ""),
            ("speed", _speed(blob)),
        ]
        pairs += [("from", provider) for provider in blob.get("providers", [])]
        print_pairs([(title, value) for title, value in pairs if value])
        if blob.get("lastError"):
            print_text(f"the last fetch failed: {blob['lastError']}")
    if blob.get("state") == "BLOB_STATE_ABSENT":
        if not session.as_json:
            print_error("nothing of it is here; fetch it with `peat-sidecar fetch HASH --blob --from PEER`")
        raise typer.Exit(ExitCode.NOT_FOUND)


def _state(blob: Json) -> str:
    state, whole = word(blob.get("state"), "BLOB_STATE_"), number(blob.get("size"))
    if state == "partial" and whole:
        return f"{number(blob.get('presentBytes')) * 100 // whole} %"
    return state


def _summary(blob: Json) -> str:
    state, whole = word(blob.get("state"), "BLOB_STATE_"), number(blob.get("size"))
    if state == "partial":
        return f"partial, {size(blob.get('presentBytes'))} of {size(whole)} here"
    return f"{state}, {size(whole)}" if state == "complete" else state


def _speed(blob: Json) -> str:
    rate, eta = blob.get("bytesPerSecond", 0), blob.get("etaSeconds", 0)
    left = f", {duration(eta)} left" if eta else ""
    return f"{size(round(rate))}/s{left}" if rate else ""
