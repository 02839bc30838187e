"""An unmodified grpcio client on the unix socket and over TCP, with and without TLS."""

import concurrent.futures
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from peat_sidecar.rpc.bounds import BODY_LIMIT_BYTES
from tests.support.daemon import RunningDaemon, daemon
from tests.support.grpc_stubs import CALL_SECONDS as SECONDS
from tests.support.grpc_stubs import Client, code_of, generate
from tests.support.real_files import real_bytes, real_file
from tests.support.registry import make_certificate

ID = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
"""A public key that nobody in these tests has the secret of."""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, ModuleType]:
    return generate(tmp_path_factory.mktemp("grpc"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    with daemon(
        folder / "data", import_roots=[str(folder / "in")], export_roots=[str(folder / "out")]
    ) as found:
        yield found


@pytest.fixture(params=["unix", "tcp"])
def client(
    request: pytest.FixtureRequest, running: RunningDaemon, stubs: tuple[ModuleType, ModuleType]
) -> Iterator[Client]:
    target = f"unix:{running.socket}" if request.param == "unix" else running.tcp
    with grpc.insecure_channel(target) as channel:
        yield Client(channel, stubs, "" if request.param == "unix" else running.token)


def test_status(client: Client, running: RunningDaemon) -> None:
    status = client("GetStatus")
    assert status.node_id == str(running.address.endpoint_id)
    assert status.endpoint_addr == str(running.address)
    assert status.phase == client.messages.NODE_PHASE_READY
    assert not status.sync_active
    assert status.store.directory == str(running.data_dir)
    assert status.store.free_bytes > 0
    assert [Path(root).name for root in status.import_roots] == ["in"]


def test_peers(client: Client) -> None:
    answer = client("ConnectPeer", endpoint_id=ID)
    assert (answer.peer.endpoint_id, answer.peer.connected) == (ID, False)
    assert ID in [peer.endpoint_id for peer in client("ListPeers").peers]
    client("DisconnectPeer", endpoint_id=ID)
    assert ID not in [peer.endpoint_id for peer in client("ListPeers").peers]
    assert code_of(client, "DisconnectPeer", endpoint_id=ID) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("method", "fields", "code"),
    [
        ("ConnectPeer", {"endpoint_id": "x"}, "INVALID_ARGUMENT"),
        ("ConnectPeer", {"endpoint_id": ID, "addresses": ["nowhere"]}, "INVALID_ARGUMENT"),
        ("ConnectPeer", {"endpoint_id": ID, "relay_url": "https://r"}, "PERMISSION_DENIED"),
        ("GetBlobStatus", {"name": "sha256:12"}, "INVALID_ARGUMENT"),
        ("ListBlobs", {"page_size": 5000}, "INVALID_ARGUMENT"),
        ("ListBlobs", {"page_token": "x"}, "INVALID_ARGUMENT"),
        ("ListBlobs", {"package": "registry.example/none"}, "NOT_FOUND"),
        ("DeleteBlob", {"name": ID}, "NOT_FOUND"),
        ("RemovePackage", {"name": "registry.example/none:v1"}, "NOT_FOUND"),
        ("RemovePackage", {}, "INVALID_ARGUMENT"),
        ("CancelTransfer", {"id": "none"}, "NOT_FOUND"),
        ("ImportBlob", {}, "INVALID_ARGUMENT"),
        ("ImportBlob", {"file": "/etc/passwd"}, "PERMISSION_DENIED"),
        ("ImportBlob", {"layout": "../data/oci"}, "PERMISSION_DENIED"),
        ("ImportBlob", {"file": "none"}, "NOT_FOUND"),
        ("ImportBlob", {"archive": "none.tar"}, "NOT_FOUND"),
        ("ImportBlob", {"reference": "no reference"}, "INVALID_ARGUMENT"),
        ("ImportBlob", {"layout": ".", "platforms": ["x"]}, "INVALID_ARGUMENT"),
        ("FetchBlob", {}, "INVALID_ARGUMENT"),
        ("FetchBlob", {"blob": ID}, "INVALID_ARGUMENT"),
        ("FetchBlob", {"blob": ID, "peer": ID}, "NOT_FOUND"),
        ("FetchBlob", {"ticket": "blobxyz"}, "INVALID_ARGUMENT"),
        ("ExportBlob", {"blob": ID}, "INVALID_ARGUMENT"),
        ("ExportBlob", {"blob": ID, "file": "x"}, "NOT_FOUND"),
        ("ExportBlob", {"blob": ID, "layout": "x"}, "INVALID_ARGUMENT"),
        ("ExportBlob", {"package": "a.example/b:c", "layout": "x"}, "NOT_FOUND"),
    ],
)
def test_errors_have_their_codes(client: Client, method: str, fields: dict[str, Any], code: str) -> None:
    assert code_of(client, method, **fields) is grpc.StatusCode[code]


def test_what_is_absent(client: Client) -> None:
    blob = client("GetBlobStatus", name=ID).blob
    assert (blob.hash, blob.state) == (ID, client.messages.BLOB_STATE_ABSENT)


def test_a_file_goes_in_and_out(client: Client, running: RunningDaemon) -> None:
    data = real_bytes(300_000, skip_bytes=17)
    folder = running.data_dir.parent
    (folder / "in" / "some file.bin").write_bytes(data)
    begun = client("ImportBlob", file="some file.bin", media_type="text/x", wait=True).transfer
    assert begun.state == client.messages.TRANSFER_STATE_DONE
    assert (begun.done_bytes, begun.blob.size, begun.blob.media_type) == (len(data), len(data), "text/x")
    assert client("GetBlobStatus", name=begun.blob.digest).blob.hash == begun.blob.hash
    assert begun.blob.hash in [blob.hash for blob in client("ListBlobs").blobs]
    done = client("ExportBlob", blob=begun.blob.hash, file="copy.bin", wait=True).transfer
    assert done.state == client.messages.TRANSFER_STATE_DONE
    assert (folder / "out" / "copy.bin").read_bytes() == data
    (folder / "out" / "copy.bin").unlink()
    client("DeleteBlob", name=begun.blob.hash)
    assert client("GetBlobStatus", name=begun.blob.hash).blob.state == client.messages.BLOB_STATE_ABSENT


def test_a_digest_that_does_not_match(client: Client, running: RunningDaemon) -> None:
    (running.data_dir.parent / "in" / "wrong.bin").write_bytes(real_bytes(1000))
    wrong = f"sha256:{'0' * 64}"
    fields = {"file": "wrong.bin", "expected_digest": wrong, "wait": True}
    assert code_of(client, "ImportBlob", **fields) is grpc.StatusCode.DATA_LOSS


def test_a_transfer_is_watched_to_its_end(client: Client, running: RunningDaemon) -> None:
    real_file(running.data_dir.parent / "in" / "large.bin", 30 << 20)
    begun = client("ImportBlob", file="large.bin").transfer
    seen = [answer.transfer for answer in client("WatchTransfer", id=begun.id)]
    assert {each.id for each in seen} == {begun.id}
    assert seen[-1].state == client.messages.TRANSFER_STATE_DONE
    assert seen[-1].done_bytes == seen[-1].total_bytes == 30 << 20
    assert [each.done_bytes for each in seen] == sorted(each.done_bytes for each in seen)
    listed = client("ListTransfers").transfers
    assert begun.id in [each.id for each in listed]
    assert client("CancelTransfer", id=begun.id).transfer.state == client.messages.TRANSFER_STATE_DONE
    client("DeleteBlob", name=seen[-1].blob.hash)


def test_watching_an_unknown_transfer(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(client("WatchTransfer", id="none"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]


def test_many_calls_at_once(client: Client) -> None:
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: client("GetStatus").node_id, range(200)))
    assert len(set(answers)) == 1


def test_changes_over_tcp_need_the_token(
    running: RunningDaemon, stubs: tuple[ModuleType, ModuleType]
) -> None:
    with grpc.insecure_channel(running.tcp) as channel:
        for token in ("", "wrong", running.token[:-1]):
            client = Client(channel, stubs, token)
            assert code_of(client, "DeleteBlob", name=ID) is grpc.StatusCode.UNAUTHENTICATED
            assert client("GetStatus").node_id
        assert (
            code_of(Client(channel, stubs, running.token), "DeleteBlob", name=ID) is grpc.StatusCode.NOT_FOUND
        )


def test_another_name_of_the_host_is_refused(
    running: RunningDaemon, stubs: tuple[ModuleType, ModuleType]
) -> None:
    options = [("grpc.default_authority", "evil.example")]
    with grpc.insecure_channel(running.tcp, options=options) as channel:
        client = Client(channel, stubs, running.token)
        assert code_of(client, "GetStatus") is grpc.StatusCode.PERMISSION_DENIED


def test_a_message_that_is_too_large(client: Client) -> None:
    code = code_of(client, "DeleteBlob", name="x" * BODY_LIMIT_BYTES)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client("GetStatus").node_id


def test_bytes_that_are_no_message(running: RunningDaemon) -> None:
    with grpc.insecure_channel(f"unix:{running.socket}") as channel:
        call = channel.unary_unary("/peat.sidecar.v1.PeatSidecar/DeleteBlob")
        for data in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x0b" * 5000):
            assert code_of(call, data, timeout=SECONDS) is grpc.StatusCode.INVALID_ARGUMENT


def test_unknown_methods(running: RunningDaemon) -> None:
    with grpc.insecure_channel(f"unix:{running.socket}") as channel:
        for path in ("/peat.sidecar.v1.PeatSidecar/None", "/other.Service/GetStatus"):
            code = code_of(channel.unary_unary(path), b"", timeout=SECONDS)
            assert code in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)


