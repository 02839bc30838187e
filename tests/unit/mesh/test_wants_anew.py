"""Wants whose loop has failed, and is run again, as the daemon does it."""

import asyncio
from pathlib import Path

import pytest

from tests.support.mesh_nodes import layer, mesh, wanted
from tests.support.nodes import until

REF = "registry.example/team/app:v1"


async def test_a_fault_while_a_fetch_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        package = a.add(REF, [layer(1)])
        await until(lambda: "content" in a.document(f"a:{REF}-amd64"))
        made.link(a, b)
        judge, faults = b.p.wants._endings.judge, [ValueError("a fault")]

        def judged(*about: object) -> bool:
            if faults:
                raise faults.pop()
            return judge(*about)  # type: ignore[arg-type]

        monkeypatch.setattr(b.p.wants._endings, "judge", judged)
        b.p.wants.add(REF)
        loop = b.p.tasks[0]
        await until(loop.done)
        assert isinstance(loop.exception(), ExceptionGroup)
        b.p.tasks[0] = asyncio.create_task(b.p.wants.run())
        await wanted(b, REF, "done")
        assert not faults
        got = b.content(REF)
        assert got is not None
        assert got.root == package.root
