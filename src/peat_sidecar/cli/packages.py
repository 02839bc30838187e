"""The commands `packages` and `remove`."""

from typing import Annotated

import typer

from peat_sidecar.cli.client import ApiError, Json
from peat_sidecar.cli.mesh_packages import print_mesh_packages
from peat_sidecar.cli.printing import (
    number,
    plural,
    print_json,
    print_line,
    print_pairs,
    print_table,
    print_text,
    short,
    size,
)
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.errors import ConfigError


@asks_daemon
def packages(
    session: Session,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Only this one: a reference, a root's digest, or a collection."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="All about each with its ticket, however long the lines are.")
    ] = False,
    mesh: Annotated[
        bool, typer.Option("--mesh", help="What the formation offers; NAME is a pattern of references then.")
    ] = False,
    agent: Annotated[
        str | None, typer.Option(metavar="AGENT", help="With --mesh: only what that agent's node offers.")
    ] = None,
) -> None:
    """Lists the packages in the store; of one that is named, all about it with its ticket.

    A ticket is a single line that is longer than most terminals are wide, for copying.
    """
    if mesh:
        print_mesh_packages(session, name or "", agent or "", full=full)
        return
    if agent:
        raise ConfigError("--agent goes with --mesh; add that, or leave it out")
    found: list[Json] = session.client.call("ListPackages").get("packages", [])
    if name is not None:
        found = [each for each in found if _is_named(each, name)]
        if not found:
            raise ApiError(
                "not_found", f"package {name} is not in the store; `peat-sidecar packages` lists it all"
            )
    if session.as_json:
        print_json({"packages": found})
    elif name is not None or full:
        for place, package in enumerate(found):
            if place:
                print_line()
            print_package(package, with_ticket=True)
    else:
        _print_list(found)


@asks_daemon
def remove(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A reference, a root's digest, or a collection.")
    ],
    blob: Annotated[
        bool, typer.Option("--blob", help="NAME is the hash or digest of a blob that no package holds.")
    ] = False,
) -> None:
    """Removes a package and the blobs that no other package holds, or a single blob."""
    if blob:
        answer = session.client.call("DeleteBlob", {"name": name})
        print_json(answer) if session.as_json else print_text(f"removed blob {name}")
        return
    answer = session.client.call("RemovePackage", {"name": name})
    if session.as_json:
        print_json(answer)
        return
    for package in answer.get("removed", []):
        print_text(f"removed {package.get('reference') or package.get('root', '')}")
    print_text(
        f"deleted {plural(number(answer.get('deletedBlobs')), 'blob')}, {size(answer.get('deletedBytes'))}"
    )


def print_package(package: Json, *, with_ticket: bool = False) -> None:
    """All about one; nothing of it is cut."""
    pairs = [("package", package.get("reference", "")), ("root", package.get("root", ""))]
    if with_ticket:
        pairs += [("type", package.get("artifactType") or package.get("mediaType", ""))]
        pairs += [("size", f"{size(package.get('bytes'))}, {plural(number(package.get('blobs')), 'blob')}")]
    pairs += [("hash", package.get("collection", ""))]
    if with_ticket:
        pairs += [("ticket", package.get("ticket", ""))]
    print_pairs([(name, value) for name, value in pairs if value])


def _print_list(found: list[Json]) -> None:
    if not found:
        print_text("no packages; take one in with `peat-sidecar import` or `peat-sidecar fetch`")
        return
    rows = [
        (
            each.get("reference") or "-",
            short(each.get("root", "")),
            short(each.get("collection", "")),
            str(number(each.get("blobs"))),
            size(each.get("bytes")),
        )
        for each in found
    ]
    print_table(("PACKAGE", "ROOT", "HASH", "BLOBS", "SIZE"), rows, flexible=0, right=(3, 4))


def _is_named(package: Json, name: str) -> bool:
    plain = name.removeprefix("docker://")
    names = {package.get("reference"), package.get("root"), package.get("collection")}
    return plain in names or f"{plain}:latest" in names or plain.lower() == package.get("collection")
