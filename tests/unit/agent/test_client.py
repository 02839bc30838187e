"""The client against a faithful server: every protocol, every oddity, every fault."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.agent import AgentClient, AgentError, AgentStatus, DeployedPackage, PulledTag
from peat_sidecar.errors import ConfigError, SourceError
from tests.support.agent_server import LIST_PULLED, AgentServer, Reply, Seen, failure
from tests.support.nodes import bounded
from tests.support.registry import make_certificate

HOST = "registry.example:5000"


@pytest.fixture
async def agent() -> AsyncIterator[AgentServer]:
    async with AgentServer() as started:
        yield started


@pytest.fixture
async def client(agent: AgentServer) -> AsyncIterator[AgentClient]:
    made = AgentClient(agent.url)
    yield made
    await made.close()


def fill(agent: AgentServer) -> None:
    agent.deploy("podinfo", "6.4.0", annotations={"dev.zarf.mission": "blue"}, flavor="upstream")
    agent.pull(HOST, "podinfo", f"{HOST}/team/podinfo:6.4.0", repo="team/podinfo", total_bytes=5_000_000_000)


async def everything(client: AgentClient) -> tuple[AgentStatus, list[DeployedPackage], list[PulledTag]]:
    tags = [tag for each in await client.pulled() for one in each.packages for tag in one.tags]
    return await client.status(), await client.packages(), tags


EXPECTED = (
    AgentStatus("0.9.1", "amd64", "", "v1.31.2+k3s1", "Ready", "v0.42.1", "cluster"),
    [DeployedPackage("podinfo", "6.4.0", 2, "upstream", "", {"dev.zarf.mission": "blue"})],
    [PulledTag(f"{HOST}/team/podinfo:6.4.0", "amd64", "", 5_000_000_000, 5_000_000_000, 3)],
)


@pytest.mark.parametrize("enums", ["names", "numbers", "numeric strings"])
@pytest.mark.parametrize("strings", [True, False], ids=["int64 as strings", "int64 as numbers"])
@pytest.mark.parametrize("zeros", ["left out", "null", "there"])
async def test_the_same_however_it_is_written(
    agent: AgentServer, client: AgentClient, enums: Any, strings: bool, zeros: str
) -> None:
    fill(agent)
    agent.enums, agent.int64_as_strings = enums, strings
    agent.zeros_left_out, agent.nulls = zeros == "left out", zeros == "null"
    assert await bounded(everything(client)) == EXPECTED
    registry = (await client.pulled())[0]
    assert (registry.name, registry.host) == ("registry", HOST)
    assert (registry.packages[0].repository, registry.packages[0].name) == ("team/podinfo", "podinfo")


@pytest.mark.parametrize(("protocol", "version"), [("h2c", "2"), ("http/1.1", "1.1"), ("both", "2")])
async def test_protocols(agent: AgentServer, client: AgentClient, protocol: Any, version: str) -> None:
    fill(agent)
    agent.protocol = protocol
    assert await bounded(everything(client)) == EXPECTED
    assert {seen.http_version for seen in agent.seen} == {version}
    assert agent.connections == 2  # one to ask, and one for all three calls
    assert await bounded(everything(client)) == EXPECTED
    assert agent.connections == 2


async def test_another_protocol_after_a_restart(agent: AgentServer, client: AgentClient) -> None:
    agent.protocol = "h2c"
    await bounded(client.status())
    await agent.stop()
    agent.protocol = "http/1.1"
    await agent.start()
    await bounded(client.status())
    assert [seen.http_version for seen in agent.seen] == ["2", "1.1"]


async def test_requests_are_connects(agent: AgentServer, client: AgentClient) -> None:
    await client.pulled()
    seen = agent.seen[0]
    assert (seen.method, seen.path, seen.body) == ("POST", LIST_PULLED, b"{}")
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["connect-protocol-version"] == "1"
    assert seen.headers["accept-encoding"] == "identity"


async def test_a_path_before_the_calls(agent: AgentServer) -> None:
    agent.rules.append(lambda seen: agent.behave(dataclasses.replace(seen, path=seen.path[3:])))
    client = AgentClient(f"{agent.url}/ag/")
    assert (await client.status()).version == "0.9.1"
    assert agent.seen[0].path == "/ag/status"
    await client.close()


async def test_an_agent_that_has_nothing(agent: AgentServer, client: AgentClient) -> None:
    agent.status = {}
    assert await bounded(everything(client)) == (AgentStatus(), [], [])


async def test_down_and_up_again(agent: AgentServer, client: AgentClient) -> None:
    await client.status()
    await agent.stop()
    for _ in range(2):
        with pytest.raises(AgentError, match=r"cannot be reached; does it run") as caught:
            await bounded(client.status())
        assert caught.value.unreachable
    await agent.start()
    assert (await bounded(client.status())).version == "0.9.1"


@pytest.mark.parametrize("stalls", ["before", "within"])
@pytest.mark.parametrize("protocol", ["h2c", "http/1.1"])
async def test_slow(agent: AgentServer, stalls: Any, protocol: Any) -> None:
    agent.protocol = protocol
    client = AgentClient(agent.url, timeout_seconds=0.3)
    agent.rules.append(lambda _: Reply(stalls=stalls))
    begun = asyncio.get_running_loop().time()
    with pytest.raises(AgentError, match=r"does not answer within 0\.3 s") as caught:
        await bounded(client.status())
    assert asyncio.get_running_loop().time() - begun < 5
    assert caught.value.unreachable
    agent.rules.clear()
    assert (await bounded(client.status())).version == "0.9.1"
    await client.close()


async def test_what_takes_connections_and_says_nothing() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    client = AgentClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_seconds=0.3)
    with pytest.raises(AgentError, match="does not answer"):
        await bounded(client.pulled())
    await client.close()
    server.close()


async def test_what_is_no_http_at_all() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    client = AgentClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(AgentError, match=r"HTTP as it must|breaks off"):
        await bounded(client.status())
    await client.close()
    server.close()


async def test_an_error_of_connect_is_told(agent: AgentServer, client: AgentClient) -> None:
    agent.rules.append(lambda _: failure(500, "internal", "no \x1b[31mcluster\nhere"))
    with pytest.raises(AgentError, match=r"status 500 \(internal: no  ?\[31mcluster here\)") as caught:
        await bounded(client.packages())
    assert not caught.value.unreachable
    assert caught.value.kind == "status 500 of ListPackages"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"404 page not found\n", "is `agent` the address of the agent's API"),
        (401, b"", "agent_tls_cert"),
        (302, b"", "status 302"),
        (503, b"x" * 500_000, "look at the agent's own log"),
        (500, b"[" * 50_000, "status 500"),
        (500, b'{"code": 7, "message": {"a": 1}}', "status 500"),
    ],
)
async def test_other_statuses(
    agent: AgentServer, client: AgentClient, status: int, body: bytes, said: str
) -> None:
    agent.rules.append(lambda _: Reply(status, body))
    with pytest.raises(AgentError, match=said):
        await bounded(client.pulled())
    agent.rules.clear()
    assert await bounded(client.pulled()) == []


def nested(levels: int) -> bytes:
    return b'{"registries":' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>welcome</html>",
        b'{"registries": ',
        b"[]",
        b"null",
        b"17",
        b"\xff\xfe\x00",
        b'{"registries": {}}',
        b'{"registries": "many"}',
        b'{"registries": [17]}',
        b'{"registries": [{"packages": [{"tags": [{"reference": 17}]}]}]}',
        b'{"registries": [{"packages": [{"tags": [{"reference": "a", "totalBytes": true}]}]}]}',
        b'{"registries": [{"packages": [{"tags": [{"reference": "a", "totalBytes": 1.5}]}]}]}',
        b'{"registries": [{"packages": [{"tags": [{"reference": "a", "totalBytes": "12 MB"}]}]}]}',
        b'{"registries": [{"packages": [{"tags": [{"reference": "a", "totalBytes": 1e400}]}]}]}',
        b'{"registries": [{"packages": [{"tags": [{"reference": "a", "totalBytes": NaN}]}]}]}',
        b'{"registries": [{"packages": [{"tags": [{"reference": "a", "totalBytes": 9%s}]}]}]}' % (b"9" * 40),
        b'{"registries": [{"packages": [{"tags": [{"reference": "a", "totalBytes": 9%s}]}]}]}'
        % (b"9" * 9000),
        b'{"registries": [{"packages": [{"tags": [{"reference": "a", "pullInfo": 3}]}]}]}',
        b'{"registries": [{"packages": [{"tags": [{"reference": "a", "pullInfo": {"status": []}}]}]}]}',
        b'{"registries": [{"packages": [{"tags": [{"reference": "\\ud800"}]}]}]}',
        b'{"registries": [{"packages": [{"tags": [{"reference": "%s"}]}]}]}' % (b"a" * 3000),
        nested(100_000),
        nested(900_000),
        b'{"registries": []' + b" " * (16 << 20) + b"}",
    ],
    ids=lambda body: str(body[:70]) + str(len(body)),
)
async def test_rubbish(agent: AgentServer, client: AgentClient, body: bytes) -> None:
    agent.rules.append(lambda seen: Reply(body=body) if seen.path == LIST_PULLED else None)
    with pytest.raises(SourceError, match=r"cannot be read: .*; is `agent` the address of the agent's API"):
        await bounded(client.pulled())
    assert (await bounded(client.status())).version == "0.9.1"


async def test_as_much_as_is_allowed(agent: AgentServer, client: AgentClient) -> None:
    agent.rules.append(lambda _: Reply(body=b'{"registries": []' + b" " * ((16 << 20) - 18) + b"}"))
    assert await bounded(client.pulled()) == []


async def test_an_encoding_that_was_not_asked_for(agent: AgentServer, client: AgentClient) -> None:
    agent.rules.append(lambda _: Reply(headers=((b"content-encoding", b"gzip"),)))
    with pytest.raises(AgentError, match="encoded as 'gzip'"):
        await bounded(client.status())


async def test_entries_without_a_name_are_left_out(agent: AgentServer, client: AgentClient) -> None:
    body: dict[str, Any] = {
        "registries": [None, {}, {"packages": [None, {"tags": [{"arch": "amd64"}, None]}]}]
    }
    agent.rules.append(lambda _: Reply(body=json.dumps(body | {"packages": [{}, None]}).encode()))
    assert await client.packages() == []
    assert [tag for each in await client.pulled() for one in each.packages for tag in one.tags] == []


async def test_enums_that_nobody_here_knows(agent: AgentServer, client: AgentClient) -> None:
    agent.deploy("a", "1", status=99)
    agent.deployed.append({"name": "b", "status": "DEPLOY_PACKAGE_STATUS_DREAMING"})
    agent.deployed.append({"name": "c", "status": -4})
    found = await client.packages()
    assert [each.status for each in found] == [99, "DEPLOY_PACKAGE_STATUS_DREAMING", 0]


async def test_tls_by_its_authority(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with AgentServer(tls=certificate) as agent:
        client = AgentClient(agent.url, tls_ca=certificate.ca)
        assert (await bounded(client.status())).version == "0.9.1"
        assert agent.seen[0].http_version == "2"
        await client.close()
        stranger = AgentClient(agent.url)
        with pytest.raises(AgentError, match=r"not trusted: .*agent_tls_ca") as caught:
            await bounded(stranger.status())
        assert caught.value.unreachable
        await stranger.close()


async def test_mutual_tls(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    server, ours = make_certificate(tmp_path / "theirs"), make_certificate(tmp_path / "ours")
    async with AgentServer(tls=server, client_ca=ours.ca) as agent:
        client = AgentClient(agent.url, tls_cert=ours.chain, tls_key=ours.key, tls_ca=server.ca)
        assert (await bounded(client.status())).version == "0.9.1"
        await client.close()
        nobody = AgentClient(agent.url, tls_ca=server.ca)
        with pytest.raises(AgentError, match="agent_tls_cert"):
            await bounded(nobody.status())
        await nobody.close()


async def test_tls_where_there_is_none(agent: AgentServer) -> None:
    client = AgentClient(agent.url.replace("http:", "https:"))
    with pytest.raises(AgentError, match="does it speak TLS there"):
        await bounded(client.status())
    await client.close()


def test_half_a_set_up_of_tls(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    with pytest.raises(ConfigError, match="agent_tls_key is missing"):
        AgentClient("https://agent.example", tls_cert=made.chain)
    with pytest.raises(ConfigError, match="agent_tls_cert is missing"):
        AgentClient("https://agent.example", tls_key=made.key)
    with pytest.raises(ConfigError, match="https://"):
        AgentClient("http://agent.example", tls_ca=made.ca)
    with pytest.raises(ConfigError, match="https://"):
        AgentClient("http://agent.example", tls_cert=made.chain, tls_key=made.key)
    with pytest.raises(ConfigError, match="both are PEM files"):
        AgentClient("https://agent.example", tls_cert=made.key, tls_key=made.chain)
    with pytest.raises(ConfigError, match="No such file"):
        AgentClient("https://agent.example", tls_cert=tmp_path / "none", tls_key=made.key)
    with pytest.raises(ConfigError, match="PEM form"):
        AgentClient("https://agent.example", tls_ca=made.key)


@pytest.mark.parametrize(
    "address", ["", "agent:9090", "ftp://agent", "http://", "http://a?b", "http://a:99999999"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ConfigError, match="looks like http"):
        AgentClient(address)


async def test_a_cancelled_call_leaves_nothing_behind(agent: AgentServer, client: AgentClient) -> None:
    asked = asyncio.Event()

    def stall(seen: Seen) -> Reply:
        asked.set()
        return Reply(stalls="before")

    agent.rules.append(stall)
    asking = asyncio.create_task(client.status())
    await bounded(asked.wait())
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    agent.rules.clear()
    assert (await bounded(client.status())).version == "0.9.1"
