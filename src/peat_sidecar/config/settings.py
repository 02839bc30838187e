"""What the daemon can be told, and what of it cannot be right whatever the machine is like."""

import ipaddress
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from peat_sidecar.config.addresses import ApiAddress, default_api, default_data_dir, host_and_port
from peat_sidecar.config.upstreams import Upstream, Upstreams
from peat_sidecar.config.values import Apis, Lines, Paths, PeerTexts, Rules, Texts
from peat_sidecar.errors import ConfigError

ENV_PREFIX = "PEAT_SIDECAR_"


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
    registry: Texts = ()
    """Where the registry endpoint is served, as `127.0.0.1:5000`; none: it is off."""
    registry_htpasswd: Path | None = None
    """Who may push: users with bcrypt hashes, as `htpasswd -B` writes them."""
    registry_token_file: Path | None = None
    """A token that may push, as `Bearer TOKEN` or as the password of the user `token`."""
    registry_read_only: bool = False
    """Nobody may push, whoever has credentials."""
    registry_private: bool = False
    """Pulling needs credentials as well."""
    registry_wait_seconds: float = Field(default=10.0, gt=0, le=3600)
    """What others have and gives no byte for so long is answered by 503."""
    registry_default: str = ""
    """A registry where names are looked for as well that clients ask for without one, as docker does of its
    mirrors for docker.io."""
    upstreams: Upstreams = ()
    """Registries that packages are pulled through from when a client asks for what neither this node nor, by
    default, the mesh has: `registry.example`, `registry.example=https://mirror.example upstream-first`."""
    registry_maps: Texts = ()
    """Under which names others know what was pushed here without naming a registry, and so are given it:
    `localhost/team/*=registry.example/team/*`."""
    tag_policies: Lines = ()
    """What decides where records disagree on a tag, by patterns of references, the first that fits:
    `registry.example/team/*=immutable`, `=newest` (the default), `=signers ID,ID`."""
    registry_tls_cert: Path | None = None
    """PEM certificate chain; without one the registry is served on loopback only."""
    registry_tls_key: Path | None = None
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
    """What this node's documents begin with; by default the public key that signs them: its endpoint id,
    unless that is derived."""
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
    share: Texts = ()
    """Which packages peers may have, by patterns of references, after `*` and `!localhost/*`: the last one
    that fits decides, `!` before it says no."""
    replicate: Rules = ()
    """What is fetched without being asked for; nothing by default."""
    platforms: Texts = ()
    """What this cluster runs, as `linux/amd64`; by default this machine's."""
    quota: str = ""
    """What packages may take in all: `200 GB`, or `80 %` of the disk; none: no bound but the disk's."""
    forget_days: float = Field(default=180.0, gt=0)
    """Records of nodes that were not heard of for so long are dropped."""
    limit_up: str = ""
    """How fast bytes go to peers: `512 kbit/s`, or `22:00-06:00 unlimited, else 512 kbit/s`."""
    limit_down: str = ""
    limit_total: str = ""
    limit_peers: Lines = ()
    """Each way with one peer, as `ID=1 Mbit/s`."""
    limit_classes: Lines = ()
    """What is fetched here of a class, as `bulk=64 kbit/s`."""
    time_zone: str = "UTC"
    """In which times of day in limits are told."""
    class_share: float = Field(default=0.02, ge=0, le=0.5)
    """Of what comes, for the classes behind the one that goes first."""
    budgets: Lines = ()
    """How much goes over a part of the network: `interface wwan0=500 MB a day, 10 GB a month`."""
    metered: Lines = ()
    """Parts of the network, and the last class that is fetched over them, as `10.0.0.0/8=critical`."""
    approve_above: str = ""
    """As `2 GB`: a fetch that lacks more waits until it is approved."""
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
        "registry_htpasswd",
        "registry_token_file",
        "registry_tls_cert",
        "registry_tls_key",
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
                host, _ = host_and_port(text, text)
                ipaddress.ip_address(host)
            except (ConfigError, ValueError):
                raise ValueError(
                    f"{text[:80]!r} is no address to listen on; one looks like 0.0.0.0:4433 or [::]:4433"
                ) from None
        return value

    @field_validator("registry")
    @classmethod
    def _registry(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                host_and_port(text, text)
            except ConfigError:
                raise ValueError(
                    f"{text[:80]!r} is no address for the registry; one looks like 127.0.0.1:5000"
                ) from None
        return value

    @field_validator("registry_default")
    @classmethod
    def _registry_name(cls, value: str) -> str:
        return Upstream(registry=value).registry if value else value

    @field_validator("agent_id")
    @classmethod
    def _agent_id(cls, value: str) -> str:
        if ":" in value or not value.isprintable() or value != value.strip():
            raise ValueError("an agent id has no colon, no blank at its ends and no control character")
        return value

    @field_validator("agent")
    @classmethod
    def _agent(cls, value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if value and (scheme not in ("http", "https") or not separator or not rest.strip("/")):
            raise ValueError(f"{value[:80]!r} is no URL of an agent; one looks like http://127.0.0.1:9090")
        return value.rstrip("/")

    @field_validator("discover_dns")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                host_and_port(text, text)
            except ConfigError:
                raise ValueError(
                    f"{text[:80]!r} is no name with a port; one looks like peers.example:4433"
                ) from None
        return value

    @field_validator("roster_admin")
    @classmethod
    def _public_key(cls, value: str) -> str:
        if value and not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise ValueError("a public key has 64 hexadecimal digits; `peat-sidecar roster show` prints it")
        return value.lower()

    @field_validator("watch_registries")
    @classmethod
    def _watched(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            registry, slash, repository = text.partition("/")
            if not slash or not registry or not repository or "*" in registry:
                raise ValueError(
                    f"{text[:80]!r} names no registry and repository;"
                    " it looks like registry.example:5000/team/*:v*"
                )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.api_tls_cert is None) != (self.api_tls_key is None):
            raise ValueError("api_tls_cert and api_tls_key belong together; set both or neither")
        if (self.registry_tls_cert is None) != (self.registry_tls_key is None):
            raise ValueError("registry_tls_cert and registry_tls_key belong together; set both or neither")
        if (self.agent_tls_cert is None) != (self.agent_tls_key is None):
            raise ValueError("agent_tls_cert and agent_tls_key belong together; set both or neither")
        if self.agent_tls_cert is not None and not self.agent.startswith("https://"):
            raise ValueError("agent_tls_cert is for an agent that is reached by https://; mend agent")
        if self.agent_tls_ca is not None and not self.agent.startswith("https://"):
            raise ValueError("agent_tls_ca is for an agent that is reached by https://; mend agent")
        if self.identity == "derived" and not (self.node_id and self.has_formation):
            raise ValueError("a derived identity is made of a formation key and node_id; set both")
        if self.admission == "key+roster" and not (self.roster_admin and self.has_formation):
            raise ValueError("admission by roster needs a formation key and roster_admin; set both")
        if self.admission == "key+roster" and self.identity == "derived":
            raise ValueError(
                "a roster lists nodes by keys of their own, which a derived identity is not;"
                " choose one of both"
            )
        if self.roster is not None and not self.roster_admin:
            raise ValueError("a roster is believed only when roster_admin says who signs it; set that too")
        if self.roster_admin and self.admission != "key+roster":
            raise ValueError("roster_admin does nothing unless admission is key+roster; set both or neither")
        if len(self.formation_keys) + len(self.formation_key_files) > 2:
            raise ValueError("a formation has one key, or two while it is changed; take the others out")
        for address in self.api:
            if not address.is_loopback and self.api_tls_cert is None:
                raise ValueError(
                    f"api: {address} can be reached from other machines, which needs TLS;"
                    " set api_tls_cert and api_tls_key, or serve on tcp://127.0.0.1:PORT or a unix socket"
                )
        for address in self.registry_addresses:
            if not address.is_loopback and self.registry_tls_cert is None:
                raise ValueError(
                    f"registry: {address.host} can be reached from other machines, which needs TLS;"
                    " set registry_tls_cert and registry_tls_key, or serve on 127.0.0.1:PORT"
                )
        if self.registry_private and self.registry_htpasswd is None and self.registry_token_file is None:
            raise ValueError(
                "registry_private asks for credentials, and there are none;"
                " set registry_htpasswd or registry_token_file too"
            )
        return self

    @property
    def has_formation(self) -> bool:
        """Whether there is a formation key: without one this node is in no mesh."""
        return bool(self.formation_keys or self.formation_key_files)

    @property
    def api_addresses(self) -> tuple[ApiAddress, ...]:
        """Where the API is served, the default included."""
        return self.api or (default_api(self.data_dir),)

    @property
    def registry_addresses(self) -> tuple[ApiAddress, ...]:
        """Where the registry is served; none: it is off."""
        return tuple(ApiAddress(None, *host_and_port(text, text)) for text in self.registry)

    @property
    def token_path(self) -> Path:
        """The file with what changing calls over TCP must carry."""
        return self.data_dir / "api.token"
