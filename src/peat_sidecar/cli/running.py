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
    auth_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Passwords of registries, as ~/.docker/config.json.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificates that registries may use.")
    ] = None,
    plain_http: Annotated[
        Texts, typer.Option(metavar="HOST[:PORT]", help="A registry that is spoken to without TLS.")
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
        "import_roots": import_root,
        "export_roots": export_root,
        "api": _joined(api),
        "api_tls_cert": api_tls_cert,
        "api_tls_key": api_tls_key,
        "api_hosts": _joined(api_host),
        "auth_file": auth_file,
        "ca_file": ca_file,
        "plain_http": _joined(plain_http),
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
