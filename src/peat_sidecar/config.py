"""Settings of the daemon: from options, from `PEAT_SIDECAR_*` variables and from a TOML file, in this order.

`load_settings` is the only way in. A setting that is unknown or wrong is a `ConfigError` that names it, says
what is wrong and how to mend it. Empty variables count as unset; lists in variables are comma separated.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError

ENV_PREFIX = "PEAT_SIDECAR_"
_OTHER_VARIABLES = frozenset({"CONFIG", "TOKEN", "TOKEN_FILE"})
"""Of the command line, not of the daemon."""
_SOCKET_PATH_LIMIT_BYTES = 107
"""`sun_path` has 108 bytes on Linux, its NUL included."""
_HOST = re.compile(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where the API is served: a unix socket, or a TCP address."""

    path: Path | None = None
    host: str = ""
    """Without brackets."""
    port: int = 0
    """0 takes a free one."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `unix:/path/to/api.sock` or `tcp://host:port`; `ConfigError` otherwise."""
        scheme, colon, rest = text.strip().partition(":")
        if scheme == "unix" and colon and rest:
            return cls(path=_socket_path("/" + rest.lstrip("/") if rest.startswith("//") else rest))
        if scheme == "tcp" and rest.startswith("//"):
            return cls(None, *_host_and_port(rest[2:].rstrip("/"), text))
        raise ConfigError(
            f"{text[:80]!r} is no address for the API; one looks like unix:/run/peat-sidecar/api.sock"
            " or tcp://127.0.0.1:50051"
        )

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"tcp://{_shown(self.host)}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _split(value: object) -> object:
    """A text at its commas; what comes as a list stays one."""
    if isinstance(value, str):
        return tuple(part for part in (part.strip() for part in value.split(",")) if part)
    return value


def _split_peers(value: object) -> object:
    """As `_split`, but `ID@host:port,host:port` is one peer with two addresses."""
    parts = _split(value)
    if not isinstance(value, str) or not isinstance(parts, tuple):
        return parts
    peers: list[str] = []
    for part in parts:
        if peers and "@" in peers[-1] and "@" not in part and ":" in part:
            peers[-1] += f",{part}"
        else:
            peers.append(part)
    return tuple(peers)


def _parse_api(value: object) -> object:
    try:
        return ApiAddress.parse(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(str(error)) from None


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
PeerTexts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_peers)]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split)]
Apis = Annotated[
    tuple[Annotated[ApiAddress, BeforeValidator(_parse_api)], ...], NoDecode, BeforeValidator(_split)
]


class ReplicateRule(BaseModel):
    """One rule of the policy: which packages of the formation are wanted here."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    reference: str = Field(min_length=1)
    """A pattern for references as shells have them: `registry.example/team/*`, `*:v2`."""
    platforms: Texts = ()
    """As `linux/amd64` or `amd64`; none: those of this node."""
    transfer_class: TransferClass = Field(default=TransferClass.NORMAL, alias="class")
    carry: bool = False
    """For others: any platform, unless some are listed."""
    export: str = ""
    """Where what has arrived is written to: `host[:port]`, or `host[:port]/prefix`."""


def default_data_dir() -> Path:
    """Where a daemon of this user keeps its data unless told otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/peat-sidecar")
    return Path("~/.local/share/peat-sidecar").expanduser()


