"""Bytes that no client of registries sends, to the endpoint of a real daemon, which goes on for others."""

import socket
from collections.abc import Iterator

import httpx
import pytest
from tests.support.daemon import RunningDaemon, daemon, secret_file
from tests.support.registry_client import RegistryClient, registry_http

TOKEN = "t" * 32
WAIT_SECONDS = 20
HOST = b"Host: 127.0.0.1\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n"
UPLOAD = b"/v2/app/blobs/uploads/"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    directory = tmp_path_factory.mktemp("hostile")
    token = secret_file(directory / "token", TOKEN)
    options = {"registry": ["127.0.0.1:0"], "registry_token_file": str(token)}
    with daemon(directory / "data", **options) as started:
        yield started


@pytest.fixture
def client(running: RunningDaemon) -> Iterator[RegistryClient]:
    with registry_http(running.registry, headers={"Authorization": f"Bearer {TOKEN}"}) as http:
        yield RegistryClient(http)


def connect(running: RunningDaemon) -> socket.socket:
    host, _, port = running.registry.partition(":")
    return socket.create_connection((host, int(port)), WAIT_SECONDS)


def answer_to(running: RunningDaemon, raw: bytes) -> bytes:
    """All that comes back, to the end of the connection; what is sent may be refused on the way."""
    with connect(running) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:  # cut
            return b""


def statuses(answer: bytes) -> list[int]:
    return [int(part.split(b" ")[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def get(*headers: bytes, path: bytes = b"/v2/") -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", *headers, b"", b""])


def post(*headers: bytes, body: bytes) -> bytes:
    return b"\r\n".join([b"POST " + UPLOAD + b" HTTP/1.1", HOST + b"\r\n".join(headers), b"", body])


@pytest.mark.parametrize(
    "raw",
    [
        b"\0" * 5000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + b"\1" * 400,
        get(b"Host: a", b"Host: b"),
        get(b"Host: a", b"X: " + b"a" * 1_000_000),
        get(b"Host: a", *(b"X-%d: 1" % number for number in range(9000))),
        get(b"Host: a", path=b"/v2/" + b"a/" * 100_000),
        get(b"Host: a", path=b"/v2/\x00\xff"),
        get(b"Host: a", b"X", b"bad"),
        post(b"Content-Length: -5", body=b"abcde"),
        post(b"Content-Length: 5", b"Content-Length: 6", body=b"abcdef"),
        post(b"Transfer-Encoding: chunked", body=b"ZZ\r\nabc\r\n0\r\n\r\n"),
        post(b"Transfer-Encoding: gzip", body=b"abc"),
    ],
    ids=lambda raw: str(raw[:20]),
)
def test_what_is_no_request_is_refused(running: RunningDaemon, client: RegistryClient, raw: bytes) -> None:
    assert all(400 <= status < 506 and status != 500 for status in statuses(answer_to(running, raw)))
    assert client.ask("GET", "tags/list").status_code == 404, "it goes on"


def test_a_name_cannot_add_a_header(running: RunningDaemon) -> None:
    raw = b"POST /v2/a%0d%0aX-Evil:%201/blobs/uploads/ HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n"
    answer = answer_to(running, raw)
    assert statuses(answer) in ([400], [404])
    assert b"\nX-Evil" not in answer.partition(b"\r\n\r\n")[0]


def test_clients_that_begin_and_say_no_more(running: RunningDaemon, client: RegistryClient) -> None:
    """Many half requests hold nobody up, and what came of an upload is kept."""
    begun = client.begin()
    path = httpx.URL(begun.headers["Location"]).path.encode()
    patch = b"PATCH " + path + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n0123456789"
    slow = [connect(running) for _ in range(60)]
    try:
        slow[0].sendall(patch)
        for connection in slow[1:]:
            connection.sendall(b"GET /v2/ HTTP/1.1\r\nHo")
        digest = client.push_blob(b"from someone else")
        assert client.ask("GET", f"blobs/{digest}").content == b"from someone else"
    finally:
        for connection in slow:
            connection.close()
    answer = client.follow("GET", begun)
    assert answer.status_code == 204
    assert answer.headers["Range"] == "0-9"


def test_requests_in_one_piece_are_answered_in_order(running: RunningDaemon, client: RegistryClient) -> None:
    digest = client.push_blob(b"0123456789")
    path = f"/v2/{client.name}/blobs/{digest}".encode()
    asked = [get(HOST + b"Range: bytes=%d-%d" % (number, number), path=path) for number in range(10)]
    last = b"GET /v2/ HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    with connect(running) as connection:
        connection.sendall(b"".join([*asked, last]))
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).rpartition(b"HTTP/1.1 ")[0]
    assert statuses(answer) == [206] * 10
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert b"".join(bodies) == b"0123456789"
