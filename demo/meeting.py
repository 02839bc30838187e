"""Three sidecars that know a key in common: the package goes by itself to two that never meet at once.

The first one's cluster has pulled the image, which its agent tells. The second one carries whatever there is.
Then the first is switched off, and the third appears, which knows the second one only. In the end a client
pulls from the third one as from any registry.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.agent_server import AgentServer
from tools.sidecar import Sidecar, SidecarError

from demo.compare import Copy, LayoutCopy, RegistryCopy
from demo.ends import TAG, Ends
from demo.pulling import pull
from demo.story import Story
from peat_sidecar.ids import PeerAddress

_WAIT_SECONDS = 120.0
_LOOK_SECONDS = 0.2
_PREFIX = "field"


async def meet(story: Story, folder: Path, both: Ends) -> list[Copy]:
    """What has to be there at the end: what the third one wrote out, and what a client pulled from it."""
    key = folder / "formation.key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    async with AsyncExitStack() as stack:
        story.step("A formation: three sidecars that have one key in common, and nothing else")
        first = await stack.enter_async_context(_member(folder, "shore", key, await _source(stack, both)))
        carrier = await stack.enter_async_context(
            _member(folder, "ship", key, ["--replicate", "*,carry"], [first.peer])
        )
        story.fact(
            "shore has an agent, whose cluster has pulled the image"
            if both.are_registries
            else "shore watches the folder with the image"
        )
        story.fact("ship has one rule: --replicate '*,carry'")
        document = await _arrival(carrier, "ship")
        story.fact(f"It arrived on ship by itself: {int(document['bytes']) / 1e6:.1f} MB")

        story.step("Shore is switched off; then a third one appears, which knows ship only")
        await first.stop()
        target, options = _target(folder, both)
        third = await stack.enter_async_context(_member(folder, "field", key, options, [carrier.peer]))
        document = await _arrival(third, "field")
        story.fact(f"It arrived on field by itself: {int(document['bytes']) / 1e6:.1f} MB")
        await _write_out(story, third, folder, both, document)

        story.step("A client pulls from field, which is a registry as well")
        pulled = await asyncio.to_thread(pull, story, third.registry, both.repository, folder / "pulled")
    return [target, pulled]


async def _source(stack: AsyncExitStack, both: Ends) -> list[str]:
    """Options that have the first one find the image."""
    if not both.are_registries:
        return ["--watch-layout", both.source["layout"]]
    reference = both.source["reference"]
    host, _, repository = reference.partition("/")
    agent = await stack.enter_async_context(AgentServer())
    agent.pull(host, repository.rpartition(":")[0], reference, arch="amd64")
    return ["--agent", agent.url]


def _target(folder: Path, both: Ends) -> tuple[Copy, list[str]]:
    """What is compared at the end, and the options that have it made."""
    serve = ["--registry", "127.0.0.1:0"]
    if not both.are_registries:
        return LayoutCopy(folder / "field-out"), [*serve, "--replicate", "*", "--export-root", str(folder)]
    source, host = (each["reference"].partition("/")[0] for each in (both.source, both.target))
    copy = RegistryCopy(f"http://{host}/v2/{_PREFIX}/{both.repository}", TAG)
    return copy, [*serve, "--registry-default", source, "--replicate", f"*,export={host}/{_PREFIX}"]


@asynccontextmanager
async def _member(
    folder: Path, name: str, key: Path, options: Sequence[str], peers: Sequence[PeerAddress] = ()
) -> AsyncIterator[Sidecar]:
    own = ["--formation-key-file", str(key), "--agent-id", name, "--no-discover-mdns"]
    async with Sidecar.start(folder / name, peers=peers, options=[*own, *options]) as sidecar:
        yield sidecar


async def _arrival(sidecar: Sidecar, name: str) -> dict[str, Any]:
    """The package, once it is in the store."""
    async with asyncio.timeout(_WAIT_SECONDS):
        while True:
            if found := (await sidecar.call("ListPackages")).get("packages", []):
                package: dict[str, Any] = found[0]
                return package
            for want in (await sidecar.call("ListWants")).get("wants", []):
                if want.get("state") == "WANT_STATE_FAILED":
                    raise SidecarError(f"{name} gave up: {want}")
            await asyncio.sleep(_LOOK_SECONDS)


async def _write_out(
    story: Story, sidecar: Sidecar, folder: Path, both: Ends, package: dict[str, Any]
) -> None:
    if not both.are_registries:
        await sidecar.call(
            "ExportBlob", package=package["root"], layout=str(folder / "field-out"), tag=TAG, wait=True
        )
        story.fact("and was written to a folder.")
        return
    async with asyncio.timeout(_WAIT_SECONDS):
        while not await _exported(sidecar):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(_LOOK_SECONDS)
    story.fact("and its policy wrote it to the registry there; its document says so.")


async def _exported(sidecar: Sidecar) -> bool:
    ids = (await sidecar.call("ListDocuments", collection="packages")).get("docIds", [])
    for id in ids:
        answer = await sidecar.call("GetDocument", collection="packages", docId=id)
        if id.startswith("field:") and '"exported"' in answer.get("jsonData", ""):
            return True
    return False
