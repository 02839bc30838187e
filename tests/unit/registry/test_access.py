"""Who may read and who may change."""

import base64
import subprocess
from pathlib import Path

import httpx
import pytest

from peat_sidecar.config import load_settings
from peat_sidecar.errors import ConfigError
from peat_sidecar.http import KnownHosts
from peat_sidecar.registry import open_registry
from peat_sidecar.registry.access import Access
from peat_sidecar.registry.passwords import Passwords
from peat_sidecar.store import Store
from tests.support.registry import make_certificate
from tests.support.registry_client import code_of
from tests.unit.registry.endpoint import TOKEN, endpoint

PUSH = "/v2/app/blobs/uploads/"
READ = "/v2/_catalog"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    subprocess.run(["htpasswd", "-BbcC4", path, "sailor", "correct horse"], check=True, capture_output=True)
    return path


async def test_without_credentials_it_is_read_only(tmp_path: Path) -> None:
    async with endpoint(tmp_path / "data", Access()) as (client, _):
        refused = await client.post(PUSH)
        assert (refused.status_code, code_of(refused)) == (405, "UNSUPPORTED")
        assert "--registry-htpasswd" in refused.text
        for path in ("/v2/", READ):
            assert (await client.get(path)).status_code == 200


async def test_a_password_is_needed_to_push_and_asked_for_at_the_door(tmp_path: Path, htpasswd: Path) -> None:
    async with endpoint(tmp_path / "data", Access(passwords=Passwords.read(htpasswd))) as (client, _):
        for answer in (await client.post(PUSH), await client.get("/v2/")):
            assert (answer.status_code, code_of(answer)) == (401, "UNAUTHORIZED")
            assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        right = basic("sailor", "correct horse")
        assert (await client.post(PUSH, headers=right)).status_code == 202
        assert (await client.post(PUSH, headers=right)).status_code == 202, "as remembered"
        assert (await client.get("/v2/", headers=right)).status_code == 200
        assert (await client.get(READ)).status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        basic("sailor", "wrong"),
        basic("nobody", "correct horse"),
        basic("token", "correct horse"),
        basic("sailor", "correct\0horse"),
        basic("sailor", "x" * 100_000),
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic"},
        {"Authorization": "Bearer correct horse"},
        {"Authorization": "Digest x"},
    ],
)
async def test_what_is_wrong_is_refused_also_for_reading(
    tmp_path: Path, htpasswd: Path, given: dict[str, str]
) -> None:
    async with endpoint(tmp_path / "data", Access(passwords=Passwords.read(htpasswd))) as (client, _):
        for answer in (await client.post(PUSH, headers=given), await client.get(READ, headers=given)):
            assert (answer.status_code, code_of(answer)) == (401, "UNAUTHORIZED")


async def test_the_token_as_such_and_as_a_password(tmp_path: Path) -> None:
    async with endpoint(tmp_path / "data", Access(token=TOKEN)) as (client, _):
        for given in ({"Authorization": f"Bearer {TOKEN}"}, basic("token", TOKEN)):
            assert (await client.post(PUSH, headers=given)).status_code == 202
        for given in ({"Authorization": f"Bearer {TOKEN}x"}, basic("other", TOKEN), basic("token", "")):
            assert (await client.post(PUSH, headers=given)).status_code == 401


async def test_a_client_that_logs_in_as_nobody_may_read(tmp_path: Path) -> None:
    """So do podman and skopeo when they have no user for a registry that asks for one."""
    async with endpoint(tmp_path / "data", Access(token=TOKEN)) as (client, _):
        assert (await client.get(READ, headers=basic("", ""))).status_code == 200
        assert (await client.post(PUSH, headers=basic("", ""))).status_code == 401
    async with endpoint(tmp_path / "data", Access(token=TOKEN, private=True)) as (client, _):
        assert (await client.get(READ, headers=basic("", ""))).status_code == 401


