"""All commands, with their examples."""

import inspect
import re
from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from typing import Annotated, Any

import typer

from peat_sidecar.cli import (
    admission,
    content,
    derive_id,
    documents,
    limits,
    nodes,
    packages,
    pins,
    roster,
    running,
    store,
    sync,
    transfers,
    wants,
    watch,
)
from peat_sidecar.cli.blobs import blobs
from peat_sidecar.cli.exit_codes import exit_code_table
from peat_sidecar.cli.mirror_config import mirror_config
from peat_sidecar.errors import ConfigError

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 80}


def _examples(*lines: str) -> str:
    # \b: a paragraph that is shown as it is.
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _version(asked: bool) -> None:
    if asked:
        print(f"peat-sidecar {version('peat-sidecar')}")
        raise typer.Exit


app = typer.Typer(
    name="peat-sidecar",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
    epilog=_examples(
        "peat-sidecar run --data-dir /srv/peat --peer ID@192.0.2.7:4433",
        "peat-sidecar import registry.example:5000/team/app:v1",
        "peat-sidecar packages registry.example:5000/team/app:v1",
        "peat-sidecar fetch TICKET",
        "peat-sidecar export registry.example:5000/team/app:v1 oci:out:v1",
    )
    + "\n\n\b\nExit codes:\n"
    + exit_code_table(),
)


