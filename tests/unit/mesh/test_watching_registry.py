"""The watcher of a registry where the registry is odd; what docker-registry does is in the interop tests."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from peat_sidecar.errors import ConfigError
from peat_sidecar.mesh.watching_registry import RegistryPattern, RegistryWatcher
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, Transfers
from tests.support.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from tests.support.nodes import until
from tests.support.odd_registry import OddRegistry, Reply, Request
from tests.support.real_files import real_bytes
from tests.support.watching import Clock, Ear, Turns, running

QUICK = RegistryOptions(stall_seconds=5, tries=1, backoff_seconds=0.001, environment={"HOME": "/nonexistent"})


@dataclass
class Pier:
    """A registry with lists, and what watches it. All repositories of it hold the same manifests."""

    odd: OddRegistry
    store: Store
    transfers: Transfers
    ear: Ear = field(default_factory=Ear)
    turns: Turns = field(default_factory=Turns)
    clock: Clock = field(default_factory=Clock)
    tags: dict[str, list[str]] = field(default_factory=dict)

    def watcher(self, pattern: str = "*") -> RegistryWatcher:
        return RegistryWatcher(
            f"{self.odd.address}/{pattern}",
            self.ear,
            Importer(self.store),
            self.transfers,
            QUICK,
            self.store,
            sleep=self.turns.sleep,
            clock=self.clock,
        )

    def publish(self, repository: str, tag: str, size: int = 3000) -> str:
        self.tags.setdefault(repository, []).append(tag)
        config, layer = self.odd.add_blob(b"{}"), self.odd.add_blob(real_bytes(size))
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config, "size": 2},
            "layers": [{"mediaType": OCI_LAYER, "digest": layer, "size": size}],
        }
        return self.odd.add_manifest(document, tag=tag)

    def answer(self, request: Request) -> Reply | None:
        if request.path == "/v2/_catalog":
            return Reply(200, {}, json.dumps({"repositories": sorted(self.tags)}).encode())
        if request.path.endswith("/tags/list"):
            name = request.path.removeprefix("/v2/").removesuffix("/tags/list")
            return Reply(200, {}, json.dumps({"name": name, "tags": self.tags.get(name)}).encode())
        return None

    def name(self, rest: str) -> str:
        return f"{self.odd.address}/{rest}"

    @property
    def heard(self) -> list[str]:
        return [each.removeprefix(f"{self.odd.address}/") for each in self.ear.references]


@pytest.fixture
async def pier(tmp_path: Path) -> AsyncIterator[Pier]:
    async with OddRegistry() as odd:
        with Store.open(tmp_path) as store:
            made = Pier(odd, store, Transfers())
            odd.rules.append(made.answer)
            yield made
            await made.transfers.close()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("r.example:5000/team/*:v*", ("r.example:5000", "team/*", "v*")),
        ("r.example/app", ("r.example", "app", "*")),
        ("docker://r.example/*", ("r.example", "*", "*")),
        ("[::1]:5000/a/b:latest", ("[::1]:5000", "a/b", "latest")),
    ],
)
def test_patterns(text: str, parts: tuple[str, str, str]) -> None:
    pattern = RegistryPattern.parse(text)
    assert (pattern.registry, pattern.repository, pattern.tag) == parts


@pytest.mark.parametrize("text", ["", "r.example", "r.example/", "/app", "r*/app", "r.example/app@sha256:0"])
def test_patterns_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="looks like"):
        RegistryPattern.parse(text)


async def test_referrers_come_with_what_the_pattern_names(pier: Pier) -> None:
    digest = pier.publish("team/app", "v1")
    other = pier.publish("team/app", "edge", 4000)
    tags = [digest.replace(":", "-"), f"{digest.replace(':', '-')}.sig"]
    for tag in (*tags, f"{other.replace(':', '-')}.sig"):
        pier.publish("team/app", tag)
    async with running(pier.watcher("team/*:v*")):
        await pier.turns.settled()
        assert pier.heard == ["team/app:v1"]
        await pier.turns.next()
        assert sorted(pier.heard) == sorted(f"team/app:{each}" for each in ["v1", *tags])


async def test_what_the_pattern_names(pier: Pier) -> None:
    for tag in ("v1", "v2", "edge", f"sha256-{'a' * 64}", f"sha256-{'b' * 64}.sig"):
        pier.publish("team/app", tag)
    pier.publish("team/deep/app", "v7")
    pier.publish("other", "v1")
    async with running(pier.watcher("team/*:v*")):
        await until(lambda: len(pier.store.packages()) == 3)
        assert pier.heard == ["team/app:v1", "team/app:v2", "team/deep/app:v7"]
        package = pier.ear.packages[0]
        assert (package.registry, package.package, package.version) == (pier.odd.address, "team/app", "v1")
        assert (package.pull_status, package.listed_as) == (3, package.reference)


async def test_a_repository_by_its_name_needs_no_catalogue(pier: Pier) -> None:
    pier.publish("team/app", "v1")
    async with running(pier.watcher("team/app")):
        await until(lambda: pier.store.package(pier.name("team/app:v1")) is not None)
    assert pier.odd.count("GET", "_catalog") == 0


async def test_a_tag_that_moves_and_one_that_goes(pier: Pier) -> None:
    pier.publish("app", "v1")
    pier.publish("app", "v2")
    async with running(pier.watcher()):
        await until(lambda: len(pier.store.packages()) == 2)
        digest = pier.publish("app", "v1", 5000)
        pier.tags["app"] = ["v1"]
        await pier.turns.next()
        assert pier.heard == ["app:v1"]

        def moved() -> bool:
            found = pier.store.package(pier.name("app:v1"))
            return found is not None and str(found.root.digest) == digest

        await until(moved)


async def test_nothing_is_read_again_that_is_known(pier: Pier) -> None:
    for number in range(5):
        pier.publish("app", f"v{number}")
    watcher = pier.watcher()
    async with running(watcher):
        await until(lambda: watcher.status == "5 packages")
        pier.odd.seen.clear()
        await pier.turns.next()
        paths = [(request.method, request.path.rpartition("/")[2]) for request in pier.odd.seen]
        assert sorted(paths) == [
            ("GET", "_catalog"),
            ("GET", "list"),
            *(("HEAD", f"v{number}") for number in range(5)),
        ]
    pier.turns = Turns()
    async with running(pier.watcher()):  # and after a new start its digest says that it is here
        await pier.turns.settled()
        assert not pier.odd.count("GET", "/manifests/")


async def test_known_tags_take_turns(pier: Pier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peat_sidecar.mesh.intake.AT_ONCE", 0)
    pier.tags["app"] = [f"v{number:03}" for number in range(450)]
    pier.odd.manifests.update(dict.fromkeys(pier.tags["app"], ("x/y", b"{}")))
    async with running(pier.watcher()):
        await pier.turns.settled()
        assert pier.odd.count("HEAD") == 450
        seen: list[str] = []
        for _ in range(3):
            pier.odd.seen.clear()
            pier.clock.seconds += 1
            await pier.turns.next()
            seen += [request.path for request in pier.odd.seen if request.method == "HEAD"]
            assert pier.odd.count("HEAD") == 200
        assert len(set(seen)) == 450


@pytest.mark.parametrize("status", [401, 404])
async def test_a_registry_that_does_not_list(pier: Pier, status: int) -> None:
    pier.odd.rules.insert(0, lambda request: Reply(status) if "_catalog" in request.path else None)
    watcher = pier.watcher()
    async with running(watcher):
        await pier.turns.settled()
        assert pier.ear.told == []
    assert watcher.status


async def test_what_was_known_is_kept(pier: Pier) -> None:
    pier.publish("app", "v1")
    watcher = pier.watcher()
    with capture_logs() as logs:
        async with running(watcher):
            await until(lambda: watcher.status == "1 package")
            told = len(pier.ear.told)
            pier.odd.rules.insert(0, lambda _: Reply(503))
            await pier.turns.next(3)
            assert "status 503" in watcher.status
            assert "1 package, as known before" in watcher.status
            assert len(pier.ear.told) == told
            del pier.odd.rules[0]
            await pier.turns.next()
            assert watcher.status == "1 package"
    faults = [line["event"] for line in logs if line["event"].startswith("a source")]
    assert faults == ["a source cannot be watched; what is known stays", "a source is watched again"]


async def test_one_repository_that_fails_leaves_the_others(pier: Pier) -> None:
    pier.publish("bad", "v1")
    pier.publish("good", "v1")
    watcher = pier.watcher()
    async with running(watcher):
        await until(lambda: watcher.status == "2 packages")
        pier.odd.rules.insert(0, lambda request: Reply(503) if "/bad/" in request.path else None)
        pier.publish("good", "v2")
        await pier.turns.next()
        assert pier.heard == ["bad:v1", "good:v1", "good:v2"]
        assert "status 503" in watcher.status


async def test_one_that_never_could_be_listed(pier: Pier) -> None:
    """Nothing is told at first, lest what was known before the start be taken for gone."""
    pier.publish("bad", "v1")
    pier.publish("good", "v1")
    pier.odd.rules.insert(0, lambda request: Reply(503) if "/bad/" in request.path else None)
    watcher = pier.watcher()
    async with running(watcher):
        await pier.turns.settled()
        assert pier.ear.told == []
        await pier.turns.next(2)
        assert pier.heard == ["good:v1"]
        assert "status 503" in watcher.status


async def test_a_repository_that_we_may_not_see(pier: Pier) -> None:
    pier.publish("secret", "v1")
    pier.publish("good", "v1")
    pier.odd.rules.insert(0, lambda request: Reply(403) if "/secret/" in request.path else None)
    async with running(pier.watcher()):
        await pier.turns.settled()
        assert pier.heard == ["good:v1"]
