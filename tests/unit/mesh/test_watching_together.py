"""The watchers with the real announcer and real records: what the agent, a layout and nobody says becomes
documents.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.agent import AgentClient
from peat_sidecar.mesh.announcer import Announcer
from peat_sidecar.mesh.offers import Offers
from peat_sidecar.mesh.policy import Platforms
from peat_sidecar.mesh.trust import Trust
from peat_sidecar.mesh.watching_agent import AgentWatcher
from peat_sidecar.mesh.watching_layouts import LayoutWatcher
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.records import Records, Signer
from peat_sidecar.state import State
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, Transfers
from tests.support.agent_server import AgentServer
from tests.support.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, build_image
from tests.support.nodes import until
from tests.support.odd_registry import OddRegistry
from tests.support.real_files import real_bytes
from tests.support.watching import Turns, running

QUICK = RegistryOptions(stall_seconds=5, tries=1, backoff_seconds=0.001, environment={"HOME": "/nonexistent"})


async def at_once(seconds: float) -> None:
    await asyncio.sleep(0)


@dataclass
class Node:
    """Everything but the network."""

    store: Store
    records: Records
    announcer: Announcer
    transfers: Transfers

    def packages(self) -> dict[str, dict[str, Any]]:
        return {each.doc_id: dict(each.fields) for each in self.records.documents("packages")}


@contextlib.asynccontextmanager
async def node(directory: Path, *sources: str) -> AsyncIterator[Node]:
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(Store.open(directory / "store"))
        records = Records.open(directory / "records.db", Signer(b"\1" * 32))
        stack.callback(records.close)
        records.claim("harbour")
        state = State.open(directory / "state.db")
        stack.callback(state.close)
        trust = Trust(records, None, "test")
        stack.callback(trust.close)
        offers = Offers(records, trust, Platforms(["linux/amd64"]))
        announcer = Announcer("harbour", records, store, state, offers, sources=sources, sleep=at_once)
        transfers = Transfers()
        task = asyncio.create_task(announcer.run())
        try:
            yield Node(store, records, announcer, transfers)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await transfers.close()


def publish(odd: OddRegistry, tag: str, size: int) -> str:
    config, layer = odd.add_blob(b"{}"), odd.add_blob(real_bytes(size))
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": config, "size": 2},
        "layers": [{"mediaType": OCI_LAYER, "digest": layer, "size": size}],
    }
    return odd.add_manifest(document, tag=tag)


@pytest.fixture
async def agent() -> AsyncIterator[AgentServer]:
    async with AgentServer() as started:
        yield started


@pytest.fixture
async def client(agent: AgentServer) -> AsyncIterator[AgentClient]:
    made = AgentClient(agent.url)
    yield made
    await made.close()


def watch_agent(made: Node, client: AgentClient, turns: Turns) -> AgentWatcher:
    return AgentWatcher(
        client,
        "harbour",
        made.records,
        made.announcer,
        Importer(made.store),
        made.transfers,
        QUICK,
        made.store,
        sleep=turns.sleep,
    )


async def test_from_the_agent_to_documents(agent: AgentServer, client: AgentClient, tmp_path: Path) -> None:
    async with OddRegistry() as odd:
        digest = publish(odd, "v1", 30_000)
        reference = f"{odd.address}/team/app:v1"
        pulled = agent.pull(odd.address, "app", reference, repo="team/app", total_bytes=30_415, version="1.0")
        agent.deploy("podinfo", "6.4.0", annotations={"a": "b"})
        turns = Turns()
        key = f"harbour:{reference}-amd64"

        def state_of(made: Node) -> str:
            return str(made.packages().get(key, {}).get("content", {}).get("state", ""))

        async with node(tmp_path, "agent") as made, running(watch_agent(made, client, turns)):
            await until(lambda: state_of(made) == "complete")
            document = made.packages()[key]
            content = document.pop("content")
            assert document == {
                "agent_id": "harbour",
                "registry": odd.address,
                "package": "app",
                "reference": reference,
                "arch": "amd64",
                "version": "1.0",
                "total_bytes": 30_415,
                "pull_status": 3,
            }
            assert content["root"] == digest
            deployed = made.records.get("deployments", "harbour:podinfo")
            assert deployed is not None
            assert deployed.fields["annotations"] == {"a": "b"}
            before = made.records.status().bytes, made.records.heads()
            await turns.next(5)
            assert (made.records.status().bytes, made.records.heads()) == before

        await agent.stop()  # a start without the agent takes nothing back
        async with node(tmp_path, "agent") as made:
            turns = Turns()
            watcher = watch_agent(made, client, turns)
            async with running(watcher):
                await turns.next(2)
                assert "cannot be reached" in watcher.status
                assert state_of(made) == "complete"
                await agent.start()
                pulled["pullInfo"]["status"] = 5
                await turns.next()
                await until(lambda: made.packages()[key]["pull_status"] == 5)
                agent.unpull(reference)
                await turns.next()
                await until(lambda: "content" not in made.packages()[key])


async def test_two_packages_with_one_key(agent: AgentServer, client: AgentClient, tmp_path: Path) -> None:
    async with OddRegistry() as one, OddRegistry() as other:
        digests = {publish(one, "v1", 30_000), publish(other, "v1", 40_000)}
        for odd in (one, other):
            agent.pull(odd.address, "app", "app:v1")
        turns = Turns()
        async with node(tmp_path, "agent") as made, running(watch_agent(made, client, turns)):

            def roots() -> list[str]:
                return [fields.get("content", {}).get("root", "") for fields in made.packages().values()]

            await until(lambda: digests <= set(roots()))
            assert {each["registry"] for each in made.packages().values()} == {one.address, other.address}


async def test_from_a_layout_to_documents(tmp_path: Path) -> None:
    digest = build_image(tmp_path / "layout", 0.1, 2, tag="Not a Tag!")
    async with node(tmp_path) as made:
        watcher = LayoutWatcher(
            tmp_path / "layout", made.announcer, Importer(made.store), made.transfers, made.store
        )
        async with running(watcher):

            def roots() -> list[str]:
                return [fields.get("content", {}).get("root", "") for fields in made.packages().values()]

            await until(lambda: roots() == [digest])
            document = next(iter(made.packages().values()))
            assert document["reference"] == f"layout/layout:{digest[7:19]}"
            assert document["content"]["state"] == "complete"
