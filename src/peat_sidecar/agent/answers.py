"""The answers of the agent's API as values. Pure; `Wrong` says what cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from peat_sidecar.agent.fields import Fields, parse_answer

# Enums of the agent's API, by name.
_DEPLOY_STATUS = {
    f"DEPLOY_PACKAGE_STATUS_{name}": number
    for number, name in enumerate(
        (
            "UNSPECIFIED",
            "DEPLOYING",
            "DEPLOYED",
            "DEPLOY_ERROR",
            "CANCELLED",
            "RECEIVING",
            "REMOVING",
            "REMOVED",
            "REMOVE_ERROR",
        )
    )
}
_PULL_STATUS = {
    f"PULL_STATUS_{name}": number
    for number, name in enumerate(("UNSPECIFIED", "PENDING", "PULLING", "PULLED", "CANCELLED", "ERROR"))
}


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """What the agent says of itself and its cluster; empty where it does not say."""

    version: str = ""
    architecture: str = ""
    classification: str = ""
    k8s_version: str = ""
    k8s_node_status: str = ""
    zarf_version: str = ""
    run_mode: str = ""


@dataclass(frozen=True, slots=True)
class DeployedPackage:
    """A package that runs in the cluster."""

    name: str
    version: str = ""
    status: int | str = 0
    """Its number; a name where that has no number here."""
    flavor: str = ""
    namespace_override: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class PulledTag:
    """One version of a package in a registry."""

    reference: str
    arch: str = ""
    version: str = ""
    total_bytes: int = 0
    downloaded_bytes: int = 0
    status: int | str = 0
    """Of the pull: its number; a name where that has no number here."""


@dataclass(frozen=True, slots=True)
class RegistryPackage:
    """A package in a registry, with its versions."""

    repository: str
    name: str
    tags: tuple[PulledTag, ...]


@dataclass(frozen=True, slots=True)
class PulledRegistry:
    """A registry of the cluster and what was pulled into it."""

    name: str
    host: str
    packages: tuple[RegistryPackage, ...]


def parse_status(raw: bytes) -> AgentStatus:
    """Of `GET /status`; the time in it is not ours to use."""
    said = parse_answer(raw)
    return AgentStatus(
        said.text("version"),
        said.text("architecture"),
        said.text("classification"),
        said.text("k8sVersion"),
        said.text("k8sNodeStatus"),
        said.text("zarfVersion"),
        said.text("runMode"),
    )


def parse_packages(raw: bytes) -> list[DeployedPackage]:
    """Of `ListPackages`; entries without a name name nothing and are left out."""
    found = (_deployed(each) for each in parse_answer(raw).objects("packages"))
    return [each for each in found if each.name]


def parse_pulled(raw: bytes) -> list[PulledRegistry]:
    """Of `ListPulledPackages`; versions without a reference are left out."""
    return [
        PulledRegistry(
            each.text("name"), each.text("host"), tuple(_package(one) for one in each.objects("packages"))
        )
        for each in parse_answer(raw).objects("registries")
    ]


def _deployed(said: Fields) -> DeployedPackage:
    return DeployedPackage(
        said.text("name"),
        said.text("version"),
        said.enum("status", _DEPLOY_STATUS),
        said.text("flavor"),
        said.text("namespaceOverride"),
        said.texts("annotations"),
    )


def _package(said: Fields) -> RegistryPackage:
    tags = (_tag(each) for each in said.objects("tags"))
    return RegistryPackage(
        said.text("repoName"), said.text("packageName"), tuple(tag for tag in tags if tag.reference)
    )


def _tag(said: Fields) -> PulledTag:
    pull = said.object("pullInfo")
    return PulledTag(
        said.text("reference"),
        said.text("arch"),
        said.text("version"),
        said.number("totalBytes"),
        pull.number("downloadedBytes"),
        pull.enum("status", _PULL_STATUS),
    )
