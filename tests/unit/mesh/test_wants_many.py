"""Many wants, twenty providers that vanish and come back, and a getter that starts again: all comes."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.packages import assemble as assemble_package
from peat_sidecar.packages import collection_names, layout_files, parse_manifest
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.wire import Collection, encode_collection
from tests.support.mesh_nodes import Mesh, MeshNode, _endpoint, mesh
from tests.support.nodes import Node, content, sha256_of
from tests.support.power_loss import QuickDisk
from tests.support.real_files import real_bytes
from tests.support.signed_records import batch, said, signer
from tests.unit.transfer.test_getter import layered

PROVIDERS = 20
WANTS = 1000
KILL_EVERY = 40
"""Wants that are done between two kills."""
DOWN_AT_ONCE = 4
PATIENCE_LOOKS = 25
"""Looks without one that is done, after which one that is down comes back."""
CONTENT = real_bytes(WANTS * 2000 + 100_000)
LONG_AGO = 1_600_000_000.0


@dataclass(frozen=True)
class Package:
    """One of those that are wanted."""

    number: int
    layer: bytes
    blobs: tuple[bytes, ...]
    fields: dict[str, object]
    """What is said of its content."""

    @property
    def reference(self) -> str:
        return f"registry.example/team/app{self.number}:v1"

    @property
    def holders(self) -> set[int]:
        return {self.number % PROVIDERS, self.number * 7 % 11}


def package(number: int) -> Package:
    """Every tenth has a blob that is fetched in parts."""
    layer = CONTENT[number * 2000 :][: 100_000 if number % 10 == 0 else 2000]
    manifest, blobs = layered(layer)
    root = parse_manifest(manifest, None).descriptor
    whole = assemble_package(root, {root.digest: manifest})
    files = [data for _, data in layout_files(whole)]
    hashes = {sha256_of(data): _hash(data) for data in (manifest, *blobs)}
    entries = (*map(_hash, files), *(hashes[blob.digest] for blob in whole.blobs))
    metadata, sequence = encode_collection(Collection(collection_names(whole), entries))
    fields: dict[str, object] = {
        "root": str(root.digest),
        "collection": str(_hash(sequence)),
        "bytes": whole.total_bytes,
        "blobs": len(whole.blobs),
        "state": "complete",
    }
    return Package(number, layer, (manifest, *blobs, *files, metadata, sequence), fields)


def _hash(data: bytes) -> BlobHash:
    return BlobHash(blake3(data).digest())


class Formation:
    """Providers that fall silent for the getter, and come back later."""

    def __init__(self, made: Mesh, getter: MeshNode, seed: int) -> None:
        self._made = made
        self._getter = getter
        self._random = random.Random(seed)
        self._down: list[Node] = []
        self.providers: list[Node] = []
        self.kills = 0
        self.come = 0
        """Packages that the getter has."""

    async def begin(self) -> None:
        """The getter begins, once more or for the first time."""
        await self._getter.stop()
        await self._getter.start()
        self.come = len(self._getter.p.store.packages())
        self._getter.p.store.on_packages(self._count)

    def _count(self, added: Sequence[StoredPackage], removed: Sequence[StoredPackage]) -> None:
        self.come += len(added) - len(removed)

    async def join(self, store: Store, name: str, packages: list[Package]) -> None:
        """A provider that holds and announces some packages."""
        who = signer(name)
        self.providers.append(await _endpoint(store, self._made.made, who.id))
        records = [
            said(
                who,
                "packages",
                f"{name}:{each.reference}-amd64",
                {"reference": each.reference, "arch": "amd64", "content": each.fields},
                at=LONG_AGO,
                count=count,
            )
            for count, each in enumerate(packages)
        ]
        assert not self._getter.p.records.merge([batch(*records)]).faults
        self._getter.peers.change(self.providers[-1].address, True)

    def kill(self) -> None:
        if len(self._down) >= DOWN_AT_ONCE:
            self.revive()
        victim = self._random.choice([each for each in self.providers if each not in self._down])
        self._down.append(victim)
        self.kills += 1
        for ends in self._ways(victim):
            self._made.made.memory.stall(*ends)
        self._getter.peers.change(victim.address, False)

    def revive(self) -> None:
        """The one that is down for longest, with new connections."""
        if self._down:
            back = self._down.pop(0)
            self._made.made.memory.cut(back.endpoint.id, self._getter.id)
            for ends in self._ways(back):
                self._made.made.memory.resume(*ends)
            self._getter.peers.change(back.address, True)

    def _ways(self, provider: Node) -> Iterator[tuple[EndpointId, EndpointId]]:
        yield provider.endpoint.id, self._getter.id
        yield self._getter.id, provider.endpoint.id


async def test_many_wants_across_twenty_providers_that_come_and_go(tmp_path: Path) -> None:
    packages = [package(number) for number in range(WANTS)]
    with Store.open(tmp_path / "providers", disk=QuickDisk()) as store:
        blobs = {data for each in packages for data in each.blobs}
        store.put_many([(data, None, None) for data in blobs])
        async with mesh(tmp_path) as made:
            getter = await made.node("getter", disk=QuickDisk(), settle=asyncio.sleep)
            formation = Formation(made, getter, seed=1)
            for number in range(PROVIDERS):
                await formation.join(
                    store, f"p{number}", [each for each in packages if number in each.holders]
                )
            await formation.begin()
            for each in packages:
                getter.p.wants.add(each.reference)
            done = looks = 0
            was_stopped = False
            async with asyncio.timeout(280):
                while done < WANTS:
                    await asyncio.sleep(0.01)
                    made.time.advance(0.25)
                    before = done
                    done = formation.come
                    looks = 0 if done > before else looks + 1
                    if done // KILL_EVERY > before // KILL_EVERY:
                        formation.kill()
                    elif looks > PATIENCE_LOOKS:
                        formation.revive()
                        looks = 0
                    if done >= WANTS // 2 and not was_stopped:
                        was_stopped = True
                        await formation.begin()
            for each in packages:
                got = getter.content(each.reference)
                assert got is not None
                assert str(got.root.digest) == each.fields["root"]
                for blob in each.blobs:
                    assert content(getter.p.store, _hash(blob)) == blob
