"""The command `run`: the daemon in this process. The only one that imports it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from peat_sidecar.errors import PeatError


class LogLevel(StrEnum):
    """What is logged: this and what is graver."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """A form of log lines."""

    TEXT = "text"
    JSON = "json"


class Identity(StrEnum):
    """Where the node's key comes from."""

    OWN = "own"
    DERIVED = "derived"


class Admission(StrEnum):
    """Who may join the formation."""

    KEY = "key"
    ROSTER = "key+roster"


Texts = list[str] | None


def run(
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Identity, token and store; a daemon's own.")
    ] = None,
    listen: Annotated[
        Texts, typer.Option(metavar="ADDRESS", help="UDP address for peers. [default: 0.0.0.0:4433]")
    ] = None,
    peer: Annotated[
        Texts, typer.Option(metavar="ID@HOST:PORT", help="A peer that is dialled and may fetch from here.")
    ] = None,
    allow: Annotated[Texts, typer.Option(metavar="ID", help="A peer that may fetch from here.")] = None,
    app_id: Annotated[
        str | None, typer.Option(metavar="NAME", help="The formation's name. [default: peat]")
    ] = None,
    formation_key_file: Annotated[
        Texts,
        typer.Option(metavar="FILE", help="The formation's key: 32 bytes in hex or base64; two in a change."),
    ] = None,
    identity: Annotated[
        Identity | None,
        typer.Option(
            help="derived: made of key and --node-id; who has the key can be any node. [default: own]"
        ),
    ] = None,
    node_id: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name that a derived identity is made of.")
    ] = None,
    admission: Annotated[
        Admission | None, typer.Option(help="Who may join: holders of the key, or those on a roster as well.")
    ] = None,
    roster_admin: Annotated[
        str | None, typer.Option(metavar="KEY", help="Public key of who signs the roster.")
    ] = None,
    roster: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A signed roster, taken in when it is newer.")
    ] = None,
    advertise: Annotated[
        Texts, typer.Option(metavar="HOST:PORT", help="An address that peers are told, in place of its own.")
    ] = None,
    discover_mdns: Annotated[
        bool | None,
        typer.Option(
            "--discover-mdns/--no-discover-mdns", help="Look for members on the local network. [default: yes]"
        ),
    ] = None,
    discover_dns: Annotated[
        Texts, typer.Option(metavar="NAME:PORT", help="A name with the addresses of several peers.")
    ] = None,
    agent: Annotated[
        str | None, typer.Option(metavar="URL", help="The cluster's agent, as http://127.0.0.1:9090.")
    ] = None,
    agent_id: Annotated[
        str | None, typer.Option(metavar="NAME", help="What its documents begin with. [default: its id]")
    ] = None,
    agent_tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificate to show to the agent.")
    ] = None,
    agent_tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key.")] = None,
    agent_tls_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificates that the agent may use.")
    ] = None,
    agent_poll_seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How often the agent is asked. [default: 10]")
    ] = None,
    watch_registry: Annotated[
        Texts,
        typer.Option(metavar="HOST/REPO[:TAG]", help="Packages of a registry to take in; with * and ?."),
    ] = None,
    watch_layout: Annotated[
        Texts, typer.Option(metavar="DIR", help="An image layout whose packages are taken in.")
    ] = None,
    watch_seconds: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How often registries are looked at. [default: 30]"),
    ] = None,
    share: Annotated[
        Texts,
        typer.Option(
            metavar="[!]PATTERN", help="Packages that peers may have, or with ! may not; see below."
        ),
    ] = None,
    replicate: Annotated[
        Texts, typer.Option(metavar="PATTERN[,...]", help="Packages of others to fetch unasked; see below.")
    ] = None,
    platform: Annotated[
        Texts, typer.Option(metavar="OS/ARCH", help="What this cluster runs. [default: this machine's]")
    ] = None,
    quota: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="What packages may take: '200 GB', '80 %'. [default: the disk]"),
    ] = None,
    forget_days: Annotated[
        float | None,
        typer.Option(metavar="DAYS", help="When a node not heard of is forgotten. [default: 180]"),
    ] = None,
    import_root: Annotated[
        Texts, typer.Option(metavar="DIR", help="Where files may be imported from.")
    ] = None,
    export_root: Annotated[Texts, typer.Option(metavar="DIR", help="Where files may be exported to.")] = None,
    api: Annotated[
        Texts,
        typer.Option(
            metavar="ADDRESS", help="unix:PATH or tcp://HOST:PORT. [default: api.sock in the data directory]"
        ),
    ] = None,
    api_tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificate chain of the API over TCP.")
    ] = None,
    api_tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key.")] = None,
    api_host: Annotated[
        Texts,
        typer.Option(
            "--api-host", "--api-hosts", metavar="NAME", help="Another name that requests may call it."
        ),
    ] = None,
    registry: Annotated[
        Texts,
        typer.Option(metavar="HOST:PORT", help="Serve packages to registry clients. [default: off]"),
    ] = None,
    registry_htpasswd: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Who may push to it, as htpasswd -B writes it.")
    ] = None,
    registry_token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A token that may push to it.")
    ] = None,
    registry_read_only: Annotated[
        bool | None, typer.Option("--registry-read-only", help="Nobody may push, whoever has credentials.")
    ] = None,
    registry_private: Annotated[
        bool | None, typer.Option("--registry-private", help="Pulling needs credentials as well.")
    ] = None,
    upstream: Annotated[
        Texts,
        typer.Option(
            metavar="REGISTRY[=URL]", help="What clients ask for of it and nobody has is pulled through."
        ),
    ] = None,
    registry_default: Annotated[
        str | None, typer.Option(metavar="HOST", help="Where names without a registry are looked for too.")
    ] = None,
    registry_map: Annotated[
        Texts,
        typer.Option(
            metavar="PATTERN=PATTERN", help="How others know names of localhost, and so are given them."
        ),
    ] = None,
    tag_policy: Annotated[
        Texts,
        typer.Option(metavar="PATTERN=POLICY", help="Whose word on tags counts; see below."),
    ] = None,
    registry_wait_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="How long a pull waits for members without a byte. [default: 10]"
        ),
    ] = None,
    registry_tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate, to serve it beyond loopback.")
    ] = None,
    registry_tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = None,
    auth_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Passwords of registries, as ~/.docker/config.json.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificates that registries may use.")
    ] = None,
    plain_http: Annotated[
        Texts, typer.Option(metavar="HOST[:PORT]", help="A registry that is spoken to without TLS.")
    ] = None,
    limit_up: Annotated[
        str | None, typer.Option(metavar="RATE", help="How fast bytes go to peers; see below.")
    ] = None,
    limit_down: Annotated[
        str | None, typer.Option(metavar="RATE", help="How fast bytes come from peers.")
    ] = None,
    limit_total: Annotated[str | None, typer.Option(metavar="RATE", help="Both together.")] = None,
    limit_peer: Annotated[Texts, typer.Option(metavar="ID=RATE", help="Each way with one peer.")] = None,
    limit_class: Annotated[
        Texts, typer.Option(metavar="CLASS=RATE", help="What is fetched here of a class, as bulk.")
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Of times in rates, as Europe/Oslo. [default: UTC]")
    ] = None,
    budget: Annotated[
        Texts,
        typer.Option(metavar="PLACE=AMOUNTS", help="As 'interface wwan0=500 MB a day, 10 GB a month'."),
    ] = None,
    metered: Annotated[
        Texts,
        typer.Option(metavar="PLACE=CLASS", help="What may be fetched there, as 10.0.0.0/8=critical."),
    ] = None,
    approve_above: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Larger fetches wait until they are approved.")
    ] = None,
    class_share: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Of what comes, for the lower classes. [default: 0.02]"),
    ] = None,
    stall_seconds: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Silence of a peer that is borne. [default: 5]"),
    ] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="[default: info]")] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="[default: text on a terminal, json elsewhere]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file of settings. [env: PEAT_SIDECAR_CONFIG]")
    ] = None,
) -> None:
    """Runs the daemon until SIGTERM or Ctrl-C."""
    from peat_sidecar.app import serve
    from peat_sidecar.config import load_settings

    options = {
        "data_dir": data_dir,
        "listen": _joined(listen),
        "peers": _joined(peer),
        "allow": _joined(allow),
        "app_id": app_id,
        "formation_key_files": formation_key_file,
        "identity": identity.value if identity is not None else None,
        "node_id": node_id,
        "admission": admission.value if admission is not None else None,
        "roster_admin": roster_admin,
        "roster": roster,
        "advertise": _joined(advertise),
        "discover_mdns": discover_mdns,
        "discover_dns": _joined(discover_dns),
        "agent": agent,
        "agent_id": agent_id,
        "agent_tls_cert": agent_tls_cert,
        "agent_tls_key": agent_tls_key,
        "agent_tls_ca": agent_tls_ca,
        "agent_poll_seconds": agent_poll_seconds,
        "watch_registries": _joined(watch_registry),
        "watch_layouts": watch_layout,
        "watch_seconds": watch_seconds,
        "share": _joined(share),
        "replicate": replicate,
        "platforms": _joined(platform),
        "quota": quota,
        "forget_days": forget_days,
        "import_roots": import_root,
        "export_roots": export_root,
        "api": _joined(api),
        "api_tls_cert": api_tls_cert,
        "api_tls_key": api_tls_key,
        "api_hosts": _joined(api_host),
        "registry": _joined(registry),
        "registry_htpasswd": registry_htpasswd,
        "registry_token_file": registry_token_file,
        "registry_read_only": registry_read_only,
        "registry_private": registry_private,
        "upstreams": _joined(upstream),
        "registry_default": registry_default,
        "registry_maps": _joined(registry_map),
        "tag_policies": tag_policy,
        "registry_wait_seconds": registry_wait_seconds,
        "registry_tls_cert": registry_tls_cert,
        "registry_tls_key": registry_tls_key,
        "auth_file": auth_file,
        "ca_file": ca_file,
        "plain_http": _joined(plain_http),
        "limit_up": limit_up,
        "limit_down": limit_down,
        "limit_total": limit_total,
        "limit_peers": limit_peer,
        "limit_classes": limit_class,
        "budgets": budget,
        "metered": metered,
        "approve_above": approve_above,
        "time_zone": time_zone,
        "class_share": class_share,
        "stall_seconds": stall_seconds,
        "log_level": log_level.value if log_level is not None else None,
        "log_format": log_format.value if log_format is not None else None,
    }
    settings = load_settings(options, config_file=config)
    try:
        serve(settings)
    except ExceptionGroup as group:
        raise _first(group) from group


def _joined(texts: Texts) -> str | None:
    """As the variable has it, so that an option may list several as well."""
    return ",".join(texts) if texts else None


def _first(group: ExceptionGroup) -> Exception:
    """What stopped the daemon: an error of ours, if there is one."""
    ours = group.subgroup(PeatError)
    found: Exception = ours or group
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return found