def test_tls(tmp_path: Path, stubs: tuple[ModuleType, ModuleType]) -> None:
    certificate = make_certificate(tmp_path)
    options = {
        "api": ["tcp://0.0.0.0:0"],
        "api_tls_cert": str(certificate.chain),
        "api_tls_key": str(certificate.key),
    }
    with daemon(tmp_path / "data", **options) as running:
        port = running.tcp.rpartition(":")[2]
        trust = grpc.ssl_channel_credentials(certificate.ca.read_bytes())
        with grpc.secure_channel(f"localhost:{port}", trust) as channel:
            client = Client(channel, stubs)
            assert client("GetStatus").node_id == str(running.address.endpoint_id)
            assert code_of(client, "DeleteBlob", name=ID) is grpc.StatusCode.UNAUTHENTICATED
            with_token = Client(channel, stubs, running.token)
            assert code_of(with_token, "DeleteBlob", name=ID) is grpc.StatusCode.NOT_FOUND
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            assert code_of(Client(channel, stubs), "GetStatus") is grpc.StatusCode.UNAVAILABLE


def test_the_token_is_not_logged_however_much_is(
    tmp_path: Path, stubs: tuple[ModuleType, ModuleType]
) -> None:
    with daemon(tmp_path / "data", log_level="debug") as running:
        with grpc.insecure_channel(running.tcp) as channel:
            client = Client(channel, stubs, running.token)
            assert code_of(client, "DeleteBlob", name=ID) is grpc.StatusCode.NOT_FOUND
            assert code_of(client, "ImportBlob", file="x" * 5000) is grpc.StatusCode.PERMISSION_DENIED
        assert running.stop() == 0
        log = running.log.read_text()
        assert '"ready"' in log
        assert running.token not in log


def test_a_stop_ends_a_watch_and_a_call_that_waits(
    tmp_path: Path, stubs: tuple[ModuleType, ModuleType]
) -> None:
    """A fetch from a peer that does not answer is under way when the signal comes."""
    with daemon(tmp_path / "data") as running, grpc.insecure_channel(f"unix:{running.socket}") as channel:
        client = Client(channel, stubs)
        begun = client("FetchBlob", blob=ID, peer=f"{ID}@127.0.0.1:9").transfer
        ends: list[Any] = []

        def watch() -> None:
            try:
                ends.append([answer.transfer.state for answer in client("WatchTransfer", id=begun.id)])
            except grpc.RpcError as error:
                ends.append(error)

        threads = [threading.Thread(target=watch), threading.Thread(target=watch)]
        for thread in threads:
            thread.start()
        started = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - started < 10
        for thread in threads:
            thread.join(SECONDS)
        assert len(ends) == 2
        assert not running.socket.exists()
