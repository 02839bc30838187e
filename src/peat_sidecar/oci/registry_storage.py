"""docker-registry's own storage on this machine's disk, read in place.

Beneath its `rootdirectory` a blob is `docker/registry/v2/blobs/<algorithm>/<2 hex>/<hex>/data`, and a tag is
a file that holds a digest: `repositories/<name>/_manifests/tags/<tag>/current/link`. The registry may run
and write meanwhile: what it has not finished is not there yet. Nothing is ever written here.
"""

from collections.abc import Iterator
from contextlib import suppress

from peat_sidecar.confined import Directory
from peat_sidecar.errors import ConfigError, NotFound, PeatError, Refused, SourceError
from peat_sidecar.ids import LOCAL_REGISTRY, Digest, Reference
from peat_sidecar.oci.catalogue import NAMES_LIMIT
from peat_sidecar.oci.file_reader import FileReader, Folder
from peat_sidecar.oci.named_packages import NamedPackage, only_one
from peat_sidecar.oci.tags import is_referrers_tag
from peat_sidecar.packages import Descriptor

_V2 = "docker/registry/v2"
_LINK_BYTES = 256
_DEPTH_LIMIT = 128
"""Components of a repository's name, of which 255 characters have room for as many."""


class RegistryStorageSource(FileReader):
    """A package in the storage of a docker-registry. A choice is `team/app:v1`, `team/app@sha256:...` or a
    digest.
    """

    def __init__(self, directory: Directory, choice: str | Digest | None = None) -> None:
        """Takes the directory over: closing the source closes it."""
        super().__init__(Folder(directory), directory.path, choice)
        self._directory = directory

    def _file_name(self, digest: Digest) -> str:
        return f"{_V2}/blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"

    def _resolve(self) -> Descriptor:
        _require_storage(self._directory)
        if isinstance(self._choice, Digest):
            return self._unlisted(self._choice)
        chosen = self._choice or only_one(list_registry_storage(self._directory), self._place)
        name = _parse_name(chosen)
        if name.digest is not None:
            self._require_revision(name.repository, name.digest)
            return self._unlisted(name.digest)
        return self._unlisted(_tag(self._directory, name.repository, name.tag or ""))

    def _require_revision(self, repository: str, digest: Digest) -> None:
        revision = f"{_manifests(repository)}/revisions/{digest.algorithm}/{digest.hex}/link"
        if not self._directory.exists(revision):
            raise NotFound(f"{self._place} has no {digest} in {repository}")

    def _entries(self) -> Iterator[tuple[str, Descriptor]]:
        """Every manifest of the chosen repository, with a tag or not; of all where only a digest is known."""
        if isinstance(self._choice, str):
            repositories: Iterator[str] = iter([_parse_name(self._choice).repository])
        else:
            repositories = _repositories(self._directory)
        for repository in repositories:
            for tag in _names(self._directory, f"{_manifests(repository)}/tags"):
                with suppress(PeatError):  # deleted, not yet written, or a link to elsewhere
                    yield tag, self._unlisted(_tag(self._directory, repository, tag))
            for digest in _revisions(self._directory, repository):
                with suppress(PeatError):
                    yield "", self._unlisted(digest)


def list_registry_storage(directory: Directory) -> list[NamedPackage]:
    """All tags of all repositories, but for those that list referrers. `SourceError` for a folder that is no
    such storage. Blocks.
    """
    _require_storage(directory)
    found = []
    for repository in _repositories(directory):
        for tag in _names(directory, f"{_manifests(repository)}/tags"):
            name = f"{repository}:{tag}"
            if is_referrers_tag(tag) or not directory.exists(f"{_manifests(repository)}/tags/{tag}/current"):
                continue
            with suppress(ConfigError):  # no registry would have taken such a name
                found.append(NamedPackage(name, str(Reference.parse(f"{LOCAL_REGISTRY}/{name}"))))
            if len(found) == NAMES_LIMIT:
                return found
    return found


def _require_storage(directory: Directory) -> None:
    if not directory.exists(f"{_V2}/repositories") or not directory.exists(f"{_V2}/blobs"):
        raise SourceError(
            f"{directory.path} is no storage of a docker-registry: it has no folder {_V2} with blobs and"
            " repositories; name the rootdirectory of its configuration"
        )


def _parse_name(text: str) -> Reference:
    try:
        return Reference.parse(f"{LOCAL_REGISTRY}/{text}")
    except ConfigError:
        raise ConfigError(
            f"{text[:120]!r} is no name in the storage of a registry; one looks like team/app:v1"
        ) from None


def _tag(directory: Directory, repository: str, tag: str) -> Digest:
    name = f"{_manifests(repository)}/tags/{tag}/current/link"
    try:
        text = directory.read_file(name, _LINK_BYTES).decode("ascii", "replace").strip()
    except NotFound:
        raise NotFound(f"{directory.path} has nothing of the name {repository}:{tag}") from None
    try:
        return Digest.parse(text)
    except ConfigError:
        raise SourceError(
            f"{repository}:{tag} in {directory.path} holds no digest; it is damaged, or being written"
        ) from None


def _repositories(directory: Directory) -> Iterator[str]:
    """In alphabetical order of their components. A folder without one is followed as far as names go."""
    waiting = [""]
    while waiting:
        name = waiting.pop()
        below = _names(directory, f"{_V2}/repositories/{name}")
        if name and "_manifests" in below:
            yield name
        if name.count("/") < _DEPTH_LIMIT:
            waiting += [f"{name}/{each}".lstrip("/") for each in reversed(below) if each[0] not in "._"]


def _revisions(directory: Directory, repository: str) -> Iterator[Digest]:
    for algorithm in _names(directory, f"{_manifests(repository)}/revisions"):
        for hex in _names(directory, f"{_manifests(repository)}/revisions/{algorithm}"):
            with suppress(ConfigError):
                yield Digest.parse(f"{algorithm}:{hex}")


def _manifests(repository: str) -> str:
    return f"{_V2}/repositories/{repository}/_manifests"


def _names(directory: Directory, name: str) -> list[str]:
    """What is in a folder; nothing where it is none, or is gone."""
    try:
        return directory.list(name)
    except (NotFound, Refused):
        return []
