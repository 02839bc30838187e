"""The only way to settings: reads all sources, and says of each fault what it is and how to mend it."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict, SettingsError

from peat_sidecar.config.settings import ENV_PREFIX, Settings
from peat_sidecar.errors import ConfigError

_OTHER_VARIABLES = frozenset({"CONFIG", "TOKEN", "TOKEN_FILE"})
"""Of the command line, not of the daemon."""
_SINGULAR = {
    "peers": "peer",
    "import_roots": "import-root",
    "export_roots": "export-root",
    "api_hosts": "api-host",
    "formation_key_files": "formation-key-file",
    "watch_registries": "watch-registry",
    "watch_layouts": "watch-layout",
    "platforms": "platform",
    "limit_peers": "limit-peer",
    "limit_classes": "limit-class",
    "budgets": "budget",
    "upstreams": "upstream",
    "registry_maps": "registry-map",
    "tag_policies": "tag-policy",
}
"""Options that are given once for each of several values."""


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
    if detail["type"] == "extra_forbidden" and len(names) == 1:
        return f"there is no setting {name!r};{_suggest(name, set(Settings.model_fields))} take it out"
    if detail["type"] != "value_error":
        message = f"{message[:1].lower()}{message[1:]}, not {str(detail['input'])[:80]!r}"
    place = ".".join(names[1:])
    within = f"{place}: " if place and detail["type"] != "value_error" else ""
    return f"{name} (--{_option(name)}, {ENV_PREFIX}{name.upper()}): {within}{message}"


def _option(name: str) -> str:
    return _SINGULAR.get(name, name.replace("_", "-"))
