"""Packages through the API by a grpcio client: in from a layout, from node to node, out again."""

import hashlib
import json
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from tests.support.daemon import RunningDaemon, daemon
from tests.support.grpc_stubs import CALL_SECONDS, Client, code_of, generate
from tests.support.images import ImageLayout, build_image, machine_files
from tests.support.real_files import real_file
from tests.support.registry import registry, skopeo_pull, skopeo_push

STRANGER = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
REFERENCE = "registry.example:5000/team/app:v1"


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, ModuleType]:
    return generate(tmp_path_factory.mktemp("grpc"))


class Node:
    """A daemon with its client and its roots."""

    def __init__(self, running: RunningDaemon, client: Client) -> None:
        self.running = running
        self.client = client
        self.imports = running.data_dir / "in"
        self.exports = running.data_dir / "out"


@pytest.fixture
def nodes(tmp_path: Path, stubs: tuple[ModuleType, ModuleType]) -> Iterator[tuple[Node, Node]]:
    """Two of them; the first allows the second."""

    def options(name: str) -> dict[str, Any]:
        for folder in ("in", "out"):
            (tmp_path / name / folder).mkdir(parents=True)
        return {
            "import_roots": [str(tmp_path / name / "in")],
            "export_roots": [str(tmp_path / name / "out")],
        }

    with (
        daemon(tmp_path / "one", **options("one")) as one,
        daemon(tmp_path / "two", **options("two")) as two,
        grpc.insecure_channel(f"unix:{one.socket}") as to_one,
        grpc.insecure_channel(f"unix:{two.socket}") as to_two,
    ):
        first, second = Node(one, Client(to_one, stubs)), Node(two, Client(to_two, stubs))
        first.client("ConnectPeer", endpoint_id=str(two.address.endpoint_id))
        yield first, second


