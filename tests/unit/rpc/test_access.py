"""Who may call over TCP: tokens, names of the host, origins."""

import os
from pathlib import Path

import pytest

from peat_sidecar.errors import ConfigError
from peat_sidecar.rpc.access import Access, load_token
from peat_sidecar.rpc.application import reading_paths
from tests.unit.rpc.requests import ask, ok, scope

TOKEN = "t" * 43
READ, CHANGE = "/peat.sidecar.v1.PeatSidecar/GetStatus", "/peat.sidecar.v1.PeatSidecar/ImportBlob"


@pytest.fixture
def access() -> Access:
    return Access(ok, token=TOKEN, bound="192.0.2.1", hosts=["Sidecar.example"], reading=reading_paths())


def test_only_calls_without_effects_are_for_everyone() -> None:
    names = {path.rpartition("/")[2] for path in reading_paths()}
    assert names == {
        "GetStatus",
        "ListPeers",
        "ListBans",
        "GetRoster",
        "GetDocument",
        "ListDocuments",
        "Subscribe",
        "GetSyncStats",
        "ListMeshPackages",
        "Quote",
        "ListWants",
        "GetBlobStatus",
        "ListBlobs",
        "ListPackages",
        "ListPins",
        "GetStoreUsage",
        "ListTransfers",
        "WatchTransfer",
        "WatchTransfers",
        "GetLimits",
    }


async def test_reading_needs_no_token(access: Access) -> None:
    for path in (READ, "/healthz", "/readyz", "/metrics"):
        assert (await ask(access, scope(path, host="127.0.0.1:1"))).status == 200


@pytest.mark.parametrize("path", [CHANGE, "/", "/other", READ + "/", READ.lower()])
async def test_everything_else_needs_it(access: Access, path: str) -> None:
    answer = await ask(access, scope(path, host="127.0.0.1:1"))
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (await ask(access, scope(path, host="localhost", authorization=f"Bearer {TOKEN}"))).status == 200


@pytest.mark.parametrize(
    "value",
    [
        "",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer é",
    ],
)
async def test_wrong_tokens(access: Access, value: str) -> None:
    answer = await ask(access, scope(CHANGE, host="localhost", authorization=value))
    assert answer.status == 401
    assert TOKEN not in answer.body.decode()


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:50051",
        "127.0.0.1:1",
        "[::1]:1",
        "127.9.9.9",
        "192.0.2.1:5",
        "sidecar.example.",
    ],
)
async def test_names_of_this_daemon(access: Access, host: str) -> None:
    assert (await ask(access, scope(READ, host=host))).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "192.0.2.2",
        "",
        ":1",
        "[::1",
        "a/b",
        "localhost:x",
    ],
)
async def test_other_names_are_refused(access: Access, host: str) -> None:
    answer = await ask(access, scope(READ, host=host, authorization=f"Bearer {TOKEN}"))
    assert (answer.status, answer.code) == (403, "permission_denied")


async def test_a_request_without_a_host_is_refused(access: Access) -> None:
    assert (await ask(access, scope(READ))).status == 403


@pytest.mark.parametrize(
    "origin", ["http://localhost:50051", "https://sidecar.example", "http://sidecar.example:8080"]
)
async def test_origins_that_may_call(access: Access, origin: str) -> None:
    assert (await ask(access, scope(READ, host="localhost:50051", origin=origin))).status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.example",
        "http://localhost:3000",
        "https://localhost:50051",
        "file://",
        "http://a@sidecar.example/",
    ],
)
async def test_origins_that_may_not(access: Access, origin: str) -> None:
    asked = scope(READ, host="localhost:50051", origin=origin, authorization=f"Bearer {TOKEN}")
    assert (await ask(access, asked)).status == 403


async def test_a_grpc_client_gets_a_status(access: Access) -> None:
    answer = await ask(access, scope(CHANGE, host="localhost", content_type="application/grpc"))
    assert (answer.status, answer.trailers["grpc-status"]) == (200, "16")
    for content_type, http2 in (("application/grpc-web+proto", True), ("application/grpc", False)):
        asked = scope(CHANGE, http2=http2, host="localhost", content_type=content_type)
        answer = await ask(access, asked)
        assert answer.headers["grpc-status"] == "16"
        assert answer.headers["content-type"] == content_type


def test_the_token_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "api.token"
    token = load_token(path)
    assert len(token) >= 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_token(path) == token
    assert os.listdir(tmp_path) == ["api.token"]


def test_tokens_that_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "api.token"
    load_token(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="read by others"):
        load_token(path)
    path.chmod(0o600)
    for text in ("", "short", "x" * 43 + "\ny"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="damaged"):
            load_token(path)
    with pytest.raises(ConfigError, match="cannot be used"):
        load_token(tmp_path / "none" / "api.token")
