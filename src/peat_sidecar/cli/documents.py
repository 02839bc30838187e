"""The commands `documents list`, `get`, `put`, `delete` and `watch`."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from peat_sidecar.cli.client import ApiError, Client, Json
from peat_sidecar.cli.exit_codes import ExitCode
from peat_sidecar.cli.printing import clean, print_error, print_json, print_line, print_text
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.errors import ConfigError

_PAGE = 10_000
_READ_LIMIT_BYTES = 4 << 20
_UNSAFE = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

Collection = Annotated[str, typer.Argument(metavar="COLLECTION", help="As `packages` or `nodes`.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As `peat-sidecar documents list` has it.")]


@asks_daemon
def list_(
    session: Session,
    collection: Collection,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="COUNT", help="At most so many.", show_default=False)
    ] = None,
) -> None:
    """Lists the ids of a collection's documents."""
    found = list(_ids(session.client, collection, limit))
    if session.as_json:
        print_json({"docIds": found})
        return
    for each in found:
        print_line(each)
    if not found:
        print_error(f"no documents in {clean(collection)}")


@asks_daemon
def get(session: Session, collection: Collection, id: Id) -> None:
    """Prints a document as JSON."""
    answer = session.client.call("GetDocument", {"collection": collection, "docId": id})
    text = answer.get("jsonData")
    if text is None:
        raise ApiError(
            "not_found", f"there is no document {id} in {collection}; `documents list {collection}` lists all"
        )
    print_json(answer) if session.as_json else print(_shown(text))


@asks_daemon
def put(
    session: Session,
    collection: Collection,
    id: Id,
    data: Annotated[
        str, typer.Argument(metavar="JSON", help="A JSON object; @FILE reads it from there, - from input.")
    ],
) -> None:
    """Writes a document; what it does not name is taken out of it."""
    request = {"collection": collection, "docId": id, "jsonData": _read(data)}
    answer = session.client.call("PutDocument", request)
    if session.as_json:
        print_json(answer)
    else:
        print_text(f"wrote {collection}/{id}" if answer.get("changed") else f"{collection}/{id} is like that")


@asks_daemon
def delete(session: Session, collection: Collection, id: Id) -> None:
    """Deletes a document on all nodes."""
    answer = session.client.call("DeleteDocument", {"collection": collection, "docId": id})
    if session.as_json:
        print_json(answer)
    elif answer.get("changed"):
        print_text(f"deleted {collection}/{id}")
    if not answer.get("changed"):
        raise ApiError("not_found", f"there is no document {id} in {collection}")


@asks_daemon
def watch(
    session: Session,
    collections: Annotated[
        list[str] | None, typer.Argument(metavar="[COLLECTION]...", help="Only these; none: all.")
    ] = None,
) -> None:
    """Prints all documents, then each change as it comes, until Ctrl-C."""
    try:
        for change in session.client.stream("Subscribe", {"collections": collections or []}):
            if session.as_json:
                print_json(change, one_line=True)
            else:
                print(_line(change), flush=True)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _ids(client: Client, collection: str, limit: int | None) -> Iterator[str]:
    """Page after page, up to the limit."""
    left, token = limit, ""
    while True:
        page_size = _PAGE if left is None else min(left, _PAGE)
        request: Json = {"collection": collection, "pageSize": page_size, "pageToken": token}
        answer = client.call("ListDocuments", request)
        page: list[str] = answer.get("docIds", [])
        yield from page
        token = answer.get("nextPageToken", "")
        left = None if left is None else left - len(page)
        if not token or left == 0:
            return


def _read(data: str) -> str:
    """The JSON itself, which the daemon judges."""
    if data != "-" and not data.startswith("@"):
        return data
    try:
        if data == "-":
            read = sys.stdin.buffer.read(_READ_LIMIT_BYTES + 1)
        else:
            with Path(data[1:]).expanduser().open("rb") as file:
                read = file.read(_READ_LIMIT_BYTES + 1)
        if len(read) > _READ_LIMIT_BYTES:
            raise ConfigError(f"{data} has more than {_READ_LIMIT_BYTES:,} bytes, which no document has")
        return read.decode()
    except OSError as error:
        raise ConfigError(f"{data[1:]} cannot be read: {error.strerror}; name another file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{data} is no UTF-8, and so no JSON; name another file") from None


def _shown(text: str) -> str:
    """The JSON as it is, but for characters that a terminal would obey: those are escaped."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _line(change: Json) -> str:
    name = clean(f"{change.get('collection', '')}/{change.get('docId', '')}")
    if change.get("changeType") == "CHANGE_TYPE_DELETE":
        return f"{name}  deleted"
    text = change.get("jsonData")
    return f"{name}  {_shown(text) if text is not None else json.dumps('too large for a message')}"
