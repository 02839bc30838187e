"""What has arrived is written to the cluster's registry, however long that is down."""

import asyncio
import json
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.config import ReplicateRule
from peat_sidecar.errors import ConfigError, Refused, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.mesh.registry_exports import RegistryExports, target_of
from peat_sidecar.oci import ReadBlob, RegistryOptions, RegistrySource
from peat_sidecar.packages import Descriptor
from peat_sidecar.state import ExportRow
from tests.support.mesh_nodes import MeshNode, layer, mesh, wanted
from tests.support.nodes import until
from tests.support.registry import registry

REF = "registry.example/team/app:v1"
ROOT = Digest("sha256", "ab" * 32)


@pytest.mark.parametrize(
    ("export_to", "target"),
    [
        ("127.0.0.1:5000", "127.0.0.1:5000/team/app:v1"),
        ("registry.local", "registry.local/team/app:v1"),
        ("docker://127.0.0.1:5000/", "127.0.0.1:5000/team/app:v1"),
        ("127.0.0.1:5000/mirror/a", "127.0.0.1:5000/mirror/a/team/app:v1"),
        ("127.0.0.1:5000/other:v2", "127.0.0.1:5000/other:v2"),
    ],
)
def test_where_a_package_is_written_to(export_to: str, target: str) -> None:
    assert str(target_of(REF, export_to, ROOT)) == target


def test_packages_without_a_tag_or_a_name() -> None:
    assert str(target_of(f"r.example/app@{ROOT}", "h:5000", ROOT)) == f"h:5000/app:{'ab' * 6}"
    assert str(target_of("", "h:5000", ROOT)) == f"h:5000/packages/{'ab' * 6}:{'ab' * 6}"
    assert str(target_of("app", "h:5000/mirror", ROOT)) == f"h:5000/mirror/packages/{'ab' * 6}:{'ab' * 6}"


@pytest.mark.parametrize("export_to", ["", "/", "no registry", "h:5000/UPPER", "h:99999999/x", "/a:b"])
def test_what_is_no_place(export_to: str) -> None:
    with pytest.raises(ConfigError):
        target_of(REF, export_to, ROOT)


class Registry:
    """A target that is as broken as a test wants it."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.opened: list[str] = []
        self.closed = 0
        self.tagged: list[tuple[Digest, str | None]] = []
        self.gate: asyncio.Event | None = None

    def __call__(self, reference: Reference, options: RegistryOptions) -> "Registry":
        self.opened.append(str(reference))
        return self

    name = "registry"

    async def has_blob(self, descriptor: Descriptor) -> bool:
        if self.gate is not None:
            await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return False

    async def push_blob(
        self, descriptor: Descriptor, read: ReadBlob, *, mount_from: Sequence[str] = ()
    ) -> None:
        assert len(await asyncio.to_thread(read, 0, descriptor.size)) == descriptor.size

    async def push_manifest(self, descriptor: Descriptor, raw: bytes, tag: str | None = None) -> None:
        self.tagged.append((descriptor.digest, tag))

    async def finish(self, root: Descriptor, name: str | None = None) -> None:
        pass

    async def close(self) -> None:
        self.closed += 1


def with_target(node: MeshNode, target: Registry) -> RegistryExports:
    """The node's exports go there."""
    node.p.exports._open_target = target
    return node.p.exports


def row(node: MeshNode) -> ExportRow:
    (found,) = node.p.state.exports()
    return found


