"""Settings of the daemon: from options, from `PEAT_SIDECAR_*` variables and from a TOML file, in this order.

`load_settings` is the only way in. A setting that is unknown or wrong is a `ConfigError` that names it, says
what is wrong and how to mend it. Empty variables count as unset; lists in variables are comma separated.
"""

from peat_sidecar.config.addresses import ApiAddress, default_api, default_data_dir
from peat_sidecar.config.loading import load_settings
from peat_sidecar.config.settings import Settings
from peat_sidecar.config.upstreams import Upstream
from peat_sidecar.config.values import ReplicateRule

__all__ = [
    "ApiAddress",
    "ReplicateRule",
    "Settings",
    "Upstream",
    "default_api",
    "default_data_dir",
    "load_settings",
]
