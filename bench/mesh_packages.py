"""What both meshes of the benches have in common: who knows whom, and what a package's document is."""

import random
from typing import Any

Graph = dict[int, set[int]]


def rings(nodes: int, known: int, *, seed: int = 1) -> Graph:
    """Everybody has `known` (even) neighbours at random: rings through all, each in another order."""
    chance = random.Random(seed)
    graph: Graph = {number: set() for number in range(nodes)}
    for _ in range(known // 2):
        order = list(range(nodes))
        chance.shuffle(order)
        for one, other in zip(order, [*order[1:], order[0]], strict=True):
            if one != other:
                graph[one].add(other)
                graph[other].add(one)
    return graph


def distance(graph: Graph, start: int) -> int:
    """How many hops away the farthest node is."""
    seen, edge, hops = {start}, {start}, 0
    while edge := {other for one in edge for other in graph[one]} - seen:
        seen |= edge
        hops += 1
    return hops


def agent(number: int) -> str:
    """The agent id of a node."""
    return f"edge-cluster-{number:04}"


def package(number: int, name: int, *, state: str = "complete") -> tuple[str, dict[str, Any]]:
    """Document id and content of a package that a node's cluster has pulled."""
    chance = random.Random(name)  # the same package has the same digests everywhere
    reference = f"registry.fleet.example:5000/team-{name % 7}/service-{name}:1.{name % 20}.{name % 3}"
    content = {
        "root": f"sha256:{chance.randbytes(32).hex()}",
        "manifest": f"sha256:{chance.randbytes(32).hex()}",
        "collection": chance.randbytes(32).hex(),
        "blobs": 3 + name % 20,
        "bytes": 1_000_000 + 7919 * name,
        "state": state,
    }
    document = {
        "agent_id": agent(number),
        "registry": "registry.fleet.example:5000",
        "package": f"team-{name % 7}/service-{name}",
        "reference": reference,
        "arch": "amd64",
        "version": f"1.{name % 20}.{name % 3}",
        "total_bytes": 1_000_000 + 7919 * name,
        "pull_status": "pulled",
        "content": content,
    }
    return f"{agent(number)}:{reference}-amd64", document