async def test_an_export_is_done_once_and_remembered(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        target = Registry()
        exports = with_target(a, target)
        told = []
        exports.on_change(lambda: told.append(row(a).done))
        package = a.add(REF, [layer(1)])
        exports.add(package, REF, "h:5000")
        await until(lambda: row(a).done)
        assert target.tagged == [(package.root.digest, "v1")]
        await until(lambda: told == [True])
        assert target.closed == 1
        await a.stop()
        await a.start()
        with_target(a, target)
        a.p.exports._wake.set()
        await until(lambda: a.p.exports._wake.is_waiting)
        assert len(target.opened) == 1
        a.p.exports.add(package, REF, "h:5000")  # it has come once more
        await until(lambda: len(target.tagged) == 2)
        await until(lambda: row(a).done)
        key = f"a:{REF}-amd64"
        await until(lambda: a.document(key).get("exported") == ["h:5000/team/app:v1"])


@pytest.mark.parametrize("is_running", [False, True])
async def test_an_older_version_is_not_written_over_a_newer_one(tmp_path: Path, is_running: bool) -> None:
    """Both are here, and the registry was down when the older one came, or is slow."""
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        target = Registry()
        target.gate = asyncio.Event()
        exports = with_target(a, target)
        older = a.add(REF, [layer(1)])
        a.p.store.add_package(replace(older, reference=f"{REF}@{older.root.digest}"))
        exports.add(older, REF, "h:5000")
        await until(lambda: bool(target.opened))
        if not is_running:
            target.errors = [SourceError("it is down")]
            target.gate.set()
            await until(lambda: row(a).attempts == 1)
        newer = a.add(REF, [layer(2)])
        exports.add(newer, REF, "h:5000")
        await asyncio.sleep(0.05)
        target.gate.set()
        await until(lambda: any(each.done for each in a.p.state.exports() if each.root == newer.root.digest))
        made.time.advance(100)
        await until(lambda: not exports._running and exports._wake.is_waiting)
        assert target.tagged[-1] == (newer.root.digest, "v1")
        assert row(a).root == newer.root.digest


async def test_a_registry_that_is_down_is_tried_again_across_restarts(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        target = Registry()
        target.errors = [SourceError("it is down") for _ in range(99)]
        exports = with_target(a, target)
        package = a.add(REF, [layer(1)])
        exports.add(package, REF, "h:5000")
        waits = []
        for attempts in range(1, 5):
            await until(lambda attempts=attempts: row(a).attempts == attempts and bool(made.time.due))  # type: ignore[misc]
            assert row(a).last_error == "it is down"
            waits.append(max(made.time.due))
            made.time.advance(waits[-1] + 0.01)
        for wait, longest in zip(waits, (5, 10, 20, 40), strict=True):
            assert 0.8 * longest <= wait <= longest
        await until(lambda: row(a).attempts == 5)
        await a.stop()
        target.errors = [Refused("the password is wrong") for _ in range(99)]
        await a.start()
        with_target(a, target)
        await until(lambda: row(a).attempts == 6 and bool(made.time.due))
        assert row(a).last_error == "the password is wrong"
        assert a.p.exports.pending() == [row(a)]
        target.errors.clear()
        made.time.advance(2000)
        await until(lambda: row(a).done)
        assert row(a).last_error == ""
        assert a.p.exports.pending() == []


async def test_two_at_once_and_a_hanging_one_holds_up_nobody(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        hanging, good = Registry(), Registry()
        hanging.gate = asyncio.Event()

        def opened(reference: Reference, options: RegistryOptions) -> Registry:
            return (hanging if reference.registry == "hangs:5000" else good)(reference, options)

        a.p.exports._open_target = opened
        package = a.add(REF, [layer(1)])
        a.p.exports.add(package, REF, "hangs:5000")
        for number in range(3):
            a.p.exports.add(package, REF, f"good{number}:5000")
        await until(lambda: len(good.tagged) == 3)
        assert hanging.tagged == []
        hanging.gate.set()
        await until(lambda: all(each.done for each in a.p.state.exports()))


async def test_what_was_removed_is_not_exported(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        target = Registry()
        target.errors = [SourceError("it is down")]
        exports = with_target(a, target)
        package = a.add(REF, [layer(1)])
        exports.add(package, REF, "h:5000")
        await until(lambda: row(a).attempts == 1 and bool(made.time.due))
        a.p.store.remove_package(REF)
        made.time.advance(10)
        await until(lambda: a.p.state.exports() == [])
        assert len(target.opened) == 1


async def test_a_cancelled_transfer_is_tried_again_later(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        target = Registry()
        target.gate = asyncio.Event()
        exports = with_target(a, target)
        exports.add(a.add(REF, [layer(1)]), REF, "h:5000")
        await until(lambda: len(target.opened) == 1)
        (transfer,) = a.p.transfers.running()
        a.p.transfers.cancel(transfer.id)
        await until(lambda: row(a).attempts == 1 and bool(made.time.due))
        assert "cancelled" in row(a).last_error
        assert target.closed == 1
        target.gate.set()
        made.time.advance(10)
        await until(lambda: row(a).done)


async def test_the_end_of_the_program_ends_exports(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        target = Registry()
        target.gate = asyncio.Event()
        exports = with_target(a, target)
        exports.add(a.add(REF, [layer(1)]), REF, "h:5000")
        await until(lambda: len(target.opened) == 1)
        await a.stop()
        assert target.closed == 1
        await a.start()
        target.gate.set()
        with_target(a, target)
        assert not row(a).done
        assert row(a).attempts == 0


async def test_a_real_registry_gets_what_policy_brought(tmp_path: Path) -> None:
    rule = ReplicateRule.model_validate(
        {"reference": "registry.example/*", "class": "high", "export": "placeholder"}
    )
    with registry(tmp_path / "registry") as running:
        target = f"{running.address}/mirror"
        async with mesh(tmp_path) as made:
            a = await made.node("a")
            b = await made.node("b", rules=[rule.model_copy(update={"export": target})])
            made.link(a, b)
            package = a.add(REF, [layer(1), layer(2)])
            await until(lambda: bool(b.p.state.exports()) and row(b).done)
            tags = _get(f"http://{running.address}/v2/mirror/team/app/tags/list")
            assert tags["tags"] == ["v1"]
            source = RegistrySource(Reference.parse(f"{target}/team/app:v1"))
            assert (await source.resolve()).digest == package.root.digest
            await source.close()
            key = f"b:{REF}-amd64"
            await until(lambda: b.document(key).get("exported") == [f"{target}/team/app:v1"])
            await until(lambda: a.p.records.get("packages", key) is not None)
            (want,) = b.p.wants.list()
            assert want.transfer_class is TransferClass.HIGH
            # a person's want, with a place of its own
            other = a.add("registry.else/app:v2", [layer(3)])
            b.p.wants.add("registry.else/app:v2", export_to=f"{running.address}/kept/here:now")
            await wanted(b, "registry.else/app:v2", "done")
            await until(lambda: all(each.done for each in b.p.state.exports()))
            assert _get(f"http://{running.address}/v2/kept/here/tags/list")["tags"] == ["now"]
            assert other.root.digest in {each.root for each in b.p.state.exports()}


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
