"""Odd content through the registry endpoint: many layers, Docker's documents, zstd; and unpacked again."""

import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from peat_sidecar.confined import Directory
from peat_sidecar.ids import Reference
from peat_sidecar.oci import Credentials, LayoutSource, RegistryOptions, RegistrySource, RegistryTarget
from tests.support.daemon import RunningDaemon, daemon, secret_file
from tests.support.images import (
    DOCKER_MANIFEST,
    ImageLayout,
    build_image,
    machine_files,
)
from tests.support.packages_by_hand import copy_package, layout_package, read_package
from tests.support.registry import registry, require, skopeo, skopeo_pull, skopeo_push
from tests.support.registry_client import RegistryClient, registry_http

TOKEN = "t" * 32
LOGIN = ("--dest-creds", f"token:{TOKEN}")
MANY_LAYERS = 500


@dataclass(frozen=True)
class Ground:
    """A daemon that may be pushed to, and an image."""

    daemon: RunningDaemon
    image: Path

    @property
    def address(self) -> str:
        return self.daemon.registry


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Its data is in memory: hundreds of blobs are synced one by one."""
    directory = tmp_path_factory.mktemp("content")
    token = secret_file(directory / "token", TOKEN)
    build_image(directory / "image", 2, layers=3)
    options = {"registry": ["127.0.0.1:0"], "registry_token_file": str(token)}
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as memory,
        daemon(Path(memory) / "data", **options) as running,
    ):
        yield Ground(running, directory / "image")


def root_of(layout: Path) -> str:
    """The only one."""
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    return str(entry["digest"])


def manifest_at(ground: Ground, name: str) -> dict[str, object]:
    with registry_http(ground.address) as http:
        repository, _, tag = name.partition(":")
        answer = RegistryClient(http, repository).get(tag)
    assert answer.status_code == 200
    return {"type": answer.headers["content-type"], **answer.json()}


async def test_an_artifact_of_many_layers(ground: Ground, tmp_path: Path) -> None:
    """As Zarf packs: an index whose platform's os is `multi`, over one manifest. By this program's own
    client: skopeo 1.9 writes to a database of its own for each blob.
    """
    layout = ImageLayout(tmp_path / "many")
    layers = [layout.blob(b"part %d\n" % number * 99, "application/x-part") for number in range(MANY_LAYERS)]
    layout.tag(layout.index([layout.image(layers, os_name="multi")]), "v1")
    reference = Reference.parse(f"{ground.address}/zarf/many:v1")
    source = LayoutSource(Directory.open(layout.directory), "v1")
    credentials = Credentials("token", TOKEN)
    target = RegistryTarget(reference, RegistryOptions(credentials=credentials, environment={}))
    await copy_package(source, target, "v1")
    pulled = RegistrySource(reference, RegistryOptions(environment={}))
    assert await read_package(pulled) == layout_package(layout.directory, root_of(layout.directory))
    for each in (source, target, pulled):
        await each.close()


def test_dockers_documents(ground: Ground, tmp_path: Path) -> None:
    """What a client made of an image for docker is kept byte for byte, also by way of docker-registry."""
    place = f"{ground.address}/docker/app:v1"
    skopeo(
        "copy",
        "--dest-tls-verify=false",
        "--format",
        "v2s2",
        *LOGIN,
        f"oci:{ground.image}:v1",
        f"docker://{place}",
    )
    made = manifest_at(ground, "docker/app:v1")
    assert made["type"] == DOCKER_MANIFEST
    with registry(tmp_path / "registry") as other:
        across = ("--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests")
        skopeo("copy", *across, f"docker://{place}", f"docker://{other.address}/app:v1")
        raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{other.address}/app:v1")
        skopeo("copy", *across, *LOGIN, f"docker://{other.address}/app:v1", f"docker://{place[:-3]}:back")
    assert json.loads(raw) == {key: value for key, value in made.items() if key != "type"}
    assert manifest_at(ground, "docker/app:back") == made


def test_layers_of_zstd(ground: Ground, tmp_path: Path) -> None:
    place = f"{ground.address}/zstd/app:v1"
    zstd = ("--dest-compress", "--dest-compress-format", "zstd")
    plain = ImageLayout(tmp_path / "plain")
    plain.tag(plain.image([plain.layer(300_000, machine_files(), gzip_level=0)]), "v1")
    skopeo("copy", "--dest-tls-verify=false", *zstd, *LOGIN, f"oci:{plain.directory}:v1", f"docker://{place}")
    layers = manifest_at(ground, "zstd/app:v1")["layers"]
    assert isinstance(layers, list)
    assert [each["mediaType"].rpartition("+")[2] for each in layers] == ["zstd"]
    skopeo_pull(place, tmp_path / "pulled", "v1")
    data = (tmp_path / "pulled/blobs" / layers[0]["digest"].replace(":", "/")).read_bytes()
    assert data[:4] == b"\x28\xb5\x2f\xfd"


def test_what_was_pulled_is_unpacked(ground: Ground, tmp_path: Path) -> None:
    """By umoci, which reads every layer; files are as they were packed."""
    require("umoci", "umoci")
    place = f"{ground.address}/umoci/app:v1"
    skopeo_push(ground.image, "v1", place, *LOGIN)
    skopeo_pull(place, tmp_path / "pulled", "v1")
    command = [
        "umoci",
        "raw",
        "unpack",
        "--rootless",
        "--image",
        f"{tmp_path / 'pulled'}:v1",
        str(tmp_path / "root"),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    packed = layout_package(ground.image, root_of(ground.image))
    layers = json.loads(packed[root_of(ground.image)])["layers"]
    checked = 0
    for layer in layers:
        with tarfile.open(ground.image / "blobs" / layer["digest"].replace(":", "/")) as tar:
            for member in tar.getmembers()[:20]:
                if member.isfile():
                    file = tar.extractfile(member)
                    assert file is not None
                    assert (tmp_path / "root" / member.name).read_bytes() == file.read()
                    checked += 1
    assert checked > 3


def test_a_conditional_pull_costs_no_body(ground: Ground) -> None:
    """What clients that poll a tag do."""
    place = f"{ground.address}/polled/app:v1"
    skopeo_push(ground.image, "v1", place, *LOGIN)
    url = f"http://{ground.address}/v2/polled/app/manifests/v1"
    first = httpx.get(url, headers={"Accept": "*/*"}, trust_env=False)
    again = httpx.get(url, headers={"If-None-Match": first.headers["etag"]}, trust_env=False)
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
