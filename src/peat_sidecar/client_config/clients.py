"""Which clients can be configured."""

from pathlib import Path
from typing import Protocol

from peat_sidecar.client_config.containerd import Containerd
from peat_sidecar.client_config.docker import Docker
from peat_sidecar.client_config.mirror import Mirror
from peat_sidecar.client_config.podman import Podman
from peat_sidecar.errors import ConfigError


class Client(Protocol):
    """One kind of client; its files are below a folder. `ConfigError` where a file is not as it has to be."""

    @property
    def folder(self) -> Path:
        """Where it looks for them."""
        ...

    def files(self, mirror: Mirror, folder: Path) -> dict[Path, str]:
        """What there would be; `ConfigError` for registries that it cannot be told of."""
        ...

    def write(self, mirror: Mirror, folder: Path) -> list[Path]:
        """Writes that; which files were written."""
        ...

    def undo(self, mirror: Mirror, folder: Path) -> list[Path]:
        """Takes it away again; which files were changed."""
        ...

    def explain(self, mirror: Mirror, folder: Path) -> list[str]:
        """What else is to be done and known, a paragraph each; what is to be copied begins with blanks."""
        ...


_CLIENTS: dict[str, Client] = {"containerd": Containerd(), "podman": Podman(), "docker": Docker()}


def client(name: str) -> Client:
    """`ConfigError` for one that is not known."""
    try:
        return _CLIENTS[name]
    except KeyError:
        known = ", ".join(_CLIENTS)
        raise ConfigError(f"{name[:40]!r} is no client that can be configured; those are {known}") from None
