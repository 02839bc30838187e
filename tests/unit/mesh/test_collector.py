"""What is left over goes after its time, and what a want is to go on with does not."""

from pathlib import Path

from peat_sidecar.mesh.collector import Collector, Garbage
from tests.support.mesh_nodes import MeshNode, calm, layer, mesh
from tests.support.nodes import sha256_of, until
from tests.support.on_demand import endpoint_of
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of

APP = "registry.example/team/app:v1"


def collector_of(node: MeshNode) -> Collector:
    return Collector(node.p.store, node.p.state, node.p.wants)


async def test_orphans_and_parts_go_after_their_time(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        collector = collector_of(a)
        await calm(a)
        a.add(APP, [layer(1)])
        orphan = a.p.store.put(b"left over")
        hash, _ = tree_of(real_bytes(50_000))
        a.p.store.partial(hash, 50_000).close()
        assert collector.garbage() == collector.garbage(3600)
        assert collector.collect() == Garbage((), ())
        found = collector.garbage(0)
        assert [each.hash for each in found.orphans] == [orphan.hash]
        assert [each.hash for each in found.parts] == [hash]
        assert collector.collect(0) == found
        assert a.p.store.find(orphan.hash) is None
        assert a.p.store.find(hash) is None
        assert a.content(APP) is not None


async def test_downloads_are_said_before_they_go_and_stay_while_the_wants_are_unknown(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        collector = collector_of(a)
        await calm(a)
        data = real_bytes(50_000)
        with a.p.store.writer(len(data), expected=sha256_of(data), resume=True) as writer:
            writer.write(data[:20_000])
        assert collector.garbage() == Garbage((), ())
        a.p.wants.open_offers = lambda: None  # type: ignore[method-assign]
        assert collector.collect(0) == Garbage((), ())
        del a.p.wants.open_offers
        found = collector.garbage(0)
        assert found == Garbage((), (), (20_000,))
        assert collector.collect(0) == found
        assert collector.collect(0) == Garbage((), ())


async def test_what_came_of_a_want_stays_while_it_waits(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b, c = await made.node("a"), await made.node("b"), await made.node("c")
        made.link(a, c)
        made.link(b, c)
        package = a.add(APP, [layer(1)])
        b.p.wants.add(str(package.collection))
        await until(lambda: bool(b.p.wants.open_offers()))
        came = []
        for name in (*a.p.store.companions(package.collection), *package.blobs[:1]):
            info = a.p.store.find(name)
            assert info is not None
            with a.p.store.reader(info.hash) as reader:
                came.append(b.p.store.put(reader.read(0, info.size)).hash)
        part = a.p.store.find(package.blobs[-1])
        assert part is not None
        b.p.store.partial(part.hash, part.size).close()
        collector = collector_of(b)
        assert collector.collect(0) == Garbage((), ())
        b.p.wants.cancel(b.p.wants.list()[0].id)
        collected = collector.collect(0)
        assert {each.hash for each in collected.orphans} == set(came)
        assert [each.hash for each in collected.parts] == [part.hash]


async def test_documents_of_known_packages_stay(tmp_path: Path) -> None:
    """They tell clients of the registry what there is when nobody can be asked."""
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        package = a.add(APP, [layer(1)])
        made.link(a, b)
        await until(lambda: b.p.offers.resolve(APP) is not None)
        async with endpoint_of(b, keeps=True) as there:
            await until(lambda: b.p.store.find(package.root.digest) is not None)
            await until(lambda: len(there.documents.kept()) == 5)
            left_over = b.p.store.put(b"left over")
            collector = Collector(b.p.store, b.p.state, b.p.wants, kept=there.documents.kept)
            assert [each.hash for each in collector.collect(0).orphans] == [left_over.hash]
            assert b.p.store.find(package.root.digest) is not None


async def test_last_uses_are_remembered_coarsely(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        package = a.add(APP, [layer(1)])
        await calm(a)
        collector = collector_of(a)
        collector.remember_uses()
        (remembered,) = a.p.state.uses().items()
        assert remembered[0] == package.root.digest
        a.p.store.uses.note(package.root.digest)  # a moment later: not worth a write
        collector.remember_uses()
        assert a.p.state.uses() == dict([remembered])
        a.p.store.remove_package(APP)
        collector.remember_uses()
        assert a.p.state.uses() == {}
