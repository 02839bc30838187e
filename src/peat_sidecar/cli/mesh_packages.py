"""What `packages --mesh` prints: what the formation offers, and who holds it."""

from collections.abc import Iterator

from peat_sidecar.cli.client import Client, Json
from peat_sidecar.cli.printing import (
    duration,
    number,
    plural,
    print_json,
    print_line,
    print_pairs,
    print_table,
    print_text,
    short,
    size,
    word,
)
from peat_sidecar.cli.session import Session

_PAGE = 1000


def print_mesh_packages(session: Session, pattern: str, agent_id: str, *, full: bool) -> None:
    """Those of one agent, and whose reference fits a pattern; empty: all."""
    found = list(_list(session.client, {"reference": pattern, "agentId": agent_id}))
    if session.as_json:
        print_json({"packages": found})
    elif not found:
        print_text("no such packages are known in the formation")
    elif full:
        for place, each in enumerate(found):
            if place:
                print_line()
            print_pairs([(title, value) for title, value in _pairs(each) if value])
    else:
        _print_table(found)


def _list(client: Client, asked: Json) -> Iterator[Json]:
    token = ""
    while True:
        answer = client.call("ListMeshPackages", asked | {"pageSize": _PAGE, "pageToken": token})
        yield from answer.get("packages", [])
        token = answer.get("nextPageToken", "")
        if not token:
            return


def _print_table(found: list[Json]) -> None:
    rows = [
        (
            each.get("reference") or "-",
            each.get("arch") or "-",
            short(each.get("agentId", "")),
            size(each.get("bytes")),
            _holders(each),
            _here(each),
        )
        for each in found
    ]
    print_table(("PACKAGE", "ARCH", "AGENT", "SIZE", "HOLDERS", "HERE"), rows, flexible=0, right=(3,))
    without = sum(not each.get("decides") for each in found)
    if without:
        print_text(
            f"{plural(without, 'record')} of these decide nothing here: not the owner's, or no publisher's"
        )


def _pairs(package: Json) -> list[tuple[str, str]]:
    return [
        ("package", package.get("reference", "")),
        ("arch", package.get("arch", "")),
        ("version", package.get("version", "")),
        ("root", package.get("root", "")),
        ("hash", package.get("collection", "")),
        ("size", f"{size(package.get('bytes'))}, {plural(number(package.get('blobs')), 'blob')}"),
        ("agent", package.get("agentId", "")),
        ("there", package.get("state", "")),
        ("holders", _holders(package)),
        ("here", _here(package)),
        ("decides", "yes" if package.get("decides") else "no"),
        ("age", duration(package.get("ageSeconds", 0.0))),
    ]


def _holders(package: Json) -> str:
    whole, part = number(package.get("completeHolders")), number(package.get("partialHolders"))
    return f"{whole}, {part} partly" if part else str(whole)


def _here(package: Json) -> str:
    state = word(package.get("here"), "BLOB_STATE_")
    return "no" if state == "absent" else state
