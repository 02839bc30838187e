"""Packages among real daemons: they go where the policy wants them, by way of nodes that carry them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from demo.compare import LayoutCopy, RegistryCopy, compare
from tests.support.agent_server import AgentServer
from tests.support.formations import (
    Formation,
    RosterAdmin,
    documents,
    eventually,
    formation,
    get,
    peer,
    wants,
)
from tests.support.images import build_image
from tests.support.registry import registry, skopeo_push
from tools.sidecar import Sidecar

from peat_sidecar.mesh import Role

REFERENCE = "registry.example/team/app:v1"
EVERYTHING = [{"reference": "registry.example/team/*"}]


@dataclass(frozen=True)
class Image:
    layout: Path
    root: str
    """Digest of its manifest."""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image") / "app"
    return Image(folder, build_image(folder, 12))


async def held(sidecar: Sidecar, reference: str = REFERENCE) -> dict[str, Any] | None:
    """A complete package."""
    listed: Sequence[dict[str, Any]] = (await sidecar.call("ListPackages")).get("packages", [])
    return next((each for each in listed if each.get("reference") == reference), None)


async def arrives(sidecar: Sidecar, image: Image, seconds: float = 20) -> None:
    async def is_there() -> bool:
        return await held(sidecar) is not None

    await eventually(is_there, "the package has arrived", seconds)
    found = await held(sidecar)
    assert found is not None
    assert found["root"] == image.root


async def start_source(fleet: Formation, name: str, image: Image, **options: Any) -> Sidecar:
    """A node that has the image."""
    source = await fleet.start(name, import_roots=[image.layout.parent], **options)
    await source.import_layout(image.layout, listAs=REFERENCE)
    return source


async def compare_export(sidecar: Sidecar, image: Image, target: Path) -> None:
    """What a node gives out is what the image was, byte for byte."""
    await sidecar.call("ExportBlob", package=REFERENCE, layout=str(target), wait=True)
    assert compare(LayoutCopy(image.layout), LayoutCopy(target)).root_digest == image.root


async def test_stored_carried_forwarded(tmp_path: Path, image: Image) -> None:
    """A is off before C is there: B brings it, as A had it."""
    (tmp_path / "out").mkdir()
    async with formation(tmp_path) as fleet:
        await start_source(fleet, "a", image)
        await fleet.start("b", knows=["a"], replicate=EVERYTHING)
        await arrives(fleet["b"], image)
        await fleet.stop("a")
        await fleet.start("c", knows=["b"], replicate=EVERYTHING, export_roots=[tmp_path / "out"])
        await arrives(fleet["c"], image)
        assert not (await peer(fleet["c"], fleet.id("a"))).get("connected", False)
        await compare_export(fleet["c"], image, tmp_path / "out/copy")

        async def is_listed() -> bool:
            listed = (await fleet["c"].call("ListMeshPackages")).get("packages", [])
            found = {(each["agentId"], each["reference"], each["root"], each["state"]) for each in listed}
            return found == {(owner, REFERENCE, image.root, "complete") for owner in ("a", "b", "c")}

        await eventually(is_listed, "all three are known to have had it")


async def test_from_an_agent_into_the_registry_of_a_third_cluster(tmp_path: Path, image: Image) -> None:
    """What one cluster's agent has pulled is, by policy, in another cluster's registry; when the agent has it
    no more, its document is gone.
    """
    with registry(tmp_path / "upstream") as upstream, registry(tmp_path / "edge") as edge:
        reference = f"{upstream.address}/team/app:v1"
        skopeo_push(image.layout, "v1", reference)
        rule = {"reference": f"{upstream.address}/team/*", "class": "high"}
        async with AgentServer() as agent, formation(tmp_path) as fleet:
            agent.pull(upstream.address, "app", reference, version="v1", total_bytes=12_000_000)
            agent.deploy("app", "v1")
            await fleet.start("c", plain_http=[edge.address], replicate=[rule | {"export": edge.address}])
            await fleet.start("b", knows=["c"], replicate=[rule])
            await fleet.start(
                "a", knows=["b"], agent=agent.url, agent_poll_seconds=0.5, plain_http=[upstream.address]
            )

            async def is_exported() -> bool:
                return (edge.storage / "docker/registry/v2/repositories/team/app/_manifests/tags/v1").exists()

            await eventually(is_exported, "the third cluster's registry has the package", 30)
            left = RegistryCopy(f"http://{upstream.address}/v2/team/app", "v1")
            right = RegistryCopy(f"http://{edge.address}/v2/team/app", "v1")
            assert compare(left, right).root_digest == image.root
            target = f"{edge.address}/team/app:v1"

            async def is_told() -> bool:
                told = await documents(fleet["a"], "packages")
                return any(
                    id.startswith("c:") and target in str(document and document.get("exported"))
                    for id, document in told.items()
                )

            await eventually(is_told, "the document of the third cluster says where it is")
            assert await get(fleet["c"], "nodes", "a")
            assert await get(fleet["c"], "deployments", "a:app")

            agent.unpull(reference)

            async def is_gone() -> bool:
                listed = await fleet["c"].call("ListMeshPackages", agentId="a")
                return not any(each.get("pullStatus") for each in listed.get("packages", []))

            await eventually(is_gone, "the first cluster does not say any more that it has it")


async def test_a_carrier_takes_what_is_not_for_it(tmp_path: Path, image: Image) -> None:
    """A package of another platform goes to whoever carries, and to nobody else by policy."""
    async with formation(tmp_path) as fleet:
        await start_source(fleet, "a", image)
        other = {"platforms": ["linux/s390x"]}
        await fleet.start("idle", knows=["a"], replicate=EVERYTHING, **other)
        await fleet.start("carrier", knows=["a"], replicate=[EVERYTHING[0] | {"carry": True}], **other)
        await arrives(fleet["carrier"], image)

        async def is_known() -> bool:
            return len((await fleet["idle"].call("ListMeshPackages")).get("packages", [])) == 2

        await eventually(is_known, "the other node knows that two have it")
        assert await held(fleet["idle"]) is None
        assert await wants(fleet["idle"]) == []


async def test_with_a_roster_only_publishers_packages_are_wanted(tmp_path: Path, image: Image) -> None:
    """A consumer's package is known, and can be asked for, and comes to nobody by itself."""
    async with formation(tmp_path) as fleet:
        admin = RosterAdmin(tmp_path, fleet)
        admin.add("publisher", Role.PUBLISHER)
        admin.add("consumer", Role.CONSUMER)
        admin.add("c", Role.CONSUMER)
        admitted = admin.settings()
        await start_source(fleet, "publisher", image, **admitted)
        await fleet.start("consumer", knows=["publisher"], import_roots=[image.layout.parent], **admitted)
        other = "registry.example/team/other:v1"
        await fleet["consumer"].import_layout(image.layout, listAs=other)
        knows = ["publisher", "consumer"]
        await fleet.start("c", knows=knows, replicate=EVERYTHING, **admitted)
        await arrives(fleet["c"], image)

        async def is_known() -> bool:
            listed = (await fleet["c"].call("ListMeshPackages", agentId="consumer")).get("packages", [])
            return [(each["reference"], each.get("decides", False)) for each in listed] == [(other, False)]

        await eventually(is_known, "the consumer's package is known")
        assert [want["name"] for want in await wants(fleet["c"])] != [other]
        assert await held(fleet["c"], other) is None