class Settings(BaseSettings):
    """What the daemon was told. Immutable, checked as far as that goes without opening anything."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
    )

    data_dir: Path = Field(default_factory=default_data_dir)
    """Identity, token, store."""
    listen: Texts = ("0.0.0.0:4433",)
    """UDP addresses for peers: at most one of each IP version."""
    api: Apis = ()
    """Where the API is served; by default a socket in the data directory."""
    api_tls_cert: Path | None = None
    """PEM certificate chain for the API over TCP."""
    api_tls_key: Path | None = None
    api_hosts: Texts = ()
    """Names that a request may give as its Host or Origin, beside addresses of loopback and the bound one."""
    peers: PeerTexts = ()
    """Peers that are admitted and dialled, as `ID@host:port`."""
    allow: Texts = ()
    """Ids of peers that are admitted."""
    import_roots: Paths = ()
    """Directories that requests may import files from."""
    export_roots: Paths = ()
    """Directories that requests may export files to."""
    app_id: str = Field(default="peat", min_length=1, max_length=128)
    """The formation's name; together with the key it says who belongs to it."""
    formation_keys: Texts = ()
    """One key of the formation, or two while it is changed: 32 bytes as hexadecimal digits or base64."""
    formation_key_files: Paths = ()
    """Files with such keys."""
    identity: Literal["own", "derived"] = "own"
    """`derived`: from the formation key and `node_id`, so that ids can be computed elsewhere. Whoever has
    the key can then act as any node."""
    node_id: str = Field(default="", max_length=253)
    """The name that a derived identity is made of."""
    admission: Literal["key", "key+roster"] = "key"
    roster_admin: str = ""
    """Public key of the roster's admin."""
    roster: Path | None = None
    """A signed roster, taken in at start when it is newer than the one that is known."""
    advertise: Texts = ()
    """Addresses that peers are told, `host:port`; none: those of the interfaces."""
    discover_mdns: bool = True
    """Look for members on the local network; only with a formation key."""
    discover_dns: Texts = ()
    """Names with the addresses of several peers, as `peers.example:4433`."""
    agent_id: str = Field(default="", max_length=128)
    """What this node's documents begin with; by default its endpoint id."""
    agent: str = ""
    """Base URL of the cluster's agent, as `http://127.0.0.1:9090`."""
    agent_tls_cert: Path | None = None
    agent_tls_key: Path | None = None
    agent_tls_ca: Path | None = None
    agent_poll_seconds: float = Field(default=10.0, gt=0, le=3600)
    watch_registries: Texts = ()
    """Packages of registries that are taken in: `host[:port]/repository[:tag]` with shell patterns."""
    watch_layouts: Paths = ()
    """Image layouts whose packages are taken in, at once when they change."""
    watch_seconds: float = Field(default=30.0, gt=0, le=86400)
    """How often registries are looked at."""
    replicate: tuple[ReplicateRule, ...] = ()
    """What is fetched without being asked for; nothing by default."""
    platforms: Texts = ()
    """What this cluster runs, as `linux/amd64`; by default this machine's."""
    quota_bytes: int = Field(default=0, ge=0)
    """Room for packages that the policy wants; 0: no bound but the disk's."""
    forget_days: float = Field(default=180.0, gt=0)
    """Records of nodes that were not heard of for so long are dropped."""
    stall_seconds: float = Field(default=5.0, gt=0, le=3600)
    """Silence of a peer that is borne; not a total time."""
    auth_file: Path | None = None
    """Passwords of registries, as `~/.docker/config.json` has them."""
    ca_file: Path | None = None
    """PEM certificates of authorities that registries may use beside the system's."""
    plain_http: Texts = ()
    """Registries, as `host` or `host:port`, that are spoken to without TLS."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] | None = None
    """None: text on a terminal, JSON else."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options, then variables, then the file, if `load_settings` was given one."""
        file = settings_cls.model_config.get("toml_file")
        toml = (TomlConfigSettingsSource(settings_cls),) if file else ()
        return (init_settings, env_settings, *toml)

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator(
        "data_dir",
        "api_tls_cert",
        "api_tls_key",
        "auth_file",
        "ca_file",
        "roster",
        "agent_tls_cert",
        "agent_tls_key",
        "agent_tls_ca",
    )
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @field_validator("import_roots", "export_roots")
    @classmethod
    def _roots(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        paths = tuple(path.expanduser().absolute() for path in value)
        for path in paths:
            if not path.is_dir():
                raise ValueError(f"{path} is no directory; make it, or name another one")
        return paths

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("no address is named; one looks like 0.0.0.0:4433")
        for text in value:
            try:
                host, _ = _host_and_port(text, text)
                ipaddress.ip_address(host)
            except (ConfigError, ValueError):
                raise ValueError(
                    f"{text[:80]!r} is no address to listen on; one looks like 0.0.0.0:4433 or [::]:4433"
                ) from None
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.api_tls_cert is None) != (self.api_tls_key is None):
            raise ValueError("api_tls_cert and api_tls_key belong together; set both or neither")
        if (self.agent_tls_cert is None) != (self.agent_tls_key is None):
            raise ValueError("agent_tls_cert and agent_tls_key belong together; set both or neither")
        if len(self.formation_keys) + len(self.formation_key_files) > 2:
            raise ValueError("a formation has one key, or two while it is changed; take the others out")
        for address in self.api:
            if not address.is_loopback and self.api_tls_cert is None:
                raise ValueError(
                    f"api: {address} can be reached from other machines, which needs TLS;"
                    " set api_tls_cert and api_tls_key, or serve on tcp://127.0.0.1:PORT or a unix socket"
                )
        return self

    @property
    def api_addresses(self) -> tuple[ApiAddress, ...]:
        """Where the API is served, the default included."""
        return self.api or (default_api(self.data_dir),)

    @property
    def token_path(self) -> Path:
        """The file with what changing calls over TCP must carry."""
        return self.data_dir / "api.token"


