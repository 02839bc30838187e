"""Daemons on two hosts of a LAN that have nothing in common but the key: each learns what the other says, and
fetches what it has. A third one with another key stays alone.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.images import build_image
from tools.namespaces import Lan
from tools.sidecar import Sidecar

WAIT_SECONDS = 30
HOSTS = [["192.0.2.1/24", "fd00:7::1/64"], ["192.0.2.2/24", "fd00:7::2/64"], ["192.0.2.3/24"]]


@contextlib.asynccontextmanager
async def member(lan: Lan, host: int, folder: Path, key: str, *options: str) -> AsyncIterator[Sidecar]:
    """A daemon on a host, with the usual port and no peer named."""
    file = folder / f"key-{key[:2]}"
    file.write_text(key)
    own = ["--formation-key-file", str(file), "--agent-id", f"host{host}", *options]
    directory = folder / str(host)
    async with Sidecar.start(
        directory, bind="0.0.0.0:4433", prefix=lan.command(host), options=own
    ) as sidecar:
        yield sidecar


async def peers_of(sidecar: Sidecar) -> set[str]:
    found = (await sidecar.call("ListPeers")).get("peers", [])
    return {peer["endpointId"] for peer in found if peer.get("connected")}


async def test_hosts_of_a_lan_find_each_other_and_a_package_goes_over(tmp_path: Path) -> None:
    root = build_image(tmp_path / "image", 3)
    with Lan(HOSTS) as lan:
        async with (
            member(lan, 0, tmp_path, "ab" * 32, "--watch-layout", str(tmp_path / "image")) as one,
            member(lan, 1, tmp_path, "ab" * 32, "--replicate", "*") as two,
            member(lan, 2, tmp_path, "cd" * 32, "--replicate", "*") as stranger,
        ):
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    packages = (await two.call("ListPackages")).get("packages", [])
                    if [package["root"] for package in packages] == [root]:
                        break
                    await asyncio.sleep(0.1)
            assert await peers_of(two) == {str(one.peer.endpoint_id)}
            assert await peers_of(one) == {str(two.peer.endpoint_id)}
            assert await peers_of(stranger) == set()
            assert not (await stranger.call("ListPackages")).get("packages")
            assert "docIds" not in await stranger.call("ListDocuments", collection="packages")
