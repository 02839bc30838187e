"""What every command that asks the daemon has: options that say where it is and how to print, a client."""

import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from peat_sidecar.cli.client import Client
from peat_sidecar.config import ApiAddress, default_api, default_data_dir
from peat_sidecar.errors import ConfigError

Own = ParamSpec("Own")
_TOKEN_LIMIT_BYTES = 4096


class Output(StrEnum):
    """For people, or for programs."""

    TEXT = "text"
    JSON = "json"


class Session:
    """A client, and how answers are printed."""

    def __init__(self, client: Client, output: Output) -> None:
        self.client = client
        self.as_json = output is Output.JSON


def open_session(
    output: Annotated[
        Output, typer.Option("--output", "-o", help="For people or for programs.")
    ] = Output.TEXT,
    api: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            envvar="PEAT_SIDECAR_API",
            show_envvar=False,
            help="The daemon's API: unix:PATH or tcp://HOST:PORT. [env: PEAT_SIDECAR_API]",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            envvar="PEAT_SIDECAR_DATA_DIR",
            show_envvar=False,
            help="The daemon's data directory, which has its socket. [env: PEAT_SIDECAR_DATA_DIR]",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="PEAT_SIDECAR_TOKEN_FILE",
            show_envvar=False,
            help="The daemon's api.token, for TCP. [env: PEAT_SIDECAR_TOKEN_FILE, or PEAT_SIDECAR_TOKEN]",
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificates (PEM) to trust when the API has TLS."),
    ] = None,
) -> Session:
    """Nothing is sent yet. `ConfigError` for what cannot be right."""
    folder = (data_dir or default_data_dir()).expanduser().absolute()
    # As the daemon's setting, the variable may list several addresses.
    first = next((part.strip() for part in (api or "").split(",") if part.strip()), None)
    address = ApiAddress.parse(first) if first else default_api(folder)
    token = None if address.path is not None else _token(token_file, folder)
    return Session(Client(address, token=token, ca_file=ca_file), output)


def asks_daemon(function: Callable[Concatenate[Session, Own], None]) -> Callable[..., None]:
    """Turns a function that takes a session into a command with the options of `open_session`."""
    common = inspect.signature(open_session).parameters
    first, *own = inspect.signature(function).parameters.values()

    @wraps(function)
    def command(**values: Any) -> None:
        session = open_session(**{name: values.pop(name) for name in common})
        with session.client:
            function(session, **values)  # type: ignore[call-arg]

    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in (*own, *common.values())
        if each is not first
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _token(file: Path | None, data_dir: Path) -> str | None:
    if file is not None:
        return _read_token(file)
    if token := os.environ.get("PEAT_SIDECAR_TOKEN", "").strip():
        return _checked(token, "the variable PEAT_SIDECAR_TOKEN has no token; set it to what is in")
    with suppress(ConfigError):
        return _read_token(data_dir / "api.token")
    return None


def _read_token(file: Path) -> str:
    try:
        with file.expanduser().open(encoding="ascii") as opened:
            token = opened.read(_TOKEN_LIMIT_BYTES).strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"the token file {file} cannot be read: {reason}; mend --token-file") from None
    return _checked(token, f"the token file {file} has no token; name")


def _checked(token: str, fault: str) -> str:
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigError(f"{fault} the daemon's api.token")
    return token
