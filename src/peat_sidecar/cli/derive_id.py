"""The command `derive-id`: computes the id of a node whose identity is derived. Asks no daemon."""

from pathlib import Path
from typing import Annotated

import typer

from peat_sidecar.cli.printing import print_line


def derive_id(
    node_id: Annotated[
        str, typer.Argument(metavar="NODE_ID", help="The node's name, as its `node_id` has it.")
    ],
    formation_key_file: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The formation's key, as text; the first one, where it has two."),
    ],
) -> None:
    """Prints the id of a node that runs with a derived identity, from its name and the formation's key.

    Whoever has the key can act as any such node.
    """
    from peat_sidecar.mesh import Formation
    from peat_sidecar.net import endpoint_id

    key = Formation.read_key(formation_key_file)
    print_line(str(endpoint_id(Formation.derive(key, node_id))))
