"""podman, buildah, skopeo and CRI-O: a file of `registries.conf.d`."""

from pathlib import Path

from peat_sidecar.client_config.files import marked, replace, take_back
from peat_sidecar.client_config.mirror import Mirror
from peat_sidecar.errors import ConfigError

_FILE = "900-peat-sidecar.conf"
"""Behind those that there usually are: of two entries for one registry the last counts."""


class Podman:
    """They name the registry as the first part of the path."""

    folder = Path("/etc/containers/registries.conf.d")

    def files(self, mirror: Mirror, folder: Path) -> dict[Path, str]:
        """One for all registries; there is no way to say all."""
        if not mirror.registries:
            raise ConfigError(
                "podman is told of each registry by its name; name them: --registry docker.io --registry ..."
            )
        insecure = "" if mirror.is_secure else "insecure = true\n"
        entries = [
            f'[[registry]]\nprefix = "{name}"\nlocation = "{name}"\n\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}/{name}"\n{insecure}'
            for name in mirror.registries
        ]
        return {folder / _FILE: marked("\n".join(entries))}

    def write(self, mirror: Mirror, folder: Path) -> list[Path]:
        """In place of what was written before."""
        return replace(self.files(mirror, folder))

    def undo(self, mirror: Mirror, folder: Path) -> list[Path]:
        """Always the whole file."""
        path = folder / _FILE
        return [path] if take_back(path) else []

    def explain(self, mirror: Mirror, folder: Path) -> list[str]:
        """Nothing has to run for it but CRI-O."""
        return [
            f"podman, buildah, skopeo and CRI-O read {folder} at each start; only CRI-O is restarted."
            " A [[registry]] with the same prefix in another file is replaced by this one. The file is one:"
            " written again with other registries, it has those only.",
            "What the sidecar has not, they ask the registry itself for.",
        ]
