"""Real clients against the registry endpoint: what is pushed with one is what is pulled with another."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from peat_sidecar.confined import Directory
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import Credentials, LayoutSource, RegistryOptions, RegistrySource, RegistryTarget
from tests.support.containerd import running_containerd
from tests.support.daemon import RunningDaemon, daemon, secret_file
from tests.support.images import build_image, build_zoo
from tests.support.packages_by_hand import copy_package, layout_package, read_package
from tests.support.registry import (
    PASSWORD,
    USER,
    make_certificate,
    require,
    skopeo,
    skopeo_pull,
    skopeo_push,
)

TOKEN = "t" * 32
CREDENTIALS = f"token:{TOKEN}"
LAYOUT_KINDS = ["image", "no-layers", "zarf", "artifact", "multi", "foreign"]
"""What skopeo 1.9 can name in a layout."""
_WAIT_SECONDS = 120


@dataclass(frozen=True)
class Ground:
    """A daemon with its registry, and layouts to push from."""

    daemon: RunningDaemon
    zoo: Path
    made: dict[str, Any]
    image: Path

    @property
    def address(self) -> str:
        return self.daemon.registry


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    directory = tmp_path_factory.mktemp("clients")
    token = secret_file(directory / "token", TOKEN)
    made = build_zoo(directory / "zoo", 100_000)
    build_image(directory / "image", 2, layers=3)
    options = {"registry": ["127.0.0.1:0"], "registry_token_file": str(token)}
    with daemon(directory / "data", **options) as running:
        yield Ground(running, directory / "zoo", made, directory / "image")


def run(*command: str | Path, **variables: str) -> str:
    """What it prints; an error carries what it says."""
    require(str(command[0]), str(command[0]))
    done = subprocess.run(
        [str(each) for each in command],
        capture_output=True,
        text=True,
        timeout=_WAIT_SECONDS,
        check=False,
        env=os.environ | variables,
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.parametrize("kind", LAYOUT_KINDS)
def test_skopeo(ground: Ground, tmp_path: Path, kind: str) -> None:
    place = f"{ground.address}/skopeo/{kind}:v1"
    skopeo_push(ground.zoo, kind, place, "--dest-creds", CREDENTIALS)
    skopeo_pull(place, tmp_path / "pulled", "v1")
    digest = ground.made[kind]["digest"]
    assert layout_package(tmp_path / "pulled", digest) == layout_package(ground.zoo, digest)


def test_skopeo_lists_and_deletes(ground: Ground) -> None:
    place = f"{ground.address}/skopeo/deleted"
    skopeo_push(ground.zoo, "image", f"{place}:v1", "--dest-creds", CREDENTIALS)
    listed = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{place}"))
    assert listed["Tags"] == ["v1"]
    skopeo("delete", "--tls-verify=false", "--creds", CREDENTIALS, f"docker://{place}:v1")
    answer = httpx.get(f"http://{ground.address}/v2/skopeo/deleted/manifests/v1", trust_env=False)
    assert answer.status_code == 404


def test_skopeo_without_credentials_is_told_so(ground: Ground) -> None:
    with pytest.raises(RuntimeError, match=r"unauthorized|authentication required|log in"):
        skopeo_push(ground.zoo, "image", f"{ground.address}/skopeo/refused:v1")


def engine(program: str, directory: Path) -> list[str | Path]:
    """podman or buildah with storage of its own, which needs no kernel module."""
    options = ["--root", directory / "root", "--runroot", directory / "run", "--storage-driver", "vfs"]
    more = ["--cgroup-manager", "cgroupfs", "--events-backend", "none"] if program == "podman" else []
    return [program, *options, *more]


@pytest.fixture
def storage() -> Iterator[Path]:
    """A folder with a short path: podman takes no longer one than 50 characters."""
    with tempfile.TemporaryDirectory(prefix="eng", dir="/tmp", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture
def trust(tmp_path: Path) -> str:
    """Images need no signature."""
    path = tmp_path / "policy.json"
    path.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    return f"--signature-policy={path}"


@pytest.mark.parametrize("program", ["podman", "buildah"])
def test_podman_and_buildah(ground: Ground, tmp_path: Path, storage: Path, trust: str, program: str) -> None:
    place = f"{ground.address}/{program}/app"
    skopeo_push(ground.image, "v1", f"{place}:v1", "--dest-creds", CREDENTIALS)
    command = engine(program, storage)
    run(*command, "pull", "--tls-verify=false", trust, f"{place}:v1")
    push = ["push", "--tls-verify=false", trust, "--creds", CREDENTIALS, f"{place}:v1"]
    run(*command, *push, f"docker://{place}:again")
    skopeo_pull(f"{place}:again", tmp_path / "pulled", "v1")


@pytest.fixture
def containerd(tmp_path: Path) -> Iterator[Path]:
    """The socket of one, whose root is beside it."""
    with running_containerd(tmp_path) as socket:
        yield socket


def mirror_config(client: str, address: str, folder: Path, registry: str) -> None:
    """Has the client told to ask the sidecar first."""
    run(
        *(Path(sys.executable).parent / "peat-sidecar", "mirror-config", client, "--write"),
        *("--dir", folder, "--registry", registry, "--endpoint", f"http://{address}"),
    )


@pytest.mark.parametrize("program", ["podman", "skopeo"])
def test_podman_and_skopeo_through_their_mirror(
    ground: Ground, tmp_path: Path, storage: Path, trust: str, program: str
) -> None:
    """What the registry itself, which does not exist, would be asked for."""
    skopeo_push(ground.image, "v1", f"{ground.address}/a.invalid/team/app:v1", "--dest-creds", CREDENTIALS)
    mirror_config("podman", ground.address, tmp_path / "conf", "a.invalid")
    (configured,) = (tmp_path / "conf").iterdir()
    name = "a.invalid/team/app:v1"
    if program == "skopeo":
        skopeo("--registries-conf", str(configured), "copy", f"docker://{name}", f"oci:{tmp_path}/pulled:v1")
        return
    variables = {"CONTAINERS_REGISTRIES_CONF": str(configured)}
    run(*engine("podman", storage), "pull", trust, name, **variables)
    assert name in run(*engine("podman", storage), "images", "--format", "{{.Repository}}:{{.Tag}}")


def test_containerd_through_its_mirror(ground: Ground, tmp_path: Path, containerd: Path) -> None:
    """It asks for docker.io with `?ns=`, and gets what was pushed for that registry."""
    place = f"{ground.address}/docker.io/library/app:v1"
    skopeo_push(ground.image, "v1", place, "--dest-creds", CREDENTIALS)
    mirror_config("containerd", ground.address, tmp_path / "hosts", "docker.io")
    ctr = ["ctr", "--address", containerd, "images"]
    reference = "docker.io/library/app:v1"
    run(*ctr, "pull", "--snapshotter", "native", "--hosts-dir", tmp_path / "hosts", reference)
    digest = json.loads((ground.image / "index.json").read_text())["manifests"][0]["digest"]
    assert digest in run(*ctr, "list")
    blobs = tmp_path / "root/io.containerd.content.v1.content/blobs"
    for path, raw in layout_package(ground.image, digest).items():
        assert (blobs / str(path).replace(":", "/")).read_bytes() == raw


def test_what_is_pushed_is_a_package_of_the_node(ground: Ground) -> None:
    skopeo_push(ground.zoo, "multi", f"{ground.address}/team/app:v1", "--dest-creds", CREDENTIALS)
    skopeo_push(ground.zoo, "image", f"{ground.address}/registry.example/app:v1", "--dest-creds", CREDENTIALS)
    index = json.loads((ground.daemon.data_dir / "oci" / "index.json").read_bytes())
    names = {each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]}
    assert {"localhost/team/app:v1", "registry.example/app:v1"} <= names
    assert not [name for name in names if name.startswith("localhost/team/app@")]


def test_what_is_pushed_is_told_to_the_mesh(ground: Ground) -> None:
    skopeo_push(ground.zoo, "image", f"{ground.address}/a.example/told:v1", "--dest-creds", CREDENTIALS)
    transport = httpx.HTTPTransport(uds=str(ground.daemon.socket))
    with httpx.Client(transport=transport, base_url="http://localhost") as client:
        end = time.monotonic() + _WAIT_SECONDS
        told: list[str] = []
        while not any("a.example/told:v1" in each for each in told):
            assert time.monotonic() < end, told
            answer = client.post(
                "/peat.sidecar.v1.PeatSidecar/ListDocuments", json={"collection": "packages"}
            )
            told = answer.json().get("docIds", [])
            time.sleep(0.05)


def test_skopeo_with_a_password_over_tls(ground: Ground, tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    authorities = tmp_path / "authorities"
    authorities.mkdir()
    shutil.copy(made.ca, authorities / "ca.crt")
    htpasswd = tmp_path / "htpasswd"
    run("htpasswd", "-BbcC4", htpasswd, USER, PASSWORD)
    options = {
        "registry": ["127.0.0.1:0"],
        "registry_htpasswd": str(htpasswd),
        "registry_private": True,
        "registry_tls_cert": str(made.chain),
        "registry_tls_key": str(made.key),
    }
    login = f"{USER}:{PASSWORD}"
    with daemon(tmp_path / "data", **options) as running:
        place = f"{running.registry}/app:v1"
        skopeo_push(ground.zoo, "multi", place, f"--dest-cert-dir={authorities}", "--dest-creds", login)
        trusted = f"--src-cert-dir={authorities}"
        with pytest.raises(RuntimeError, match=r"unauthorized|authentication required|log in"):
            skopeo_pull(place, tmp_path / "refused", "v1", trusted)
        skopeo_pull(place, tmp_path / "pulled", "v1", trusted, "--src-creds", login)
    digest = ground.made["multi"]["digest"]
    assert layout_package(tmp_path / "pulled", digest) == layout_package(ground.zoo, digest)


@pytest.mark.parametrize("kind", [*LAYOUT_KINDS, "docker", "docker-list", "nested"])
async def test_this_programs_own_client(ground: Ground, kind: str) -> None:
    digest = ground.made[kind]["digest"]
    reference = Reference.parse(f"{ground.address}/ours/{kind}:v1")
    options = RegistryOptions(chunk_bytes=64 << 10, credentials=Credentials("token", TOKEN), environment={})
    source = LayoutSource(Directory.open(ground.zoo), Digest.parse(digest))
    target = RegistryTarget(reference, options)
    await copy_package(source, target, "v1")
    await target.close()
    await source.close()
    pulled = RegistrySource(reference, RegistryOptions(environment={}))
    assert await read_package(pulled) == layout_package(ground.zoo, digest)
    await pulled.close()
