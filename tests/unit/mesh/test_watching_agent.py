"""The watcher of the agent, with a faithful agent and a registry over real HTTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from peat_sidecar.agent import AgentClient
from peat_sidecar.mesh.pulled import PulledPackage
from peat_sidecar.mesh.watching_agent import AgentWatcher
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, Transfers
from tests.support.agent_server import LIST_PACKAGES, LIST_PULLED, AgentServer, Reply, Seen, failure
from tests.support.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from tests.support.nodes import sha256_of, until
from tests.support.odd_registry import OddRegistry
from tests.support.odd_registry import Reply as RegistryReply
from tests.support.real_files import real_bytes
from tests.support.watching import Clock, Ear, Papers, Turns, running

QUICK = RegistryOptions(stall_seconds=5, tries=1, backoff_seconds=0.001, environment={"HOME": "/nonexistent"})
DAY = 86_400


@dataclass
class Desk:
    """A watcher and everything around it."""

    agent: AgentServer
    client: AgentClient
    odd: OddRegistry
    store: Store
    transfers: Transfers
    papers: Papers
    ear: Ear
    turns: Turns
    clock: Clock
    now: Clock

    def watcher(self) -> AgentWatcher:
        return AgentWatcher(
            self.client,
            "harbour",
            self.papers,
            self.ear,
            Importer(self.store),
            self.transfers,
            QUICK,
            self.store,
            sleep=self.turns.sleep,
            clock=self.clock,
            now=self.now,
        )

    def publish(self, tag: str, size: int = 20_000) -> str:
        """An image in the registry; its digest."""
        config, layer = self.odd.add_blob(b"{}"), self.odd.add_blob(real_bytes(size))
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config, "size": 2},
            "layers": [{"mediaType": OCI_LAYER, "digest": layer, "size": size}],
        }
        return self.odd.add_manifest(document, tag=tag)

    def pull(self, tag: str, arch: str = "amd64") -> str:
        """The agent says that it has an image; its reference."""
        reference = f"{self.odd.address}/team/app:{tag}"
        self.agent.pull(self.odd.address, "app", reference, repo="team/app", arch=arch, total_bytes=4711)
        return reference

    def stored(self, reference: str) -> str | None:
        found = self.store.package(reference)
        return str(found.root.digest) if found else None


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with AgentServer() as agent, OddRegistry() as odd:
        with Store.open(tmp_path) as store:
            client, transfers = AgentClient(agent.url, timeout_seconds=2), Transfers()
            yield Desk(
                agent,
                client,
                odd,
                store,
                transfers,
                Papers(),
                Ear(),
                Turns(),
                Clock(),
                Clock(1_760_000_000.7),
            )
            await transfers.close()
            await client.close()


def idle(watcher: AgentWatcher) -> bool:
    return not watcher._sightings.intake._tasks


async def test_documents_as_the_agent_says(desk: Desk) -> None:
    desk.agent.deploy("podinfo", "6.4.0", flavor="upstream", annotations={"a": "b"})
    desk.agent.deploy("podinfo", "6.4.0", namespaceOverride="second")
    async with running(desk.watcher()):
        await desk.turns.settled()
        assert desk.papers.documents["nodes"] == {
            "harbour": {
                "agent_id": "harbour",
                "node_type": "uds-remote-agent",
                "version": "0.9.1",
                "architecture": "amd64",
                "classification": "",
                "k8s_version": "v1.31.2+k3s1",
                "k8s_node_status": "Ready",
                "zarf_version": "v0.42.1",
                "run_mode": "cluster",
                "last_seen": 1_760_000_000,
            }
        }
        deployments = desk.papers.documents["deployments"]
        assert sorted(deployments) == ["harbour:podinfo", "harbour:podinfo@second"]
        assert deployments["harbour:podinfo"] == {
            "agent_id": "harbour",
            "package": "podinfo",
            "version": "6.4.0",
            "status": 2,
            "flavor": "upstream",
            "namespace_override": "",
            "annotations": {"a": "b"},
            "last_seen": 1_760_000_000,
        }


async def test_what_does_not_change_is_not_written(desk: Desk) -> None:
    desk.agent.deploy("podinfo", "6.4.0")
    async with running(desk.watcher()):
        await desk.turns.settled()
        assert desk.papers.puts == 2
        reads = desk.papers.reads
        for _ in range(20):
            desk.now.seconds += 10
            await desk.turns.next()
        assert (desk.papers.puts, desk.papers.reads) == (2, reads)
        desk.agent.nulls, desk.agent.enums = True, "numbers"  # the same in other words
        await desk.turns.next()
        assert desk.papers.puts == 2
        desk.agent.status["k8sNodeStatus"] = "NotReady"
        await desk.turns.next()
        assert desk.papers.puts == 3
        assert desk.papers.documents["nodes"]["harbour"]["k8s_node_status"] == "NotReady"


async def test_a_sign_of_life_once_a_day(desk: Desk) -> None:
    async with running(desk.watcher()):
        await desk.turns.settled()
        for _ in range(48):
            desk.now.seconds += 3600
            desk.clock.seconds += 3600
            await desk.turns.next()
        assert desk.papers.puts == 1 + 2
    async with running(desk.watcher()):  # nor is a new start a change
        await desk.turns.next()
        assert desk.papers.puts == 1 + 2


async def test_a_clock_that_was_wrong(desk: Desk) -> None:
    desk.now.seconds += 365 * DAY
    async with running(desk.watcher()):
        await desk.turns.settled()
        desk.now.seconds -= 365 * DAY
        await desk.turns.next(3)
        assert desk.papers.puts == 2
        assert desk.papers.documents["nodes"]["harbour"]["last_seen"] == 1_760_000_000


async def test_deployments_that_are_gone(desk: Desk) -> None:
    others = {"harbour2:podinfo": {"a": 1}, "aft:podinfo": {"a": 1}, "harbour:old": {"a": 1}}
    desk.papers.documents["deployments"] = {**others}
    desk.agent.deploy("podinfo", "6.4.0")
    async with running(desk.watcher()):
        await desk.turns.settled()
        assert sorted(desk.papers.documents["deployments"]) == [
            "aft:podinfo",
            "harbour2:podinfo",
            "harbour:podinfo",
        ]
        desk.agent.deployed.clear()
        await desk.turns.next()
        assert sorted(desk.papers.documents["deployments"]) == ["aft:podinfo", "harbour2:podinfo"]


async def test_what_cannot_be_written_does_not_keep_the_rest(desk: Desk) -> None:
    desk.agent.deploy("huge", "1")
    desk.agent.deploy("small", "1")
    desk.papers.refused = lambda doc_id, _: "huge" in doc_id
    desk.pull("v1")
    watcher = desk.watcher()
    with capture_logs() as logs:
        async with running(watcher):
            await desk.turns.settled()
            await desk.turns.next(3)
            assert list(desk.papers.documents["deployments"]) == ["harbour:small"]
            assert "harbour:huge is too large; make it smaller" in watcher.status
            assert desk.ear.references
    assert len([line for line in logs if "cannot be watched" in line["event"]]) == 1


async def test_a_pulled_package_is_told_of_and_taken_in(desk: Desk) -> None:
    digest = desk.publish("v1")
    reference = desk.pull("v1")
    watcher = desk.watcher()
    async with running(watcher):
        await until(lambda: desk.stored(reference) == digest)
        told = PulledPackage(desk.odd.address, "app", reference, "amd64", "", 4711, 3, 4711, reference)
        assert desk.ear.told[0] == ("agent", (told,))
        await until(lambda: len(desk.ear.told) == 2)  # once more when its content is here
        assert watcher.status == "1 package"
        asked = len(desk.odd.seen)
        await desk.turns.next(5)
        assert len(desk.odd.seen) == asked
    async with running(desk.watcher()):  # what is here is known by its digest
        await until(lambda: len(desk.odd.seen) > asked)
        assert [request.method for request in desk.odd.seen[asked:]] == ["HEAD"]


async def test_two_platforms_of_one_reference_are_both_told(desk: Desk) -> None:
    desk.publish("v1")
    desk.pull("v1", "amd64")
    reference = desk.pull("v1", "arm64")
    desk.pull("v1", "arm64")
    async with running(desk.watcher()):
        await until(lambda: desk.stored(reference) is not None)
        assert [each.arch for each in desk.ear.packages] == ["amd64", "arm64", "arm64"]
        await desk.turns.next(2)
        assert len(desk.transfers.all()) == 1


async def test_the_order_means_nothing(desk: Desk) -> None:
    for tag in ("v1", "v2", "v3"):
        desk.pull(tag)
    async with running(desk.watcher()):
        await desk.turns.settled()
        before = desk.ear.packages
        desk.agent.registries[0]["packages"][0]["tags"].reverse()
        await desk.turns.next()
        assert desk.ear.packages == before
        assert len(desk.ear.told) > 1


async def test_a_package_that_vanishes(desk: Desk) -> None:
    first, second = desk.pull("v1"), desk.pull("v2")
    async with running(desk.watcher()):
        await desk.turns.settled()
        assert desk.ear.references == [first, second]
        desk.agent.unpull(first)
        await desk.turns.next()
        assert desk.ear.references == [second]


async def test_at_most_two_imports_at_once(desk: Desk) -> None:
    for number in range(7):
        desk.publish(f"v{number}", 1000 + number)
        desk.pull(f"v{number}")
    most = 0

    def look(_: object) -> None:
        nonlocal most
        most = max(most, len(desk.transfers.running()))

    desk.odd.rules.append(look)
    async with running(desk.watcher()):
        await until(lambda: len(desk.store.packages()) == 7)
    assert most == 2


async def test_a_failed_import_waits_longer_each_time(desk: Desk) -> None:
    reference = desk.pull("v1")
    watcher = desk.watcher()

    def attempts() -> int:
        return desk.odd.count("HEAD", "/manifests/v1")

    with capture_logs() as logs:
        async with running(watcher):
            await until(lambda: "without content" in watcher.status)
            assert "has no manifest v1" in watcher.status
            for _ in range(120):  # ten minutes
                desk.clock.seconds += 5
                await desk.turns.next()
                await until(lambda: idle(watcher))
            assert 6 <= attempts() <= 9
            digest = desk.publish("v1")
            desk.clock.seconds += 2000
            await desk.turns.next()
            await until(lambda: watcher.status == "1 package")
            assert desk.stored(reference) == digest
    assert len([line for line in logs if "could not be taken in" in line["event"]]) == 1


async def test_news_of_a_package_end_its_wait(desk: Desk) -> None:
    reference = desk.pull("v1")
    desk.agent.registries[0]["packages"][0]["tags"][0]["pullInfo"]["status"] = 2
    watcher = desk.watcher()
    async with running(watcher):
        await until(lambda: "without content" in watcher.status)
        digest = desk.publish("v1")
        await desk.turns.next()
        assert desk.stored(reference) is None
        desk.agent.registries[0]["packages"][0]["tags"][0]["pullInfo"]["status"] = 3
        await desk.turns.next()
        await until(lambda: desk.stored(reference) == digest)


async def test_a_tag_that_moves_is_noticed_in_time(desk: Desk) -> None:
    desk.publish("v1")
    reference = desk.pull("v1")
    watcher = desk.watcher()
    async with running(watcher):
        await until(lambda: desk.stored(reference) is not None and idle(watcher))
        digest = desk.publish("v1", 30_000)
        desk.clock.seconds += 601
        await desk.turns.next()
        await until(lambda: desk.stored(reference) == digest)


async def test_an_import_that_somebody_cancels_is_left_for_long(desk: Desk) -> None:
    desk.publish("v1")
    reference = desk.pull("v1")
    config = f"/blobs/{sha256_of(b'{}')}"
    desk.odd.rules.append(
        lambda request: RegistryReply(200, {}, b"{}", stall_after=1) if config in request.path else None
    )
    watcher = desk.watcher()
    async with running(watcher):
        await until(lambda: desk.odd.count("GET", config) > 0)
        desk.transfers.cancel(desk.transfers.running()[0].id)
        await until(lambda: "was cancelled" in watcher.status)
        desk.odd.rules.clear()
        desk.clock.seconds += 600
        await desk.turns.next()
        assert desk.stored(reference) is None
        desk.clock.seconds += 600
        await desk.turns.next()
        await until(lambda: desk.stored(reference) is not None)


async def test_a_tag_alone_and_a_name_that_no_registry_takes(desk: Desk) -> None:
    digest = desk.publish("1.2.3")
    desk.agent.pull(desk.odd.address, "app", "1.2.3", repo="team/app")
    desk.agent.pull(desk.odd.address, "App", "Team/App:v1")
    async with running(desk.watcher()):
        await until(lambda: desk.stored(f"{desk.odd.address}/team/app:1.2.3") == digest)
        assert [each.listed_as for each in desk.ear.packages] == [f"{desk.odd.address}/team/app:1.2.3", ""]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("down", "cannot be reached"),
        ("slow", "does not answer within 2 s"),
        ("error", r"fails with status 500 (internal: no cluster)"),
        ("rubbish", "cannot be read"),
        ("wrong type", "registries is text where a list is due"),
    ],
)
async def test_what_was_known_is_kept(desk: Desk, fault: str, said: str) -> None:
    replies = {
        "slow": Reply(stalls="before"),
        "error": failure(500, "internal", "no cluster"),
        "rubbish": Reply(body=b"<html>"),
        "wrong type": Reply(body=b'{"registries": "none", "packages": {}}'),
    }
    desk.agent.deploy("podinfo", "6.4.0")
    reference = desk.pull("v1")
    watcher = desk.watcher()
    async with running(watcher):
        await desk.turns.settled()
        await until(lambda: idle(watcher))
        documents, told = repr(desk.papers.documents), len(desk.ear.told)
        with capture_logs() as logs:
            if fault == "down":
                await desk.agent.stop()
            else:
                parts = (LIST_PACKAGES, LIST_PULLED) if fault == "wrong type" else ("/",)
                desk.agent.rules.append(lambda seen: replies[fault] if seen.path.startswith(parts) else None)
            await desk.turns.next(2)
            assert said in watcher.status
            assert "1 package, as known before" in watcher.status
            assert repr(desk.papers.documents) == documents
            assert len(desk.ear.told) == told
            desk.agent.rules.clear()
            if fault == "down":
                await desk.agent.start()
            await desk.turns.next(2)
        assert [line["event"] for line in logs if line["event"].startswith("a source")] == [
            "a source cannot be watched; what is known stays",
            "a source is watched again",
        ]
        assert "as known before" not in watcher.status
        assert desk.ear.references == [reference]


async def test_one_call_that_fails_leaves_the_others(desk: Desk) -> None:
    reference = desk.pull("v1")
    missing = failure(501, "unimplemented", "")
    desk.agent.rules.append(lambda seen: missing if seen.path == LIST_PACKAGES else None)
    watcher = desk.watcher()
    async with running(watcher):
        await desk.turns.settled()
        assert desk.ear.references == [reference]
        assert "harbour" in desk.papers.documents["nodes"]
        assert "ListPackages of the agent" in watcher.status


async def test_a_fault_that_becomes_another(desk: Desk) -> None:
    watcher = desk.watcher()
    with capture_logs() as logs:
        async with running(watcher):
            await desk.turns.settled()
            numbers = iter(range(1000))
            # The text of an error may be another one each time; the fault is the same.

            def stumble(seen: Seen) -> Reply | None:
                said = f"request {next(numbers)}"
                return failure(500, "internal", said) if seen.path == LIST_PULLED else None

            desk.agent.rules.append(stumble)
            await desk.turns.next(4)
            desk.agent.rules[0] = lambda seen: Reply(404) if seen.path == LIST_PULLED else None
            await desk.turns.next(4)
    errors = [line["error"] for line in logs if "cannot be watched" in line["event"]]
    assert [("status 500" in each, "status 404" in each) for each in errors] == [(True, False), (False, True)]


async def test_before_anything_is_known(desk: Desk) -> None:
    await desk.agent.stop()
    watcher = desk.watcher()
    assert watcher.status == "not looked at yet"
    async with running(watcher):
        await desk.turns.settled()
        assert watcher.status.startswith("the agent at 127.0.0.1:")
        assert desk.ear.told == []
        assert desk.turns.pauses == [10.0]
