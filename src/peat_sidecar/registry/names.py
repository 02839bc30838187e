"""Names of repositories as clients ask for them, and which references of the store they stand for.

A package of the store has a reference with a registry: `registry.example/team/app:v1`. Clients say the
registry by `?ns=` (containerd) or as the first part of the path. A name without one is in the name space of
this node, whose registry is called `localhost`: no other machine can be meant by it.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import LOCAL_REGISTRY, Digest, Reference
from peat_sidecar.registry.faults import Code, Fault

"""The registry of what is pushed without naming one."""
_NAME_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository, and how the client called it."""

    registry: str
    path: str
    shown: str
    """Its name in the path of the request."""
    namespace: str = ""
    """Of `?ns=`."""

    @property
    def name(self) -> str:
        """What references of its packages begin with."""
        return f"{self.registry}/{self.path}"

    def reference(self, name: str | Digest) -> str:
        """Of a tag, or of a manifest that has none."""
        return f"{self.name}@{name}" if isinstance(name, Digest) else f"{self.name}:{name}"

    def holds(self, reference: str) -> bool:
        """Whether a reference is one of its own."""
        return reference.startswith(self.name) and reference[len(self.name) :][:1] in (":", "@")

    def url(self, rest: str, **query: str | int) -> str:
        """The path of something in it."""
        if self.namespace:
            query["ns"] = self.namespace
        pairs = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in query.items())
        return f"/v2/{self.shown}/{rest}" + (f"?{pairs}" if pairs else "")


def parse_repository(shown: str, namespace: str, host: str) -> Repository:
    """From the path of a request, its `?ns=`, and the `Host` it was sent to; `NAME_INVALID` otherwise."""
    first, slash, rest = shown.partition("/")
    if namespace and namespace != host:
        registry, path = namespace, shown
    elif slash and is_registry(first):
        registry, path = first, rest
    else:
        registry, path = LOCAL_REGISTRY, shown
    try:
        parsed = Reference.parse(f"{registry}/{path}:latest")
    except ConfigError:
        parsed = None
    plain = parsed is not None and (parsed.registry, parsed.repository) == (registry, path)
    if not plain or max(len(shown), len(registry)) > _NAME_CHARACTERS:
        raise Fault(
            Code.NAME_INVALID,
            f"{shown[:120]!r} is no name of a repository: parts of lower-case letters and digits,"
            " with single dots, dashes and underscores between them, and slashes between parts",
        )
    return Repository(registry, path, shown, namespace)


def parse_digest(text: str) -> Digest:
    """`DIGEST_INVALID` otherwise."""
    try:
        return Digest.parse(text)
    except ConfigError as error:
        raise Fault(Code.DIGEST_INVALID, str(error)) from None


def parse_name(text: str) -> str | Digest:
    """A manifest's name: a tag or a digest."""
    if ":" in text:
        return parse_digest(text)
    try:
        tag = Reference.parse(f"{LOCAL_REGISTRY}/a:{text}").tag
    except ConfigError:
        tag = None
    if tag != text:
        raise Fault(
            Code.MANIFEST_INVALID,
            f"{text[:140]!r} is no tag: up to 128 letters, digits, dots, dashes and underscores",
        )
    return text


def is_registry(part: str) -> bool:
    """Whether the first part of a path names a registry, as docker tells it."""
    return "." in part or ":" in part or part == LOCAL_REGISTRY


def shown_name(reference: str) -> str:
    """How a client without `?ns=` calls the repository of a reference; `ConfigError` where it is none."""
    parsed = Reference.parse(reference)
    first, slash, _ = parsed.repository.partition("/")
    hidden = parsed.registry == LOCAL_REGISTRY and not (slash and is_registry(first))
    return parsed.repository if hidden else f"{parsed.registry}/{parsed.repository}"


def names_in(references: Iterable[str], registry: str = "") -> set[str]:
    """Repositories of references as clients call them, with `?ns=` of that registry or without; what is no
    reference has none.
    """
    found = set()
    for reference in references:
        with suppress(ConfigError):
            found.add(Reference.parse(reference).repository if registry else shown_name(reference))
    return found
