"""The mesh and an upstream that both have a package: who is asked first, and what happens when one cannot."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.mesh_nodes import Mesh, MeshNode, layer, mesh
from tests.support.nodes import bounded, until
from tests.support.odd_registry import OddRegistry, Reply
from tests.support.on_demand import endpoint_of
from tests.support.pull_through import NAME, Mirror, mirror, publish
from tests.support.real_files import real_bytes

REFERENCE = f"{NAME}/app:v1"
OF_MESH, OF_UPSTREAM = layer(1), real_bytes(300_000)


@asynccontextmanager
async def ground(
    directory: Path, *, is_first: bool = False
) -> AsyncIterator[tuple[Mesh, MeshNode, MeshNode, Mirror]]:
    """`a` has one content of the tag, the upstream another one, and `b` is asked."""
    async with OddRegistry() as odd, mesh(directory) as made:
        a, b = await made.node("a"), await made.node("b")
        a.add(REFERENCE, [OF_MESH])
        publish(odd, OF_UPSTREAM)
        made.link(a, b)
        await until(lambda: b.p.offers.resolve(REFERENCE) is not None)
        async with (
            endpoint_of(b, wait_seconds=0.5) as there,
            mirror(directory, odd, mesh=there.on_demand, store=b.p.store, is_first=is_first) as asked,
        ):
            yield made, a, b, asked


async def test_the_mesh_first(tmp_path: Path) -> None:
    async with ground(tmp_path) as (_, _, _, asked):
        assert OF_MESH in (await bounded(asked.pull())).values()
        assert asked.odd.seen == []


async def test_the_upstream_first(tmp_path: Path) -> None:
    async with ground(tmp_path, is_first=True) as (_, _, b, asked):
        assert OF_UPSTREAM in (await bounded(asked.pull())).values()
        await until(lambda: "content" in b.document(f"b:{REFERENCE}-amd64") or bool(documents(b)))
        assert any("content" in fields for fields in documents(b))  # others can have it from here


def documents(node: MeshNode) -> list[dict[str, object]]:
    found = node.p.records.documents("packages", after=f"{node.name}:")
    return [dict(each.fields) for each in found if each.owner == node.name]


@pytest.mark.parametrize("status", [401, 503])
async def test_the_mesh_where_the_upstream_fails(tmp_path: Path, status: int) -> None:
    async with ground(tmp_path, is_first=True) as (_, _, _, asked):
        asked.odd.rules.append(lambda _: Reply(status))
        assert OF_MESH in (await bounded(asked.pull())).values()


async def test_the_upstream_where_nobody_of_the_mesh_can_be_reached(tmp_path: Path) -> None:
    async with ground(tmp_path) as (made, a, b, asked):
        made.unlink(a, b)
        assert OF_UPSTREAM in (await bounded(asked.pull())).values()


async def test_the_upstream_where_the_mesh_knows_nothing(tmp_path: Path) -> None:
    async with ground(tmp_path) as (_, _, _, asked):
        publish(asked.odd, OF_UPSTREAM, tag="v2")
        assert OF_UPSTREAM in (await bounded(asked.pull(tag="v2"))).values()
