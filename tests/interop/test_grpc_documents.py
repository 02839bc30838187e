"""An unmodified grpcio client and documents, their synchronisation, wants, bans and rosters."""

import json
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from tests.support.daemon import RunningDaemon, daemon
from tests.support.grpc_stubs import CALL_SECONDS, Client, code_of, generate

ID = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
"""A public key that nobody in these tests has the secret of."""
KEY = "0123456789abcdef" * 4

OLDER_CLIENTS = {
    "GetStatusResponse": {
        "node_id": (1, "string"),
        "endpoint_addr": (2, "string"),
        "sync_active": (3, "bool"),
        "connected_peers": (4, "uint32"),
        "phase": (5, "enum"),
    },
    "ConnectPeerRequest": {
        "endpoint_id": (1, "string"),
        "addresses": (2, "string"),
        "relay_url": (3, "string"),
    },
    "DisconnectPeerRequest": {"endpoint_id": (1, "string")},
    "ListPeersResponse": {"peers": (1, "message")},
    "PeerInfo": {"endpoint_id": (1, "string"), "addresses": (2, "string"), "connected": (3, "bool")},
    "PutDocumentRequest": {"collection": (1, "string"), "doc_id": (2, "string"), "json_data": (3, "string")},
    "GetDocumentRequest": {"collection": (1, "string"), "doc_id": (2, "string")},
    "GetDocumentResponse": {"json_data": (1, "string")},
    "DeleteDocumentRequest": {"collection": (1, "string"), "doc_id": (2, "string")},
    "ListDocumentsRequest": {"collection": (1, "string")},
    "ListDocumentsResponse": {"doc_ids": (1, "string")},
    "SubscribeRequest": {"collections": (1, "string")},
    "DocumentChange": {
        "collection": (1, "string"),
        "doc_id": (2, "string"),
        "change_type": (3, "enum"),
        "json_data": (4, "string"),
    },
    "GetSyncStatsResponse": {
        "sync_active": (1, "bool"),
        "connected_peers": (2, "uint32"),
        "bytes_sent": (3, "uint64"),
        "bytes_received": (4, "uint64"),
    },
}
"""What the clients of the sidecar that came before send and read."""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, ModuleType]:
    return generate(tmp_path_factory.mktemp("grpc"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    folder = tmp_path_factory.mktemp("daemon")
    with daemon(
        folder / "data",
        app_id="fleet",
        agent_id="ship-7",
        formation_keys=[KEY],
        discover_mdns=False,
    ) as found:
        yield found


@pytest.fixture(params=["unix", "tcp"])
def client(
    request: pytest.FixtureRequest, running: RunningDaemon, stubs: tuple[ModuleType, ModuleType]
) -> Iterator[Client]:
    target = f"unix:{running.socket}" if request.param == "unix" else running.tcp
    with grpc.insecure_channel(target) as channel:
        yield Client(channel, stubs, "" if request.param == "unix" else running.token)


def test_names_and_numbers_of_older_clients(stubs: tuple[ModuleType, ModuleType]) -> None:
    file = stubs[0].DESCRIPTOR
    assert file.package == "peat.sidecar.v1"
    kinds = {9: "string", 8: "bool", 13: "uint32", 4: "uint64", 14: "enum", 11: "message"}
    for name, fields in OLDER_CLIENTS.items():
        found = file.message_types_by_name[name].fields_by_name
        assert {each: (found[each].number, kinds[found[each].type]) for each in fields} == fields
    for name, field in (("GetDocumentResponse", "json_data"), ("DocumentChange", "json_data")):
        assert file.message_types_by_name[name].fields_by_name[field].has_presence
    changes = file.enum_types_by_name["ChangeType"].values_by_name
    assert changes["CHANGE_TYPE_UPSERT"].number == 1
    assert changes["CHANGE_TYPE_DELETE"].number == 2
    methods = file.services_by_name["PeatSidecar"].methods_by_name
    for name in ("PutDocument", "GetDocument", "DeleteDocument", "ListDocuments", "StartSync", "StopSync"):
        assert methods[name].input_type.name == f"{name}Request"
        assert methods[name].output_type.name == f"{name}Response"
    assert methods["Subscribe"].output_type.name == "DocumentChange"
    assert methods["Subscribe"].server_streaming


def test_put_get_list_delete(client: Client) -> None:
    collection = f"notes-{time.monotonic_ns()}"
    assert not client("GetDocument", collection=collection, doc_id="one").HasField("json_data")
    client("PutDocument", collection=collection, doc_id="one", json_data='{"five": 5, "text": "\\u00e9"}')
    client("PutDocument", collection=collection, doc_id="two", json_data="{}")
    assert client("GetDocument", collection=collection, doc_id="one").json_data == '{"five":5,"text":"é"}'
    assert list(client("ListDocuments", collection=collection).doc_ids) == ["one", "two"]
    page = client("ListDocuments", collection=collection, page_size=1)
    assert (list(page.doc_ids), page.next_page_token) == (["one"], "one")
    assert client("DeleteDocument", collection=collection, doc_id="one").changed
    assert not client("DeleteDocument", collection=collection, doc_id="one").changed
    assert list(client("ListDocuments", collection=collection).doc_ids) == ["two"]


@pytest.mark.parametrize(
    ("method", "fields", "code"),
    [
        ("PutDocument", {}, "INVALID_ARGUMENT"),
        ("PutDocument", {"collection": "notes", "doc_id": "x", "json_data": "[]"}, "INVALID_ARGUMENT"),
        ("PutDocument", {"collection": "notes", "doc_id": "x", "json_data": "["}, "INVALID_ARGUMENT"),
        (
            "PutDocument",
            {"collection": "notes", "doc_id": "x", "json_data": '{"a":' + "[" * 100_000},
            "INVALID_ARGUMENT",
        ),
        (
            "PutDocument",
            {"collection": "notes", "doc_id": "x", "json_data": json.dumps({"a": "x" * (1 << 20)})},
            "INVALID_ARGUMENT",
        ),
        (
            "PutDocument",
            {"collection": "notes", "doc_id": "x", "json_data": json.dumps({"a": "x" * (5 << 20)})},
            "RESOURCE_EXHAUSTED",
        ),
        ("ListDocuments", {"collection": "notes", "page_size": 20_000}, "INVALID_ARGUMENT"),
        ("ListMeshPackages", {"page_size": 2000}, "INVALID_ARGUMENT"),
        ("AddWant", {}, "INVALID_ARGUMENT"),
        ("CancelWant", {"id": "none"}, "NOT_FOUND"),
        ("SetWantClass", {"id": "none", "transfer_class": 1}, "NOT_FOUND"),
        ("SetWantClass", {"id": "none"}, "INVALID_ARGUMENT"),
        ("SetWantClass", {"id": "none", "transfer_class": 9}, "INVALID_ARGUMENT"),
        ("AddWant", {"name": "registry.example/a:b", "transfer_class": 9}, "INVALID_ARGUMENT"),
        ("AddWant", {"name": "registry.example/a:b", "arch": "amd64\n"}, "INVALID_ARGUMENT"),
        ("Quote", {"name": "registry.example/none:v1"}, "NOT_FOUND"),
        ("Quote", {}, "INVALID_ARGUMENT"),
        ("BanPeer", {"endpoint_id": "x"}, "INVALID_ARGUMENT"),
        ("BanPeer", {"endpoint_id": ID, "reason": "x" * 501}, "INVALID_ARGUMENT"),
        ("UnbanPeer", {"endpoint_id": ID}, "NOT_FOUND"),
        ("LoadRoster", {"signed_roster": b"x"}, "INVALID_ARGUMENT"),
        ("ConnectPeer", {"endpoint_id": "endpointxyz"}, "INVALID_ARGUMENT"),
    ],
)
def test_errors_have_their_codes(client: Client, method: str, fields: dict[str, Any], code: str) -> None:
    assert code_of(client, method, **fields) is grpc.StatusCode[code]


def test_subscribe(client: Client) -> None:
    collection = f"notes-{time.monotonic_ns()}"
    put = {"collection": collection, "doc_id": "one"}
    client("PutDocument", **put, json_data='{"n":1}')
    with subscribed(client, collection) as changes:
        first = changes.get(timeout=CALL_SECONDS)
        assert (first.collection, first.doc_id, first.json_data) == (collection, "one", '{"n":1}')
        assert first.change_type == client.messages.CHANGE_TYPE_UPSERT
        client("PutDocument", **put, json_data='{"n":2}')
        assert changes.get(timeout=CALL_SECONDS).json_data == '{"n":2}'
        client("PutDocument", collection="other", doc_id="x", json_data="{}")
        client("DeleteDocument", **put)
        last = changes.get(timeout=CALL_SECONDS)
        assert (last.doc_id, last.change_type) == ("one", client.messages.CHANGE_TYPE_DELETE)
        assert not last.HasField("json_data")


class subscribed:
    """Changes as they come, in a queue; an error ends it."""

    def __init__(self, client: Client, *collections: str) -> None:
        request = client.messages.SubscribeRequest(collections=collections)
        self._call = client._stub.Subscribe(request)
        self._changes: queue.Queue[Any] = queue.Queue()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "queue.Queue[Any]":
        self._thread.start()
        return self._changes

    def __exit__(self, *exception: object) -> None:
        self._call.cancel()
        self._thread.join()

    def _read(self) -> None:
        try:
            for change in self._call:
                self._changes.put(change)
        except grpc.RpcError as error:
            self._changes.put(error)


def test_a_subscriber_that_does_not_read_is_dropped(client: Client, running: RunningDaemon) -> None:
    """And the daemon holds no more for it than the limit: 60 MB are written meanwhile."""
    collection = f"notes-{time.monotonic_ns()}"
    text = "x" * 500_000
    client("PutDocument", collection=collection, doc_id="first", json_data="{}")
    request = client.messages.SubscribeRequest(collections=[collection])
    slow = client._stub.Subscribe(request, timeout=120)
    assert next(slow).doc_id == "first"
    before = resident_bytes(running)
    for number in range(120):
        client("PutDocument", collection=collection, doc_id=str(number), json_data=json.dumps({"t": text}))
    grown = resident_bytes(running) - before
    with pytest.raises(grpc.RpcError) as dropped:
        list(slow)
    assert dropped.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "subscribe again" in dropped.value.details()
    assert grown < 100 << 20, grown
    again = client._stub.Subscribe(request, timeout=120)
    assert len({next(again).doc_id for _ in range(121)}) == 121
    again.cancel()


def resident_bytes(running: RunningDaemon) -> int:
    pages = Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def test_reading_documents_over_tcp_needs_no_token(
    running: RunningDaemon, stubs: tuple[ModuleType, ModuleType]
) -> None:
    with grpc.insecure_channel(running.tcp) as channel:
        client = Client(channel, stubs)
        client("GetDocument", collection="notes", doc_id="x")
        client("ListWants")
        for method, fields in (
            ("PutDocument", {"collection": "notes", "doc_id": "x", "json_data": "{}"}),
            ("AddWant", {"name": ID}),
            ("StopSync", {}),
            ("BanPeer", {"endpoint_id": ID}),
        ):
            assert code_of(client, method, **fields) is grpc.StatusCode.UNAUTHENTICATED


def test_sync(client: Client) -> None:
    assert client("GetStatus").sync_active
    stats = client("GetSyncStats")
    assert (stats.sync_active, stats.connected_peers) == (True, 0)
    client("StopSync")
    assert not client("GetSyncStats").sync_active
    assert not client("GetStatus").sync_active
    client("StartSync")
    assert client("GetSyncStats").sync_active


def test_status(client: Client) -> None:
    status = client("GetStatus")
    assert (status.agent_id, status.formation.active, status.formation.app_id) == ("ship-7", True, "fleet")
    assert not status.formation.has_roster
    client("PutDocument", collection="notes", doc_id="counted", json_data="{}")
    assert client("GetStatus").records.documents >= 1


def test_wants(client: Client) -> None:
    name = f"registry.example/team/app:v{time.monotonic_ns()}"
    want = client("AddWant", name=name, arch="amd64").want
    assert (want.name, want.arch, want.origin) == (name, "amd64", "user")
    assert (want.state, want.providers) == (client.messages.WANT_STATE_WAITING, 0)
    assert want.transfer_class == client.messages.TRANSFER_CLASS_NORMAL
    bulk = client.messages.TRANSFER_CLASS_BULK
    assert client("SetWantClass", id=want.id, transfer_class=bulk).want.transfer_class == bulk
    assert [each.transfer_class for each in client("ListWants").wants if each.id == want.id] == [bulk]
    assert client("GetStatus").wants.waiting >= 1
    assert client("CancelWant", id=want.id).want.id == want.id
    assert want.id not in [each.id for each in client("ListWants").wants]


def test_bans(client: Client) -> None:
    answer = client("BanPeer", endpoint_id=ID, reason="lost at sea")
    assert (answer.ban.endpoint_id, answer.ban.reason, answer.is_final) == (ID, "lost at sea", False)
    assert "formation key" in answer.note
    assert abs(answer.ban.banned_at - time.time()) < 60
    assert [each.endpoint_id for each in client("ListBans").bans] == [ID]
    client("UnbanPeer", endpoint_id=ID)
    assert not client("ListBans").bans
    own = client("GetStatus").node_id
    assert code_of(client, "BanPeer", endpoint_id=own) is grpc.StatusCode.INVALID_ARGUMENT


def test_no_roster(client: Client) -> None:
    answer = client("GetRoster")
    assert (answer.required, answer.admin, answer.HasField("roster")) == (False, "", False)


def test_a_stop_ends_subscriptions(tmp_path: Path, stubs: tuple[ModuleType, ModuleType]) -> None:
    with daemon(tmp_path / "data") as running, grpc.insecure_channel(f"unix:{running.socket}") as channel:
        client = Client(channel, stubs)
        client("PutDocument", collection="notes", doc_id="one", json_data="{}")
        with subscribed(client, "notes") as changes:
            assert changes.get(timeout=CALL_SECONDS).doc_id == "one"
            started = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - started < 5
            assert changes.get(timeout=CALL_SECONDS).code() is grpc.StatusCode.UNAVAILABLE


def test_without_a_formation(tmp_path: Path, stubs: tuple[ModuleType, ModuleType]) -> None:
    """Documents work, and nobody else has them."""
    with daemon(tmp_path / "data") as running, grpc.insecure_channel(f"unix:{running.socket}") as channel:
        client = Client(channel, stubs)
        client("PutDocument", collection="notes", doc_id="one", json_data='{"a":1}')
        assert client("GetDocument", collection="notes", doc_id="one").json_data == '{"a":1}'
        assert not client("GetStatus").sync_active
        assert code_of(client, "StartSync") is grpc.StatusCode.INVALID_ARGUMENT
        client("StopSync")
        assert client("GetStatus").agent_id == client("GetStatus").node_id
