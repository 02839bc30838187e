"""The commands `import`, `fetch` and `export`, each of which begins a transfer."""

from typing import Annotated

import typer

from peat_sidecar.cli.client import Json
from peat_sidecar.cli.places import parse_blob_target, parse_fetch, parse_package_target, parse_source
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.cli.wants import ClassName, Yes
from peat_sidecar.cli.watching import begin
from peat_sidecar.errors import ConfigError

Detach = Annotated[
    bool, typer.Option("--detach", "-d", help="Begin it, print its id and leave; the daemon goes on.")
]
ListAs = Annotated[
    str | None, typer.Option("--as", metavar="REF", help="The reference that it is listed under here.")
]
Expect = Annotated[
    str | None, typer.Option("--expect", metavar="DIGEST", help="What it has to be: sha256:... or sha512:...")
]


@asks_daemon
def import_(
    session: Session,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Where it comes from; see the examples.")],
    platform: Annotated[
        list[str] | None,
        typer.Option(metavar="OS/ARCH", help="Of an index only this platform; may be repeated."),
    ] = None,
    referrers: Annotated[
        bool, typer.Option("--referrers", help="Also signatures, SBOMs and what else refers to it.")
    ] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Share files with their owner instead of copying them.")
    ] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Every package that has a name there; --as names their registry.")
    ] = False,
    list_as: ListAs = None,
    expect: Expect = None,
    media_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Of a file: what it is, for whoever asks.")
    ] = None,
    detach: Detach = False,
) -> None:
    """Takes a package or a file into the store."""
    request: Json = dict(parse_source(source))
    if "file" in request:
        _refuse("a file", {"--platform": platform, "--referrers": referrers, "--as": list_as, "--all": all_})
    else:
        _refuse("a package", {"--expect": expect, "--media-type": media_type})
    request |= {"platforms": platform or [], "referrers": referrers, "link": link, "all": all_}
    request |= _given(listAs=list_as, expectedDigest=expect, mediaType=media_type)
    begin(session, "ImportBlob", request, detach=detach)


@asks_daemon
def fetch(
    session: Session,
    what: Annotated[str, typer.Argument(metavar="WHAT", help="A ticket, or a hash (with --from).")],
    peer: Annotated[
        str | None, typer.Option("--from", metavar="PEER", help="ID@host:port, or the id of a named peer.")
    ] = None,
    blob: Annotated[
        bool, typer.Option("--blob", help="The hash is a single blob's, not a package's.")
    ] = False,
    list_as: ListAs = None,
    expect: Expect = None,
    class_: Annotated[ClassName, typer.Option("--class", help="What goes first.")] = ClassName.HIGH,
    yes: Yes = False,
    detach: Detach = False,
) -> None:
    """Fetches a package or a blob from a peer, and goes on where an earlier fetch ended."""
    request: Json = dict(parse_fetch(what, peer, blob=blob))
    if blob:
        _refuse("a single blob", {"--as": list_as})
    request |= _given(listAs=list_as, expectedDigest=expect)
    request |= {"approved": True} if yes else {}
    request["transferClass"] = f"TRANSFER_CLASS_{class_.upper()}"
    begin(session, "FetchBlob", request, detach=detach)


@asks_daemon
def export(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A reference, digest or hash, as `packages` lists it.")
    ],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Where it goes; see the examples.")],
    blob: Annotated[
        bool, typer.Option("--blob", help="NAME is a single blob's hash or digest, TARGET a file.")
    ] = False,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="The name in the layout or archive.")] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Link files instead of copying them, where that can be.")
    ] = False,
    mount_from: Annotated[
        list[str] | None,
        typer.Option(metavar="REPO", help="A repository there that may have blobs; may be repeated."),
    ] = None,
    wait_for_content: Annotated[
        bool, typer.Option("--wait-for-content", help="Wait for what is still being fetched.")
    ] = False,
    detach: Detach = False,
) -> None:
    """Writes a package to a registry, layout or archive, or a blob to a file."""
    if blob:
        _refuse("a single blob", {"--tag": tag, "--mount-from": mount_from})
    request: Json = {"blob" if blob else "package": name}
    place = parse_blob_target(target) if blob else parse_package_target(target)
    if tag and place.get("tag", tag) != tag:
        raise ConfigError(f"the target says {place['tag']} and --tag says {tag}; leave one out")
    request |= place
    request |= {"link": link, "mountFrom": mount_from or [], "waitForContent": wait_for_content}
    request |= _given(tag=tag)
    begin(session, "ExportBlob", request, detach=detach)


def _refuse(what: str, options: dict[str, object]) -> None:
    """`ConfigError` when one of the options is set."""
    for option, value in options.items():
        if value:
            raise ConfigError(f"{option} does not go with {what}; leave it out")


def _given(**fields: str | None) -> Json:
    return {name: value for name, value in fields.items() if value}