def default_api(data_dir: Path) -> ApiAddress:
    """The socket of the daemon that has that data directory."""
    return ApiAddress(path=_socket_path(str(data_dir / "api.sock")))


def load_settings(options: Mapping[str, Any] | None = None, *, config_file: Path | None = None) -> Settings:
    """Reads all sources. Options that are None or empty lists do not count.

    `config_file` goes before the variable `PEAT_SIDECAR_CONFIG`.
    """
    _refuse_unknown_variables()
    given = {name: value for name, value in (options or {}).items() if value not in (None, (), [])}
    file = config_file or os.environ.get(f"{ENV_PREFIX}CONFIG") or None
    if file is not None and not Path(file).is_file():
        raise ConfigError(f"the config file {file} does not exist; name another one with --config")

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        settings = FromFile(**given)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(dict(detail)) for detail in error.errors())) from None
    except SettingsError as error:
        raise ConfigError(f"a variable {ENV_PREFIX}* cannot be read: {error}; mend or unset it") from None
    except ValueError as error:  # what tomllib raises
        raise ConfigError(f"the config file {file} is no TOML: {error}; mend that line") from None
    except OSError as error:
        raise ConfigError(f"the config file {file} cannot be read: {error.strerror}") from None
    return settings


def _refuse_unknown_variables() -> None:
    known = {name.upper() for name in Settings.model_fields} | _OTHER_VARIABLES
    for variable, value in os.environ.items():
        name = variable.upper().removeprefix(ENV_PREFIX)
        if value and variable.upper().startswith(ENV_PREFIX) and name not in known:
            raise ConfigError(f"there is no setting {variable};{_suggest(name, known, ENV_PREFIX)} unset it")


def _suggest(name: str, known: set[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f" did you mean {prefix}{close[0]}? Else" if close else ""


def _explain(detail: dict[str, Any]) -> str:
    """One error of pydantic in a sentence for people."""
    names = [str(part) for part in detail["loc"]]
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not names:
        return message
    name = names[0]
    if detail["type"] == "extra_forbidden":
        return f"there is no setting {name!r};{_suggest(name, set(Settings.model_fields))} take it out"
    if detail["type"] != "value_error":
        message = f"{message[:1].lower()}{message[1:]}, not {str(detail['input'])[:80]!r}"
    return f"{name} (--{_option(name)}, {ENV_PREFIX}{name.upper()}): {message}"


def _option(name: str) -> str:
    singular = {
        "peers": "peer",
        "import_roots": "import-root",
        "export_roots": "export-root",
        "api_hosts": "api-host",
    }
    return singular.get(name, name.replace("_", "-"))


def _socket_path(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT_BYTES:
        raise ConfigError(
            f"the path of the API's socket, {path}, is longer than the {_SOCKET_PATH_LIMIT_BYTES} bytes"
            " that a socket's path may have; choose a shorter one with --api unix:/run/peat-sidecar.sock"
        )
    return path


def _host_and_port(rest: str, text: str) -> tuple[str, int]:
    host, colon, port = rest.rpartition(":")
    plain = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536
    if not colon or not plain or not _HOST.fullmatch(host):
        raise ConfigError(f"{text[:80]!r} has no host and port; it looks like tcp://127.0.0.1:50051")
    return host.strip("[]"), int(port)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
