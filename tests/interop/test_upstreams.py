"""Real clients pull through the sidecar what is in a real docker-registry, and again when that is gone."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.interop.test_registry_clients import containerd, engine, mirror_config, run, storage, trust
from tests.support.daemon import RunningDaemon, daemon
from tests.support.images import build_zoo
from tests.support.packages_by_hand import layout_package
from tests.support.registry import PASSWORD, USER, registry, skopeo_pull, skopeo_push

__all__ = ["containerd", "storage", "trust"]

NAME = "a.invalid"
_WAIT_SECONDS = 60
KINDS = ["image", "multi", "zarf", "artifact"]


@dataclass(frozen=True)
class Ground:
    """A sidecar; what the registry had that it pulled through is in the zoo."""

    address: str
    zoo: Path
    made: dict[str, Any]
    pulled: Path
    """Layouts of what skopeo got, by kind."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Each kind was pulled once with skopeo; since then the registry, which wanted a password, is gone."""
    directory = tmp_path_factory.mktemp("upstreams")
    zoo, auth = directory / "zoo", directory / "auth.json"
    made = build_zoo(zoo, 100_000)
    with ExitStack() as upstream_ends, ExitStack() as stack:
        upstream = upstream_ends.enter_context(registry(directory / "registry", password=True))
        credentials = f"{USER}:{PASSWORD}"
        auth.write_text(json.dumps({"auths": {upstream.address: {"auth": encoded(credentials)}}}))
        for kind in KINDS:
            skopeo_push(zoo, kind, f"{upstream.address}/{kind}:v1", "--dest-creds", credentials)
        options = {
            "registry": ["127.0.0.1:0"],
            "upstreams": [f"{NAME}=http://{upstream.address}"],
            "auth_file": str(auth),
        }
        running = stack.enter_context(daemon(directory / "data", **options))
        for kind in KINDS:
            skopeo_pull(f"{running.registry}/{NAME}/{kind}:v1", directory / kind, "v1")
            wait_until_listed(running, f"{NAME}/{kind}:v1")
        upstream_ends.close()
        yield Ground(running.registry, zoo, made, directory)


def encoded(credentials: str) -> str:
    return base64.b64encode(credentials.encode()).decode()


def wait_until_listed(running: RunningDaemon, reference: str) -> None:
    index = running.data_dir / "oci" / "index.json"
    end = time.monotonic() + _WAIT_SECONDS
    while reference not in index.read_text():
        assert time.monotonic() < end, running.log.read_text()[-2000:]
        time.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_pulled_through_is_whole_and_stays(ground: Ground, tmp_path: Path, kind: str) -> None:
    digest = ground.made[kind]["digest"]
    original = layout_package(ground.zoo, digest)
    assert layout_package(ground.pulled / kind, digest) == original
    skopeo_pull(f"{ground.address}/{NAME}/{kind}:v1", tmp_path / "again", "v1")
    assert layout_package(tmp_path / "again", digest) == original


def test_containerd_when_the_upstream_is_gone(ground: Ground, tmp_path: Path, containerd: Path) -> None:
    mirror_config("containerd", ground.address, tmp_path / "hosts", NAME)
    ctr = ["ctr", "--address", containerd, "images"]
    pull = [*ctr, "pull", "--snapshotter", "native", "--all-platforms", "--hosts-dir", tmp_path / "hosts"]
    run(*pull, f"{NAME}/multi:v1")
    assert ground.made["multi"]["digest"] in run(*ctr, "list")


def test_podman_when_the_upstream_is_gone(ground: Ground, tmp_path: Path, storage: Path, trust: str) -> None:
    mirror_config("podman", ground.address, tmp_path, NAME)
    (configured,) = tmp_path.glob("*.conf")
    variables = {"CONTAINERS_REGISTRIES_CONF": str(configured)}
    run(*engine("podman", storage), "pull", trust, f"{NAME}/image:v1", **variables)
