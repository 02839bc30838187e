"""Pins, usage, collection and verification as callers of the API have them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from connectrpc.errors import ConnectError

from peat_sidecar.errors import ConfigError, NotFound
from peat_sidecar.mesh import Collector
from peat_sidecar.rpc.disk_calls import DiskCalls
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.parts import Parts
from tests.support.mesh_nodes import MeshNode, calm, layer, mesh
from tests.support.nodes import bounded, sha256_of
from tests.unit.store.test_verifying import change

NO_CONTEXT: Any = None
APP = "registry.example/team/app:v1"


@asynccontextmanager
async def calls_of(folder: Path) -> AsyncIterator[tuple[DiskCalls, MeshNode]]:
    async with mesh(folder) as made:
        node = await made.node("a")
        await calm(node)
        p = node.p
        parts = SimpleNamespace(
            store=p.store,
            state=p.state,
            pins=p.pins,
            wants=p.wants,
            transfers=p.transfers,
            replicator=p.replicator,
            collector=Collector(p.store, p.state, p.wants),
            node=SimpleNamespace(address=node.address),
        )
        yield DiskCalls(cast(Parts, parts)), node


async def test_pins(tmp_path: Path) -> None:
    async with calls_of(tmp_path) as (calls, node):
        package = node.add(APP, [layer(1)])
        answer = await calls.set_pin(pb.SetPinRequest(name="registry.example/*"), NO_CONTEXT)
        assert list(answer.packages) == [APP]
        assert answer.pin is not None
        again = await calls.set_pin(pb.SetPinRequest(name="registry.example/*"), NO_CONTEXT)
        assert again.pin == answer.pin
        for name in (str(package.root.digest), str(package.collection), APP):
            answer = await calls.set_pin(pb.SetPinRequest(name=name), NO_CONTEXT)
            assert list(answer.packages) == [APP]
        answer = await calls.set_pin(pb.SetPinRequest(name="nginx"), NO_CONTEXT)
        assert answer.pin is not None
        assert (answer.pin.name, list(answer.packages)) == ("nginx", [])
        await calls.remove_pin(pb.RemovePinRequest(name="nginx"), NO_CONTEXT)
        listed = await calls.list_pins(pb.ListPinsRequest(), NO_CONTEXT)
        assert len(listed.pins) == 4
        with pytest.raises(NotFound, match="is not pinned; list the pins"):
            await calls.remove_pin(pb.RemovePinRequest(name="nginx"), NO_CONTEXT)
        for name in ("", "*" * 600, "a*\tb"):
            with pytest.raises(ConfigError):
                await calls.set_pin(pb.SetPinRequest(name=name), NO_CONTEXT)


async def test_usage_and_garbage(tmp_path: Path) -> None:
    async with calls_of(tmp_path) as (calls, node):
        package = node.add(APP, [layer(1)])
        node.p.store.put(b"left over")
        kept = node.p.store.put(b"a single file")
        node.p.store.kept.add(kept.proven_digest)
        with node.p.store.writer(100, expected=sha256_of(b"later"), resume=True) as writer:
            writer.write(b"half")
        usage = await calls.get_store_usage(pb.GetStoreUsageRequest(), NO_CONTEXT)
        (one,) = usage.packages
        assert (one.reference, one.own_bytes, one.shared_bytes) == (APP, package.bytes, 0)
        assert (one.pinned, one.replica, one.last_used_at > 0) == (False, False, True)
        assert (usage.package_bytes, usage.kept_bytes) == (package.bytes, 13)
        assert (usage.orphan_blobs, usage.orphan_bytes, usage.quota_bytes) == (1, 9, 0)
        for dry_run in (True, True, False):
            request = pb.CollectGarbageRequest(dry_run=dry_run, all=True)
            answer = await calls.collect_garbage(request, NO_CONTEXT)
            assert (answer.orphan_blobs, answer.orphan_bytes) == (1, 9)
            assert (answer.partial_blobs, answer.partial_bytes) == (1, 4)
        answer = await calls.collect_garbage(pb.CollectGarbageRequest(all=True), NO_CONTEXT)
        assert (answer.orphan_blobs, answer.partial_blobs) == (0, 0)
        assert node.p.store.find(kept.hash) is not None


async def test_verification_is_a_transfer(tmp_path: Path) -> None:
    async with calls_of(tmp_path) as (calls, node):
        package = node.add(APP, [layer(1)])
        answer = await calls.verify_store(pb.VerifyStoreRequest(wait=True), NO_CONTEXT)
        assert answer.transfer is not None
        assert answer.transfer.kind == pb.TransferKind.VERIFY
        assert answer.transfer.done_bytes == answer.transfer.total_bytes == node.p.store.usage().bytes
        change(node.p.store.directory / package.blobs[-1].path, 7)
        with pytest.raises(ConnectError, match="--repair fetches what is missing from peers") as raised:
            await calls.verify_store(pb.VerifyStoreRequest(wait=True), NO_CONTEXT)
        assert raised.value.code.value == "data_loss"
        assert node.p.wants.list() == []
        begun = await calls.verify_store(pb.VerifyStoreRequest(repair=True), NO_CONTEXT)
        assert begun.transfer is not None
        await bounded(node.p.transfers.get(begun.transfer.id).wait())
        assert [each.name for each in node.p.wants.list()] == [str(package.collection)]


async def test_verification_can_be_cancelled(tmp_path: Path) -> None:
    async with calls_of(tmp_path) as (calls, node):
        node.add(APP, [layer(1)])
        begun = await calls.verify_store(pb.VerifyStoreRequest(), NO_CONTEXT)
        assert begun.transfer is not None
        transfer = node.p.transfers.cancel(begun.transfer.id)
        await bounded(transfer.wait())
        await asyncio.sleep(0)
        assert node.content(APP) is not None
