"""The commands `roster init`, `add`, `remove`, `sign` and `show`: they work on files and ask no daemon.

What they do is in the mesh, which is imported only when one of them runs.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peat_sidecar.cli.printing import plural, print_json, print_line, print_pairs, print_text
from peat_sidecar.cli.session import Output
from peat_sidecar.ids import PeerAddress

if TYPE_CHECKING:
    from peat_sidecar.mesh import Draft


class RoleName(StrEnum):
    """As `peat_sidecar.mesh.Role`, which a client does not load for its help."""

    PUBLISHER = "publisher"
    CARRIER = "carrier"
    CONSUMER = "consumer"


RosterFile = Annotated[Path, typer.Argument(metavar="FILE", help="The list of members, a JSON file.")]
Member = Annotated[str, typer.Argument(metavar="ID", help="A node's id; `peat-sidecar status` shows it.")]
KeyFile = Annotated[
    Path, typer.Option("--admin-key", metavar="KEYFILE", help="The admin's key; keep it off the nodes.")
]


def init(
    file: RosterFile,
    admin_key: KeyFile,
    app_id: Annotated[
        str, typer.Option(metavar="NAME", help="The formation's name, as `run --app-id` has it.")
    ],
) -> None:
    """Makes an empty roster, and the admin's key where there is none."""
    from peat_sidecar.mesh import init_draft

    draft, made = init_draft(file, admin_key, app_id)
    print_text(f"made {file}" + (f" and the key {admin_key}" if made else f", for the key {admin_key}"))
    if made:
        print_text(
            "Keep the key offline and keep a copy: who has it says who belongs to the formation,"
            " and without it nobody can."
        )
    print_text("Each node is started with:")
    print_line(f"  --admission key+roster --roster-admin {draft.admin}")


def add(
    file: RosterFile,
    id: Member,
    role: Annotated[
        RoleName,
        typer.Option(
            help="A publisher's packages decide what others want; those of carriers and consumers only say"
            " what they have."
        ),
    ],
    agent: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The agent id that its documents begin with. [default: the node's id]"
        ),
    ] = None,
) -> None:
    """Lists a node as a member."""
    from peat_sidecar.mesh import parse_entry, read_draft, write_draft

    member = PeerAddress.parse(id).endpoint_id
    draft = read_draft(file).add(member, parse_entry(agent or str(member), role.value))
    write_draft(file, draft)
    _print_changed(file, draft)


def remove(file: RosterFile, id: Member) -> None:
    """Takes a node out: once the signed roster is loaded, it cannot join any more."""
    from peat_sidecar.mesh import read_draft, write_draft

    draft = read_draft(file).remove(PeerAddress.parse(id).endpoint_id)
    write_draft(file, draft)
    _print_changed(file, draft)


def sign(file: RosterFile, admin_key: KeyFile) -> None:
    """Writes the signed roster next to the list."""
    from peat_sidecar.mesh import sign_draft

    path, roster = sign_draft(file, admin_key, time.time())
    print_text(f"wrote {path}: {plural(len(roster.entries), 'member')}, signed {_when(roster.signed_at)}")
    if not roster.entries:
        print_text("Nobody is in it: nodes that have it talk to nobody.")
    print_text(
        "A node without a roster talks to nobody, so each needs its first one itself (or by `run --roster`);"
        " from then on a newer one reaches the others from any node:"
    )
    print_line(f"  peat-sidecar roster load {path}")


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A list of members, or a signed roster.")],
    output: Annotated[
        Output, typer.Option("--output", "-o", help="For people or for programs.")
    ] = Output.TEXT,
) -> None:
    """Shows who is in a roster, and whether it is signed as it is."""
    from peat_sidecar.mesh import Roster, read_roster, signed_state

    roster = read_roster(file)
    entries = [(str(id), entry.agent_id, entry.role.value) for id, entry in roster.entries.items()]
    state = f"signed {_when(roster.signed_at)}" if isinstance(roster, Roster) else signed_state(file, roster)
    if output is Output.JSON:
        print_json(
            {
                "appId": roster.app_id,
                "admin": str(roster.admin),
                "sequence": str(roster.sequence),
                "signed": isinstance(roster, Roster),
                "members": [
                    {"endpointId": id, "agentId": agent_id, "role": role} for id, agent_id, role in entries
                ],
            }
        )
        return
    print_pairs([("formation", roster.app_id), ("admin", str(roster.admin)), ("state", state)])
    print_members(entries)


def print_members(entries: Iterable[tuple[str, str, str]]) -> None:
    """Ids with agent ids and roles; the id in a line of its own, whole: it is what people copy."""
    for id, agent_id, role in entries:
        print_line(id)
        print_line(f"  {role}" + (f", {agent_id}" if agent_id != id else ""))


def _print_changed(file: Path, draft: "Draft") -> None:
    print_text(f"{file} lists {plural(len(draft.members), 'member')}; sign it to make that count:")
    print_line(f"  peat-sidecar roster sign {file} --admin-key KEYFILE")


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
