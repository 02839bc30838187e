"""Packages in registries, as the intake takes them."""

from collections.abc import Sequence
from dataclasses import replace

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import Catalogue, RegistryOptions, RegistrySource

WATCHING_TRIES = 2
"""A watcher comes again by itself."""


class Registries:
    """Connections to the registries that a watcher has packages in. For one event loop; close it."""

    def __init__(self, options: RegistryOptions) -> None:
        self.options = options
        self._catalogues: dict[str, Catalogue] = {}

    def catalogue(self, registry: str, repository: str = "") -> Catalogue:
        """Of a registry; the same each time."""
        if registry not in self._catalogues:
            hasty = replace(self.options, tries=min(self.options.tries, WATCHING_TRIES))
            self._catalogues[registry] = Catalogue(registry, hasty, repository=repository)
        return self._catalogues[registry]

    async def close(self) -> None:
        """Closes them."""
        for catalogue in self._catalogues.values():
            await catalogue.close()
        self._catalogues.clear()


class RegistryPlace:
    """Where a package is in a registry, or may be: the first reference that leads to something counts."""

    link = False

    def __init__(
        self, references: Sequence[Reference], registries: Registries, known: Digest | None = None
    ) -> None:
        """At least one reference; known is the root's digest where the registry has just said it."""
        self._references = tuple(references)
        self._registries = registries
        self._known = known
        self._found = self._references[0]

    @property
    def name(self) -> str:
        """The reference."""
        return str(self._found)

    async def digest(self) -> Digest:
        """Of the root, as the registry states it."""
        if self._known is not None:
            return self._known
        lacking: NotFound | None = None
        for reference in self._references:
            catalogue = self._registries.catalogue(reference.registry, reference.repository)
            name = str(reference.digest) if reference.digest else reference.tag or "latest"
            try:
                digest = await catalogue.digest(reference.repository, name)
            except NotFound as error:
                lacking = lacking or error
                continue
            self._found = reference
            return digest
        raise lacking or NotFound(f"{self.name} is not there")

    async def open(self) -> RegistrySource:
        """Reads from the registry."""
        return RegistrySource(self._found, self._registries.options)
