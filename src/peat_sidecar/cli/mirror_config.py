"""The command `mirror-config`: works on the files of clients, and asks no daemon."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from peat_sidecar.cli.printing import print_line, print_text
from peat_sidecar.errors import ConfigError


class ClientName(StrEnum):
    """What pulls images here."""

    CONTAINERD = "containerd"
    PODMAN = "podman"
    DOCKER = "docker"


def mirror_config(
    client: Annotated[ClientName, typer.Argument(help="What pulls: podman stands for skopeo as well.")],
    registry: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST[:PORT]", help="Whose packages; containerd may be told of all at once."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where `run --registry` serves. [default: http://127.0.0.1:5000]"),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="The client's folder, if it is another one.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write it, not only show it.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take away what --write wrote.")] = False,
) -> None:
    """Shows how a client is told to pull through the sidecar; --write does it, --undo takes it back."""
    from peat_sidecar.client_config import DEFAULT_ENDPOINT, Mirror
    from peat_sidecar.client_config import client as named

    if write and undo:
        raise ConfigError("--write and --undo are opposites; give one of them")
    chosen = named(client.value)
    mirror = Mirror.parse(registry or [], endpoint or DEFAULT_ENDPOINT)
    folder = directory or chosen.folder
    if undo:
        _print_changed("took back", chosen.undo(mirror, folder), "nothing of peat-sidecar is there")
        return
    if write:
        _print_changed("wrote", chosen.write(mirror, folder), "it is there already")
    else:
        for path, text in chosen.files(mirror, folder).items():
            print_line(f"# {path}")
            _print_lines(text)
    for paragraph in chosen.explain(mirror, folder):
        print_line()
        if paragraph.startswith(" "):
            _print_lines(paragraph)
        else:
            print_text(paragraph)
    if mirror.is_secure:
        print_line()
        print_text("This machine has to trust the authority of the endpoint's certificate.")
    print_line()
    place = f" --dir {directory}" if directory is not None else ""
    other = f" --endpoint {mirror.endpoint}" if mirror.endpoint != DEFAULT_ENDPOINT else ""
    if not write:
        print_text("Nothing was changed; --write does it.")
    print_line(f"Undo: peat-sidecar mirror-config {client.value}{other}{place} --undo")


def _print_lines(text: str) -> None:
    """As it is, to be copied."""
    for line in text.splitlines():
        print_line(line)


def _print_changed(what: str, paths: list[Path], otherwise: str) -> None:
    for path in paths:
        print_line(f"{what} {path}")
    if not paths:
        print_text(otherwise)
