"""The cluster's agent, as its API shows it: what it is, what is deployed, what its registries have pulled.

A Connect server that is only asked, never told. Whatever goes wrong with it is an `AgentError`, a
`SourceError` with its remedy: it is unreachable, silent, too slow, or answers what it must not.
"""

from peat_sidecar.agent.answers import (
    AgentStatus,
    DeployedPackage,
    PulledRegistry,
    PulledTag,
    RegistryPackage,
)
from peat_sidecar.agent.client import AgentClient
from peat_sidecar.agent.failures import AgentError

__all__ = [
    "AgentClient",
    "AgentError",
    "AgentStatus",
    "DeployedPackage",
    "PulledRegistry",
    "PulledTag",
    "RegistryPackage",
]
