"""Real clients pull from one sidecar what another one has, while no upstream exists."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from peat_sidecar.confined import Directory
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import Credentials, LayoutSource, RegistryOptions, RegistrySource, RegistryTarget
from tests.interop.test_registry_clients import TOKEN, containerd, engine, run, storage, trust
from tests.support.formations import Formation, eventually, formation
from tests.support.images import build_image, build_zoo
from tests.support.packages_by_hand import copy_package, layout_package, read_package
from tests.support.registry import free_port, skopeo_pull

__all__ = ["containerd", "storage", "trust"]

REPOSITORY = "registry.example/team/app"
REFERENCE = f"{REPOSITORY}:v1"


@dataclass(frozen=True)
class Image:
    layout: Path
    root: str


@dataclass(frozen=True)
class Fleet:
    """`a` has the image, `b` is pulled from."""

    nodes: Formation
    image: Image
    address: str
    """Of the registry of `b`."""

    async def has(self, name: str) -> bool:
        listed = (await self.nodes[name].call("ListPackages")).get("packages", [])
        return any(each.get("reference") == REFERENCE for each in listed)

    async def knows(self) -> bool:
        async with httpx.AsyncClient(base_url=f"http://{self.address}", trust_env=False) as client:
            return (await client.head(f"/v2/{REPOSITORY}/manifests/v1")).status_code == 200


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    layout = tmp_path_factory.mktemp("image") / "app"
    return Image(layout, build_image(layout, 12, layers=3))


@asynccontextmanager
async def fleet(folder: Path, image: Image, *, copies: int = 0, **options: Any) -> AsyncIterator[Fleet]:
    """With so many others that got it from `a`."""
    address = f"127.0.0.1:{free_port()}"
    async with formation(folder) as nodes:
        made = Fleet(nodes, image, address)
        source = await nodes.start("a", import_roots=[str(image.layout.parent)])
        await source.import_layout(image.layout, listAs=REFERENCE)
        names = [f"c{number}" for number in range(copies)]
        for name in names:
            await nodes.start(name, knows=["a"], replicate=[{"reference": REFERENCE}])
            await eventually(lambda name=name: made.has(name), f"{name} has a copy")  # type: ignore[misc]
        await nodes.start("b", knows=["a", *names], registry=[address], **options)
        await eventually(made.knows, "b knows of the image")
        yield made


def check(image: Image, pulled: Path) -> None:
    assert layout_package(pulled, image.root) == layout_package(image.layout, image.root)


async def test_skopeo(tmp_path: Path, image: Image) -> None:
    async with fleet(tmp_path, image) as made:
        assert not await made.has("b")
        await asyncio.to_thread(skopeo_pull, f"{made.address}/{REFERENCE}", tmp_path / "pulled", "v1")
        check(image, tmp_path / "pulled")
        await eventually(lambda: made.has("b"), "what was pulled is a package of the node")


async def test_podman(tmp_path: Path, image: Image, storage: Path, trust: str) -> None:
    async with fleet(tmp_path, image) as made:
        command = [*engine("podman", storage), "pull", "--tls-verify=false", trust]
        await asyncio.to_thread(run, *command, f"{made.address}/{REFERENCE}")


async def test_containerd_through_its_mirror(tmp_path: Path, image: Image, containerd: Path) -> None:
    async with fleet(tmp_path / "fleet", image) as made:
        hosts = tmp_path / "hosts" / "registry.example"
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(
            'server = "https://registry.invalid"\n'
            f'[host."http://{made.address}"]\ncapabilities = ["pull", "resolve"]\n'
        )
        ctr = ["ctr", "--address", containerd, "images"]
        pull = [*ctr, "pull", "--snapshotter", "native", "--hosts-dir", tmp_path / "hosts"]
        await asyncio.to_thread(run, *pull, REFERENCE)
        assert image.root in await asyncio.to_thread(run, *ctr, "list")


async def test_the_serving_peer_is_killed(tmp_path: Path, image: Image) -> None:
    """In the middle of a layer; the client notices nothing, since another node has a copy."""
    async with fleet(tmp_path, image, copies=1, limit_down="24 Mbit/s") as made:
        pulling = asyncio.create_task(
            asyncio.to_thread(skopeo_pull, f"{made.address}/{REFERENCE}", tmp_path / "pulled", "v1")
        )

        async def is_amid() -> bool:
            running = (await made.nodes["b"].call("ListTransfers")).get("transfers", [])
            return any(int(each.get("doneBytes", 0)) > 1_000_000 for each in running)

        await eventually(is_amid, "the pull is in the middle of a layer")
        await made.nodes.kill("a")
        assert not pulling.done()
        await pulling
        check(image, tmp_path / "pulled")


async def test_packages_of_every_kind(tmp_path: Path) -> None:
    """Pushed to one node and pulled from another, by tag and then by digest alone, byte for byte."""
    made = build_zoo(tmp_path / "zoo", 100_000)
    kinds = ["image", "docker", "no-layers", "zarf", "artifact", "multi", "docker-list", "nested", "foreign"]
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    pushed, pulled = (f"127.0.0.1:{free_port()}" for _ in range(2))
    options = RegistryOptions(credentials=Credentials("token", TOKEN), environment={})
    async with formation(tmp_path / "fleet") as nodes:
        await nodes.start("a", registry=[pushed], registry_token_file=str(tmp_path / "token"))
        await nodes.start("b", knows=["a"], registry=[pulled])
        for kind in kinds:
            source = LayoutSource(Directory.open(tmp_path / "zoo"), Digest.parse(made[kind]["digest"]))
            target = RegistryTarget(Reference.parse(f"{pushed}/{REPOSITORY}:{kind}"), options)
            await copy_package(source, target, kind)
            await target.close()
            await source.close()
        async with httpx.AsyncClient(base_url=f"http://{pulled}/v2/", trust_env=False) as client:
            for kind in kinds:

                async def is_known(path: str = f"{REPOSITORY}/manifests/{kind}") -> bool:
                    return (await client.head(path)).status_code == 200

                await eventually(is_known, f"{kind} is known")
        for kind in kinds:
            for name in (f":{kind}", f"@{made[kind]['digest']}"):
                reference = Reference.parse(f"{pulled}/{REPOSITORY}{name}")
                registry = RegistrySource(reference, RegistryOptions(environment={}))
                assert await read_package(registry) == layout_package(tmp_path / "zoo", made[kind]["digest"])
                await registry.close()
