"""What turned out to be damaged comes back from whoever has it, and only that."""

from pathlib import Path

import pytest

from peat_sidecar.errors import IntegrityError
from peat_sidecar.store import StoredPackage
from peat_sidecar.transfer import Progress, Verifier
from tests.support.mesh_nodes import MeshNode, layer, mesh, wanted
from tests.support.nodes import content, until
from tests.unit.store.test_verifying import change

APP = "registry.example/team/app:v1"


async def damaged(node: MeshNode, package: StoredPackage) -> IntegrityError:
    """The last layer is changed on the disk, and all is verified and wanted again."""
    change(node.p.store.directory / package.blobs[-1].path, 1000)
    verifier, progress = Verifier(node.p.store), Progress()
    await verifier.run(progress)
    assert progress.done_bytes == progress.total_bytes
    broken = verifier.broken_packages()
    assert [each.digest for each in verifier.damaged] == [package.blobs[-1]]
    assert broken == [package]
    node.p.wants.add(str(package.collection), reference=package.reference or "")
    fault = verifier.fault(len(broken), repair=True)
    assert fault is not None
    return fault


@pytest.mark.parametrize("whose", ["a replica", "its own"])
async def test_it_comes_back(tmp_path: Path, whose: str) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        made.link(a, b)
        package = a.add(APP, [layer(1), layer(2)])
        b.p.wants.add(str(package.collection))
        await until(lambda: b.content(APP) is not None)
        await wanted(b, str(package.collection), "done")
        mended, other = (b, a) if whose == "a replica" else (a, b)
        assert other.node is not None
        fault = await damaged(mended, package)
        assert str(package.blobs[-1]) in str(fault)
        assert "1 package misses a blob and wanted again" in str(fault)
        await until(lambda: mended.p.store.is_whole(package))
        sent = other.node.provider.sent_bytes
        assert sent < 2 * package.bytes  # of both directions
        info = mended.p.store.find(package.blobs[-1])
        assert info is not None
        assert content(mended.p.store, info.hash) == layer(2)
        verifier = Verifier(mended.p.store)
        await verifier.run(Progress())
        assert verifier.fault(len(verifier.broken_packages()), repair=False) is None