def blobs_in(layout: Path) -> set[str]:
    """The names of all blobs, each of them checked."""
    found = set()
    for path in (layout / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        found.add(path.name)
    return found


def test_in_across_and_out(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    root = build_image(one.imports / "image", 3)
    begun = one.client("ImportBlob", layout="image", choice="v1", list_as=REFERENCE, wait=True).transfer
    package = begun.package
    assert (package.reference, package.root) == (REFERENCE, root)
    assert begun.done_bytes == begun.total_bytes == package.bytes
    assert begun.done_blobs == package.blobs
    (listed,) = one.client("ListPackages").packages
    assert listed == package

    fetched = two.client("FetchBlob", ticket=package.ticket, list_as=REFERENCE, wait=True).transfer
    assert (fetched.package.root, fetched.package.collection) == (root, package.collection)
    assert fetched.wire_bytes >= package.bytes
    (peer,) = one.client("ListPeers").peers
    assert peer.connected
    assert peer.sent_bytes > package.bytes
    assert two.client("GetStatus").store.packages == 1

    for name in (REFERENCE, root, package.collection, REFERENCE.removeprefix("docker://")):
        two.client("ExportBlob", package=name, layout=f"out-{name[-5:]}", wait=True)
        assert blobs_in(two.exports / f"out-{name[-5:]}") == blobs_in(one.imports / "image")
    (entry,) = json.loads((two.exports / "out-pp:v1" / "index.json").read_text())["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "v1"
    two.client("ExportBlob", package=REFERENCE, archive="image.tar", tag="v9", wait=True)
    with tarfile.open(two.exports / "image.tar") as tar:
        assert f"blobs/{root.replace(':', '/')}" in tar.getnames()


def test_from_registry_to_registry(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    one, two = nodes
    root = build_image(tmp_path / "image", 2)
    with registry(tmp_path / "upstream") as upstream, registry(tmp_path / "edge") as edge:
        source = f"{upstream.address}/team/app:v1"
        skopeo_push(tmp_path / "image", "v1", source)
        imported = one.client("ImportBlob", reference=source, wait=True).transfer
        assert (imported.package.reference, imported.package.root) == (source, root)
        assert imported.other_side == source
        two.client("FetchBlob", ticket=imported.package.ticket, list_as=source, wait=True)
        target = f"{edge.address}/mirror/app:v1"
        exported = two.client("ExportBlob", package=source, reference=target, wait=True).transfer
        assert exported.done_bytes == exported.total_bytes
        skopeo_pull(target, tmp_path / "pulled", "v1")
        assert blobs_in(tmp_path / "pulled") == blobs_in(tmp_path / "image")
        gone = f"{upstream.address}/team/none:v1"
        assert code_of(one.client, "ImportBlob", reference=gone, wait=True) is grpc.StatusCode.NOT_FOUND


def test_blobs_of_a_package_in_pages_and_its_removal(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    build_image(one.imports / "image", 1)
    package = one.client("ImportBlob", layout="image", list_as=REFERENCE, wait=True).transfer.package
    names, token = [], ""
    while True:
        page = one.client("ListBlobs", package=REFERENCE, page_size=2, page_token=token)
        assert len(page.blobs) <= 2
        names += [blob.hash for blob in page.blobs]
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(set(names))
    assert len(names) == package.blobs
    assert code_of(one.client, "DeleteBlob", name=package.root) is grpc.StatusCode.PERMISSION_DENIED
    partial = one.client.messages.BLOB_STATE_PARTIAL
    assert not one.client("ListBlobs", state=partial).blobs
    removed = one.client("RemovePackage", name=REFERENCE)
    assert [each.reference for each in removed.removed] == [REFERENCE]
    assert removed.deleted_bytes >= package.bytes
    left = one.client("ListBlobs").blobs
    assert [blob.size for blob in left] == []
    assert one.client("GetStatus").store.blobs == 0


def test_a_removal_keeps_what_others_hold(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    layout = ImageLayout(one.imports / "image")
    files = machine_files()
    shared, own = layout.layer(200_000, files), layout.layer(100_000, files)
    layout.tag(layout.image([shared]), "a")
    layout.tag(layout.image([shared, own]), "b")
    for tag in ("a", "b"):
        one.client("ImportBlob", layout="image", choice=tag, list_as=f"r.example/x:{tag}", wait=True)
    kept = next(each for each in one.client("ListPackages").packages if each.reference == "r.example/x:a")
    one.client("RemovePackage", name="r.example/x:b")
    assert one.client("GetBlobStatus", name=own["digest"]).blob.state == one.client.messages.BLOB_STATE_ABSENT
    fetched = two.client("FetchBlob", ticket=kept.ticket, wait=True).transfer
    assert fetched.package.collection == kept.collection


def test_a_stranger_gets_nothing(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    build_image(one.imports / "image", 0.5)
    package = one.client("ImportBlob", layout="image", list_as=REFERENCE, wait=True).transfer.package
    one.client("DisconnectPeer", endpoint_id=str(two.running.address.endpoint_id))
    code = code_of(two.client, "FetchBlob", ticket=package.ticket, wait=True)
    assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED)
    (failed,) = two.client("ListTransfers").transfers
    assert failed.state == two.client.messages.TRANSFER_STATE_FAILED
    assert failed.error
    assert failed.error_code in ("unavailable", "permission_denied")


def test_an_export_waits_for_what_is_coming(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert (
        code_of(two.client, "ExportBlob", package=REFERENCE, layout="x", wait_for_content=True, wait=True)
        is grpc.StatusCode.NOT_FOUND
    )
    build_image(one.imports / "image", 20)
    package = one.client("ImportBlob", layout="image", list_as=REFERENCE, wait=True).transfer.package
    two.client("FetchBlob", ticket=package.ticket, list_as=REFERENCE)
    exported = two.client(
        "ExportBlob", package=REFERENCE, layout="image", wait_for_content=True, wait=True
    ).transfer
    assert exported.state == two.client.messages.TRANSFER_STATE_DONE
    assert blobs_in(two.exports / "image") == blobs_in(one.imports / "image")


def test_the_export_of_a_blob_waits_too(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    real_file(one.imports / "large.bin", 20 << 20)
    blob = one.client("ImportBlob", file="large.bin", wait=True).transfer.blob
    peer = str(one.running.address)
    two.client("FetchBlob", blob=blob.hash, peer=peer)
    two.client("ExportBlob", blob=blob.hash, file="large.bin", wait_for_content=True, wait=True)
    assert (two.exports / "large.bin").read_bytes() == (one.imports / "large.bin").read_bytes()


def test_a_transfer_outlives_its_client(
    nodes: tuple[Node, Node], stubs: tuple[ModuleType, ModuleType]
) -> None:
    one, _ = nodes
    real_file(one.imports / "large.bin", 40 << 20)
    pause = threading.Event()
    with grpc.insecure_channel(f"unix:{one.running.socket}") as channel:
        leaving = Client(channel, stubs)
        thread = threading.Thread(target=lambda: code_of(leaving, "ImportBlob", file="large.bin", wait=True))
        thread.start()
        while not one.client("ListTransfers").transfers:
            assert thread.is_alive()
            pause.wait(0.01)
    thread.join(CALL_SECONDS)
    (transfer,) = one.client("ListTransfers").transfers
    *_, last = one.client("WatchTransfer", id=transfer.id)
    assert last.transfer.state == one.client.messages.TRANSFER_STATE_DONE


def test_a_transfer_is_cancelled(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    real_file(one.imports / "large.bin", 60 << 20)
    begun = one.client("ImportBlob", file="large.bin").transfer
    cancelled = one.client("CancelTransfer", id=begun.id).transfer
    assert cancelled.state == one.client.messages.TRANSFER_STATE_CANCELLED
    assert not cancelled.blob.hash


def test_a_blob_that_is_wanted_says_of_whom(nodes: tuple[Node, Node]) -> None:
    """The peer takes datagrams and answers none of them."""
    _, two = nodes
    client, wanted = two.client, "ab" * 32
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        peer = f"{STRANGER}@127.0.0.1:{silent.getsockname()[1]}"
        begun = client("FetchBlob", blob=wanted, peer=peer).transfer
        status = client("GetBlobStatus", name=wanted).blob
        assert status.state == client.messages.BLOB_STATE_WANTED
        assert list(status.providers) == [peer]
        client("CancelTransfer", id=begun.id)
    assert client("GetBlobStatus", name=wanted).blob.state == client.messages.BLOB_STATE_ABSENT


def test_why_a_blob_did_not_come(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    wanted = "cd" * 32
    fields = {"blob": wanted, "peer": str(one.running.address), "wait": True}
    assert code_of(two.client, "FetchBlob", **fields) is grpc.StatusCode.NOT_FOUND
    assert "does not hold" in two.client("GetBlobStatus", name=wanted).blob.last_error
