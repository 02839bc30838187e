"""What signed records say of names, whether the content is here or not."""

from typing import Protocol

from peat_sidecar.ids import Digest, EndpointId


class Told(Protocol):
    """Who says what a tag stands for."""

    @property
    def signer(self) -> EndpointId:
        """Whose record it is."""
        ...

    @property
    def at(self) -> float:
        """When it was written, in unix seconds."""
        ...


class KnownTags(Protocol):
    """Names are those of references in the store. Blocks."""

    def told(self, reference: str, root: Digest, /) -> Told | None:
        """Who says that a tag stands for that; None where no record that counts does."""
        ...

    def is_immutable(self, reference: str, /) -> bool:
        """Whether the tag stays at what it stands for."""
        ...

    def references(self, prefix: str, /) -> list[str]:
        """All with a tag that begin so, sorted."""
        ...

    def referrers(self, repository: str, subject: Digest, /) -> list[Digest]:
        """Manifests of a repository that refer to that one."""
        ...


class NoTags:
    """There are no records."""

    def told(self, reference: str, root: Digest, /) -> Told | None:
        """None."""
        return None

    def is_immutable(self, reference: str, /) -> bool:
        """No policy says so."""
        return False

    def references(self, prefix: str, /) -> list[str]:
        """None."""
        return []

    def referrers(self, repository: str, subject: Digest, /) -> list[Digest]:
        """None."""
        return []