@app.callback()
def _main(
    asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Carries OCI packages between edge clusters, peer to peer, when the registry cannot be reached.

    `run` is the daemon; all other commands ask one that runs, by default through the socket in its data
    directory.
    """


def _add(name: str, function: Callable[..., None], *examples: str, to: typer.Typer = app) -> None:
    to.command(name, short_help=_brief(function), epilog=_examples(*examples), context_settings=_HELP)(
        function
    )


def _brief(function: Callable[..., None]) -> str:
    """For the list of commands: what stands before the first stop or semicolon."""
    first = " ".join((function.__doc__ or "").split())
    return re.split(r"[.;:]|, and ", first)[0] + "."


def _only_group(name: str, brief: str, *examples: str) -> typer.Typer:
    """No command itself, with others below it."""
    group = typer.Typer(
        help=brief,
        short_help=brief,
        rich_markup_mode=None,
        epilog=_examples(*examples),
        context_settings=_HELP,
    )
    app.add_typer(group, name=name)
    return group


def _group(name: str, function: Callable[..., None], *examples: str) -> typer.Typer:
    """A command that shows, with others below it."""
    group = typer.Typer(
        invoke_without_command=True,
        short_help=_brief(function),
        rich_markup_mode=None,
        epilog=_examples(*examples),
        context_settings=_HELP,
    )

    @wraps(function)
    def alone(ctx: typer.Context, **values: Any) -> None:
        if ctx.invoked_subcommand is None:
            function(**values)
            return
        for option in values:
            source = ctx.get_parameter_source(option)
            if source is not None and source.name == "COMMANDLINE":
                flag = f"--{option.replace('_', '-')}"
                raise ConfigError(f"{flag} goes behind `{name} {ctx.invoked_subcommand}`, not before it")

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    own = inspect.signature(function).parameters.values()
    alone.__signature__ = inspect.Signature([context, *own])  # type: ignore[attr-defined]
    alone.__annotations__ = function.__annotations__ | {"ctx": typer.Context}
    group.callback()(alone)
    app.add_typer(group, name=name)
    return group


_add(
    "run",
    running.run,
    "peat-sidecar run",
    "peat-sidecar run --data-dir /srv/peat --listen 0.0.0.0:4433 \\",
    "    --peer ID@192.0.2.7:4433 --import-root /srv/in --export-root /srv/out",
    "peat-sidecar run --api unix:/run/peat.sock --api tcp://127.0.0.1:50051",
    "peat-sidecar run --formation-key-file /etc/peat/key --app-id fleet \\",
    "    --agent http://127.0.0.1:9090 --agent-id ship-7 \\",
    "    --replicate 'registry.example/team/*,class=high,export=127.0.0.1:5000'",
    "",
    "--replicate takes PATTERN[,platform=OS/ARCH][,class=CLASS][,carry]",
    "[,export=HOST:PORT][,referrers=no]. Classes are critical, high, normal,",
    "low, bulk; carry means packages of any platform, for others; export",
    "writes what has come to a registry; signatures and SBOMs come too unless",
    "referrers=no. A formation's key is read from files only.",
    "",
    "--share: of patterns the last that fits a reference decides; '*' and",
    "'!localhost/*' stand before all. Only these: '!*', 'registry.example/*'.",
    "",
    "--upstream also takes an order behind it: 'registry.example",
    "upstream-first' has that registry say what its tags mean, while it can;",
    "by default the mesh is asked first.",
    "",
    "--tag-policy: the first pattern that fits a reference says whose word its",
    "tag is: 'registry.example/*=signers ID,ID', =immutable, or =newest.",
    "--registry-map: 'localhost/team/*=registry.example/team/*'.",
    "",
    "A RATE is '512 kbit/s', '2.5 MB/s' or unlimited, or goes by time of day:",
    "'22:00-06:00 unlimited, else 512 kbit/s'. `limits` changes them.",
    "--budget and --metered are for a PLACE: any, interface NAME, or addresses",
    "as 10.0.0.0/8. Amounts are '500 MB a day, 10 GB a month', and if need be",
    "up or down (what goes or comes), '10% for critical', 'zone Europe/Oslo'.",
    "",
    "Each option is also a variable, PEAT_SIDECAR_DATA_DIR for example, and",
    'a line of the config file, data_dir = "/srv/peat". Options go first,',
    "then variables, then the file.",
)
_add(
    "import",
    content.import_,
    "peat-sidecar import registry.example:5000/team/app:v1",
    "peat-sidecar import docker://registry/app:v1 --platform linux/arm64",
    "peat-sidecar import oci:/srv/in/layout:v1 --as example.com/team/app:v1",
    "peat-sidecar import oci-archive:/srv/in/app.tar",
    "peat-sidecar import --link --all registry-storage:/var/lib/registry",
    "peat-sidecar import --link --all containerd:/var/lib/containerd",
    "peat-sidecar import /srv/in/model.gguf --media-type application/x-gguf",
    "",
    "What stands behind the path says which package of several it is, by name",
    "or digest; with --all it is every one that has a name there.",
    "What a registry or containerd keeps on disk is only read: with --link its",
    "files are shared, so that content is on the disk once.",
    "Paths lie beneath an --import-root of `run`.",
)
_add(
    "fetch",
    content.fetch,
    "peat-sidecar fetch TICKET",
    "peat-sidecar fetch HASH --from ID@192.0.2.7:4433 --as example.com/app:v1",
    "peat-sidecar fetch HASH --from ID --blob --expect sha256:...",
    "",
    "`peat-sidecar packages NAME` prints hash and ticket on the other side.",
)
_add(
    "export",
    content.export,
    "peat-sidecar export example.com/app:v1 registry.example:5000/team/app:v1",
    "peat-sidecar export sha256:... oci:/srv/out/layout:v1 --link",
    "peat-sidecar export example.com/app:v1 oci-archive:/srv/out/app.tar",
    "peat-sidecar export --blob HASH /srv/out/model.gguf",
    "",
    "Paths lie beneath an --export-root of `run`.",
)
_add(
    "packages",
    packages.packages,
    "peat-sidecar packages",
    "peat-sidecar packages example.com/team/app:v1",
    "peat-sidecar packages -o json | jq -r '.packages[].ticket'",
    "peat-sidecar packages --mesh",
    "peat-sidecar packages --mesh 'registry.example/team/*' --agent ship-7",
)
_add(
    "blobs",
    blobs,
    "peat-sidecar blobs --package example.com/team/app:v1",
    "peat-sidecar blobs --state partial --full",
    "peat-sidecar blobs sha256:...",
)
_transfers = _group(
    "transfers",
    transfers.list_,
    "peat-sidecar transfers",
    "peat-sidecar transfers watch 0123456789abcdef",
    "peat-sidecar transfers cancel 0123456789abcdef",
)
_add("list", transfers.list_, "peat-sidecar transfers list", to=_transfers)
_add("watch", transfers.watch, "peat-sidecar transfers watch 0123456789abcdef", to=_transfers)
_add("cancel", transfers.cancel, "peat-sidecar transfers cancel 0123456789abcdef", to=_transfers)
_add(
    "watch",
    watch.watch,
    "peat-sidecar watch",
    "peat-sidecar watch --once",
    "peat-sidecar watch -o json | jq -r '.transfers[]?.subject'",
)
_add("status", nodes.status, "peat-sidecar status", "peat-sidecar status -o json | jq -r .endpointAddr")
_peers = _group(
    "peers",
    nodes.peers,
    "peat-sidecar peers",
    "peat-sidecar peers connect ID@192.0.2.7:4433",
    "peat-sidecar peers disconnect ID",
)
_add("list", nodes.peers, "peat-sidecar peers list", to=_peers)
_add("connect", nodes.connect, "peat-sidecar peers connect ID@192.0.2.7:4433", to=_peers)
_add("disconnect", nodes.disconnect, "peat-sidecar peers disconnect ID", to=_peers)
_add("ban", admission.ban, "peat-sidecar peers ban ID --reason 'lost at sea'", to=_peers)
_add("unban", admission.unban, "peat-sidecar peers unban ID", to=_peers)
_add("bans", admission.bans, "peat-sidecar peers bans", to=_peers)
_limits = _group(
    "limits",
    limits.show,
    "peat-sidecar limits",
    "peat-sidecar limits set up '22:00-06:00 unlimited, else 512 kbit/s'",
    "peat-sidecar limits set peer ID 1 Mbit/s",
    "peat-sidecar limits clear up",
)
_add(
    "set",
    limits.set_,
    "peat-sidecar limits set up 512 kbit/s",
    "peat-sidecar limits set total 'Mon-Fri 08:00-17:00 1 Mbit/s, else unlimited'",
    "peat-sidecar limits set peer ID 1 Mbit/s",
    "peat-sidecar limits set class bulk 64 kbit/s",
    "peat-sidecar limits set budget interface wwan0 500 MB a day, 10 GB a month",
    "peat-sidecar limits set metered 10.0.0.0/8 critical",
    "peat-sidecar limits set approve-above 2 GB",
    "peat-sidecar limits set zone Europe/Oslo",
    "peat-sidecar limits set share 0.05",
    to=_limits,
)
_add(
    "clear",
    limits.clear,
    "peat-sidecar limits clear up",
    "peat-sidecar limits clear peer ID",
    "peat-sidecar limits clear budget interface wwan0",
    "peat-sidecar limits clear all",
    to=_limits,
)
_documents = _only_group(
    "documents",
    "Reads and writes the documents that all members have.",
    "peat-sidecar documents list notes",
    """peat-sidecar documents put notes one '{"text": "hello"}'""",
    "peat-sidecar documents watch nodes packages",
)
_add("list", documents.list_, "peat-sidecar documents list packages", to=_documents)
_add("get", documents.get, "peat-sidecar documents get notes one | jq .", to=_documents)
_add(
    "put",
    documents.put,
    """peat-sidecar documents put notes one '{"text": "hello"}'""",
    "peat-sidecar documents put notes one @note.json",
    to=_documents,
)
_add("delete", documents.delete, "peat-sidecar documents delete notes one", to=_documents)
_add(
    "watch",
    documents.watch,
    "peat-sidecar documents watch notes",
    "peat-sidecar documents watch -o json | jq -c .",
    to=_documents,
)
_sync = _group("sync", sync.status, "peat-sidecar sync", "peat-sidecar sync stop", "peat-sidecar sync start")
_add("status", sync.status, "peat-sidecar sync status", to=_sync)
_add("start", sync.start, "peat-sidecar sync start", to=_sync)
_add("stop", sync.stop, "peat-sidecar sync stop", to=_sync)
_wants = _group(
    "wants",
    wants.list_,
    "peat-sidecar wants",
    "peat-sidecar wants add registry.example/team/app:v1 --class high",
    "peat-sidecar wants cancel 0123456789abcdef",
)
_add("list", wants.list_, "peat-sidecar wants list", to=_wants)
_add(
    "add",
    wants.add,
    "peat-sidecar wants add registry.example/team/app:v1",
    "peat-sidecar wants add HASH --class bulk --export 127.0.0.1:5000",
    to=_wants,
)
_add("approve", wants.approve, "peat-sidecar wants approve 0123456789abcdef", to=_wants)
_add("cancel", wants.cancel, "peat-sidecar wants cancel 0123456789abcdef", to=_wants)
_add("class", wants.set_class, "peat-sidecar wants class 0123456789abcdef critical", to=_wants)
_add("quote", wants.quote, "peat-sidecar quote registry.example/team/app:v1")
_roster = _group(
    "roster",
    admission.roster,
    "peat-sidecar roster",
    "peat-sidecar roster init fleet.json --admin-key admin.pem --app-id fleet",
    "peat-sidecar roster add fleet.json ID --role publisher --agent ship-7",
    "peat-sidecar roster sign fleet.json --admin-key admin.pem",
    "peat-sidecar roster load fleet.signed.json",
)
_add(
    "derive-id",
    derive_id.derive_id,
    "peat-sidecar derive-id ship-7 --formation-key-file /etc/peat/key",
)
_add(
    "init",
    roster.init,
    "peat-sidecar roster init fleet.json --admin-key admin.pem --app-id fleet",
    to=_roster,
)
_add(
    "add",
    roster.add,
    "peat-sidecar roster add fleet.json ID --role publisher --agent ship-7",
    to=_roster,
)
_add("remove", roster.remove, "peat-sidecar roster remove fleet.json ID", to=_roster)
_add("sign", roster.sign, "peat-sidecar roster sign fleet.json --admin-key admin.pem", to=_roster)
_add(
    "show",
    roster.show,
    "peat-sidecar roster show fleet.json",
    "peat-sidecar roster show fleet.signed.json",
    to=_roster,
)
_add("load", admission.load, "peat-sidecar roster load fleet.signed.json", to=_roster)
_add(
    "remove",
    packages.remove,
    "peat-sidecar remove example.com/team/app:v1",
    "peat-sidecar remove --blob sha256:...",
)
_add(
    "mirror-config",
    mirror_config,
    "peat-sidecar mirror-config containerd",
    "peat-sidecar mirror-config podman --registry registry.example --write",
    "peat-sidecar mirror-config docker --endpoint http://127.0.0.1:5001",
    "peat-sidecar mirror-config containerd --undo",
    "",
    "Clients ask the sidecar first and the registry itself for what it has not.",
    "--undo leaves what others wrote, and puts back what --write set aside.",
)
_add(
    "pin",
    pins.pin,
    "peat-sidecar pin registry.example/team/app:v1",
    "peat-sidecar pin 'registry.example/team/*'",
)
_add("unpin", pins.unpin, "peat-sidecar unpin 'registry.example/team/*'")
_add("pins", pins.pins, "peat-sidecar pins")
_store = _only_group(
    "store",
    "Shows what takes the disk, deletes what nothing needs, verifies all blobs.",
    "peat-sidecar store usage",
    "peat-sidecar store gc --dry-run",
    "peat-sidecar store verify --repair",
)
_add("usage", store.usage, "peat-sidecar store usage", to=_store)
_add("gc", store.gc, "peat-sidecar store gc --dry-run", "peat-sidecar store gc --all", to=_store)
_add("verify", store.verify, "peat-sidecar store verify", "peat-sidecar store verify --repair", to=_store)
