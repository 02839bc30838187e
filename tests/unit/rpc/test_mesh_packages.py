"""What the formation offers: from records that members may write as they like."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh import Offers, Platforms, Providers, Trust
from peat_sidecar.records import Records, Signer
from peat_sidecar.rpc import mesh_package_calls
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.mesh_package_calls import MeshPackageCalls
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.store import Store
from tests.support.manifests import encoded, image
from tests.support.nodes import put_package

NO_CONTEXT: Any = None
REFERENCE = "registry.example/team/app:v1"


class Formation:
    """This node's records and store, and other members who tell it what they have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store.open(folder / "own")
        self.records = Records.open(folder / "own.db", Signer(bytes(32)))
        self.trust = Trust(self.records, None, "fleet")
        self.wants: list[Any] = []
        offers = Offers(self.records, self.trust, Platforms(["amd64"]))
        providers = Providers(self.records, offers, self.records.id, lambda: frozenset[EndpointId]())
        parts = SimpleNamespace(
            records=self.records,
            trust=self.trust,
            store=self.store,
            providers=providers,
            wants=SimpleNamespace(list=lambda: self.wants),
        )
        self.calls = MeshPackageCalls(cast(Parts, parts))

    def tell(self, number: int, documents: dict[str, dict[str, Any]], *, now: float | None = None) -> None:
        """One member, with a key of its own, says all that."""
        path = self.folder / f"{number}.db"
        told = Records.open(path, Signer(bytes([number]) * 32), now=lambda: now or time.time())
        for doc_id, document in documents.items():
            told.put("packages", doc_id, document)
        batch = told.since(told.id, 0)
        told.close()
        path.unlink()
        assert batch is not None
        self.records.merge([batch], told.id)

    async def list(self, **fields: Any) -> tuple[list[pb.MeshPackage], str]:
        request = pb.ListMeshPackagesRequest(**fields)
        answer = await self.calls.list_mesh_packages(request, NO_CONTEXT)
        return list(answer.packages), answer.next_page_token

    def close(self) -> None:
        self.trust.close()
        self.records.close()
        self.store.close()


@pytest.fixture
def formation(tmp_path: Path) -> Iterator[Formation]:
    made = Formation(tmp_path)
    yield made
    made.close()


def package(
    reference: str = REFERENCE, *, state: str = "complete", collection: str = "ab" * 32
) -> dict[str, Any]:
    content = {
        "root": f"sha256:{'cd' * 32}",
        "collection": collection,
        "bytes": 1000,
        "blobs": 3,
        "state": state,
    }
    return {"reference": reference, "arch": "amd64", "version": "1", "pull_status": 3, "content": content}


async def test_who_holds_what(formation: Formation) -> None:
    day = time.time() - 86_400
    formation.tell(1, {f"ship-1:{REFERENCE}-amd64": package()}, now=day)
    formation.tell(2, {f"ship-2:{REFERENCE}-amd64": package()})
    formation.tell(3, {f"ship-3:{REFERENCE}-amd64": package(state="partial")})
    formation.tell(4, {"ship-4:other-amd64": {"reference": "other"}})
    found, token = await formation.list()
    assert [each.agent_id for each in found] == ["ship-1", "ship-2", "ship-3", "ship-4"]
    first = found[0]
    assert (first.reference, first.arch, first.version, first.pull_status) == (REFERENCE, "amd64", "1", "3")
    assert (first.root, first.collection) == (f"sha256:{'cd' * 32}", "ab" * 32)
    assert (first.bytes, first.blobs, first.state) == (1000, 3, "complete")
    assert (first.complete_holders, first.partial_holders) == (2, 1)
    assert (first.here, first.decides) == (pb.BlobState.ABSENT, True)
    assert abs(first.age_seconds - 86_400) < 600
    assert found[1].age_seconds < 600
    assert (found[3].collection, found[3].complete_holders, token) == ("", 0, "")


async def test_what_is_here(formation: Formation) -> None:
    names = [b"config of one two", b"one", b"two"]  # as `image` has them
    stored = put_package(formation.store, encoded(image("one", "two")), names)
    here, absent, wanted = str(stored.collection), "ef" * 32, "12" * 32
    formation.tell(1, {f"ship-1:{name}": package(name, collection=name) for name in (here, absent, wanted)})
    formation.wants = [
        SimpleNamespace(name=wanted, state="waiting"),
        SimpleNamespace(name=absent, state="done"),
    ]
    found = {each.collection: each.here for each in (await formation.list())[0]}
    assert found == {
        here: pb.BlobState.COMPLETE,
        absent: pb.BlobState.ABSENT,
        wanted: pb.BlobState.WANTED,
    }
    formation.store.remove_package(stored.collection)
    assert (await formation.list(reference=here))[0][0].here is pb.BlobState.PARTIAL


async def test_another_owner_decides_nothing(formation: Formation) -> None:
    formation.tell(1, {f"ship-1:{REFERENCE}-amd64": package()})
    formation.tell(2, {f"ship-1:{REFERENCE}-amd64": package("evil.example/app:v1")})
    (found,) = (await formation.list())[0]
    assert (found.reference, found.decides) == (REFERENCE, True)


@pytest.mark.parametrize(
    "document",
    [
        {"reference": 5, "arch": None, "version": [], "content": "none"},
        {"reference": "x" * 100_000, "content": {"bytes": -1, "blobs": 2**40, "collection": "x", "root": {}}},
        {"reference": {"a": 1}, "content": {"bytes": 2**53 - 1, "blobs": True, "collection": "AB" * 32}},
        {},
    ],
)
async def test_what_makes_no_sense_is_shown_as_nothing(
    formation: Formation, document: dict[str, Any]
) -> None:
    formation.tell(1, {"ship-1:x": document})
    (found,) = (await formation.list())[0]
    assert len(found.reference) <= 1000
    assert found.doc_id == "ship-1:x"
    assert (found.complete_holders, found.here) == (0, pb.BlobState.ABSENT)


async def test_pages_and_patterns(formation: Formation, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"registry.example/{team}/app:v{number}" for team in ("a", "b") for number in range(6)]
    formation.tell(1, {f"ship-1:{name}": package(name) for name in names[:8]})
    formation.tell(2, {f"ship-2:{name}": package(name) for name in names[8:]})

    async def everything(**fields: Any) -> list[str]:
        found, token = [], ""
        while True:
            page, token = await formation.list(page_token=token, **fields)
            found += [each.reference for each in page]
            if not token:
                return found

    for looked in (1, 5, 5000):
        monkeypatch.setattr(mesh_package_calls, "_LOOK_LIMIT", looked)
        for step in (1, 3, 500):
            monkeypatch.setattr(mesh_package_calls, "_STEP", step)
            for size in (1, 4, 12, 1000):
                assert await everything(page_size=size) == names
            assert await everything(page_size=2, reference="registry.example/b/*") == names[6:]
            assert await everything(agent_id="ship-2") == names[8:]
            assert await everything(reference="*:v0", agent_id="ship-2") == []
    with pytest.raises(ConfigError, match="several pages"):
        await formation.list(page_size=1001)
    with pytest.raises(ConfigError, match="shorter"):
        await formation.list(reference="*" * 501)