async def test_nothing_is_fetched_unasked(tmp_path: Path, image: Image) -> None:
    """Without a policy a node knows of the package, and gets it when somebody wants it."""
    async with formation(tmp_path) as fleet:
        await start_source(fleet, "a", image)
        await fleet.start("b", knows=["a"])

        async def knows_of_it() -> bool:
            return bool((await fleet["b"].call("ListMeshPackages")).get("packages"))

        await eventually(knows_of_it, "the package is known")
        quote = await fleet["b"].call("Quote", name=REFERENCE)
        assert quote["root"] == image.root
        assert quote["missingBytes"] == quote["totalBytes"] != "0"
        assert [provider["agentId"] for provider in quote["providers"]] == ["a"]
        assert await wants(fleet["b"]) == []
        await fleet["b"].call("AddWant", name=REFERENCE, transferClass="TRANSFER_CLASS_HIGH")
        await arrives(fleet["b"], image)


async def test_a_want_outlives_its_node(tmp_path: Path, image: Image) -> None:
    """It waits for a provider through a kill, and fires when one appears."""
    async with formation(tmp_path) as fleet:
        await start_source(fleet, "a", image)
        await fleet.stop("a")
        await fleet.start("c", knows=["a"])
        added = (await fleet["c"].call("AddWant", name=REFERENCE))["want"]
        assert added["state"] == "WANT_STATE_WAITING"
        await fleet.kill("c")
        await fleet.start("c")
        (kept,) = await wants(fleet["c"])
        assert (kept["id"], kept["name"], kept["state"]) == (added["id"], REFERENCE, "WANT_STATE_WAITING")
        assert kept["why"]

        await fleet.start("a", knows=["c"])

        async def is_member() -> bool:
            return bool((await peer(fleet["c"], fleet.id("a"))).get("member"))

        await eventually(is_member, "the provider is back")
        appeared = time.monotonic()
        await arrives(fleet["c"], image)
        assert time.monotonic() - appeared < 5  # 2 s to fire, and the fetch