async def test_a_private_one_and_one_that_is_read_only(tmp_path: Path) -> None:
    given = basic("token", TOKEN)
    async with endpoint(tmp_path / "data", Access(token=TOKEN, private=True, read_only=True)) as (client, _):
        assert (await client.get(READ)).status_code == 401
        assert (await client.get(READ, headers=given)).status_code == 200
        assert (await client.post(PUSH, headers=given)).status_code == 405


async def test_pages_of_other_servers_are_refused(tmp_path: Path) -> None:
    hosts = KnownHosts("127.0.0.1", ["ship.example"])
    async with endpoint(tmp_path / "data", Access(hosts=hosts)) as (client, _):
        for host, status in (("evil.example", 403), ("ship.example:5000", 200), ("127.0.0.1:5000", 200)):
            assert (await client.get(READ, headers={"Host": host})).status_code == status
        assert (await client.get(READ, headers={"Origin": "http://evil.example"})).status_code == 403


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("sailor", "line 1"),
        (":$2y$05$" + "x" * 53, "line 1"),
        ("sailor:$apr1$x$y", "htpasswd -B"),
        ("# one\n\nsailor:{SHA}x", "line 3"),
    ],
)
def test_a_file_of_passwords_that_is_none(tmp_path: Path, line: str, fault: str) -> None:
    (tmp_path / "htpasswd").write_text(line)
    with pytest.raises(ConfigError, match=fault):
        Passwords.read(tmp_path / "htpasswd")
    with pytest.raises(ConfigError, match="cannot be read"):
        Passwords.read(tmp_path / "nowhere")


def test_a_hash_that_is_damaged_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text("sailor:$2y$99$" + "x" * 53)
    assert not Passwords.read(tmp_path / "htpasswd").check("sailor", b"x")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"registry": "0.0.0.0:5000"}, "needs TLS"),
        ({"registry": "registry.example:5000"}, "needs TLS"),
        ({"registry": "5000"}, "127.0.0.1:5000"),
        ({"registry": "127.0.0.1:5000", "registry_private": True}, "registry_htpasswd"),
        ({"registry": "127.0.0.1:5000", "registry_tls_cert": "/x"}, "belong together"),
    ],
)
def test_settings_that_do_not_fit(options: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        load_settings(options)


def test_it_is_off_unless_it_is_named(tmp_path: Path) -> None:
    with Store.open(tmp_path / "data") as store:
        assert open_registry(store, load_settings({"data_dir": tmp_path})) == []


@pytest.mark.parametrize(("content", "mode"), [("short", 0o600), ("t" * 32, 0o644)])
def test_a_token_that_is_short_or_open_to_others(tmp_path: Path, content: str, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(mode)
    settings = load_settings({"registry": "127.0.0.1:0", "registry_token_file": path})
    with Store.open(tmp_path / "data") as store, pytest.raises(ConfigError, match="token"):
        open_registry(store, settings)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with Store.open(tmp_path / "data") as store:
        (first,) = open_registry(store, load_settings({"registry": "127.0.0.1:0"}))
        taken = load_settings({"registry": f"127.0.0.1:{first.address.port}"})
        with pytest.raises(ConfigError, match="the registry cannot be served on"):
            open_registry(store, taken)
        first.close()


def test_tls_beyond_loopback(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    settings = load_settings(
        {"registry": "0.0.0.0:0", "registry_tls_cert": made.chain, "registry_tls_key": made.key}
    )
    with Store.open(tmp_path / "data") as store:
        (listener,) = open_registry(store, settings)
        assert listener.tls is not None
        listener.close()


async def test_guesses_take_one_core_at_most(tmp_path: Path, htpasswd: Path) -> None:
    """Checks wait for one another, and one that waits for long is sent away."""
    access = Access(passwords=Passwords.read(htpasswd))
    async with endpoint(tmp_path / "data", access) as (client, _), access._checking:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("peat_sidecar.registry.access._CHECK_SECONDS", 0.05)
            answer: httpx.Response = await client.post(PUSH, headers=basic("sailor", "x"))
    assert (answer.status_code, code_of(answer)) == (429, "TOOMANYREQUESTS")
