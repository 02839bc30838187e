"""containerd, and so Kubernetes nodes and `ctr --hosts-dir`: a folder with a `hosts.toml` per registry."""

from pathlib import Path

from peat_sidecar.client_config.files import marked, remove_empty, replace, take_back
from peat_sidecar.client_config.mirror import Mirror

_ALL = "_default"
"""The folder for registries that have none of their own."""


class Containerd:
    """Without a `server` line containerd goes on to the registry itself when the mirror has nothing."""

    folder = Path("/etc/containerd/certs.d")

    def files(self, mirror: Mirror, folder: Path) -> dict[Path, str]:
        """One for each registry, or one for all."""
        text = f'[host."{mirror.endpoint}"]\n  capabilities = ["pull", "resolve"]\n  dial_timeout = "2s"\n'
        names = mirror.registries or (_ALL,)
        return {folder / name / "hosts.toml": marked(text) for name in names}

    def write(self, mirror: Mirror, folder: Path) -> list[Path]:
        """Those of other registries stay."""
        return replace(self.files(mirror, folder))

    def undo(self, mirror: Mirror, folder: Path) -> list[Path]:
        """Of the registries that are named, or of all."""
        named = list(self.files(mirror, folder)) if mirror.registries else None
        paths = named or sorted(folder.glob("*/hosts.toml"))
        taken = [path for path in paths if take_back(path)]
        for path in taken:
            remove_empty(path.parent)
        return taken

    def explain(self, mirror: Mirror, folder: Path) -> list[str]:
        """The folder has to be named in containerd's own configuration."""
        return [
            f"containerd reads {folder} at each pull, once its config.toml names that folder (restart it"
            " after that, and never again for this):",
            f'  [plugins."io.containerd.grpc.v1.cri".registry]      # containerd 1\n'
            f'  [plugins."io.containerd.cri.v1.images".registry]    # containerd 2\n'
            f'    config_path = "{folder}"',
            f"ctr is told each time: ctr images pull --hosts-dir {folder} NAME",
            "k3s and RKE2 write that folder themselves: name the endpoint as a mirror in their"
            " registries.yaml instead.",
            "What the sidecar has not, containerd asks the registry itself for.",
        ]
