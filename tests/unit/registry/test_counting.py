"""What the endpoint counts of requests."""

import socket
from pathlib import Path

import pytest

from peat_sidecar.http import Listener
from peat_sidecar.metrics import Metrics
from peat_sidecar.registry import count_requests
from peat_sidecar.registry.access import Access
from peat_sidecar.registry.application import Application
from peat_sidecar.registry.calls import Calls
from peat_sidecar.registry.counting import kind_of
from peat_sidecar.store import Store
from tests.unit.registry.endpoint import TOKEN, Exchange, scope


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v2/", "other"),
        ("/v2/_catalog", "other"),
        ("/v2/team/app/tags/list", "tags"),
        ("/v2/team/app/manifests/v1", "manifests"),
        ("/v2/a/blobs/sha256:00", "blobs"),
        ("/v2/a/blobs/uploads/", "uploads"),
        ("/v2/a/blobs/uploads/00ff", "uploads"),
        ("/v2/a/referrers/sha256:00", "referrers"),
        ("/v2/manifests/v1", "other"),
        ("/elsewhere", "other"),
    ],
)
def test_what_a_path_is_for(path: str, kind: str) -> None:
    assert kind_of(path) == kind


async def test_requests_and_bytes(tmp_path: Path) -> None:
    """Also of one whose client leaves in the middle; while one is answered it is counted as running."""
    metrics = Metrics()
    with Store.open(tmp_path) as store, socket.socket() as bound:
        listener = Listener(bound, Application(Calls(store), Access(token=TOKEN)))
        count_requests([listener], metrics)
        begun = Exchange([b""])
        await listener.app(scope("POST", "/v2/app/blobs/uploads/"), begun.receive, begun.send)
        assert begun.status == 202
        left = Exchange([b"0123456789"], whole=False)
        seen: list[bytes] = []

        async def receive() -> object:
            seen.append(metrics.render())
            return await left.receive()

        await listener.app(scope("PATCH", begun.headers["location"]), receive, left.send)  # type: ignore[arg-type]
        missing = Exchange([b""])
        await listener.app(scope("GET", "/v2/app/manifests/v1"), missing.receive, missing.send)
    text = metrics.render().decode()
    for line in (
        'registry_requests_total{kind="uploads",status="2xx"} 1.0',
        'registry_requests_total{kind="uploads",status="none"} 1.0',
        'registry_requests_total{kind="manifests",status="4xx"} 1.0',
        "registry_received_bytes_total 10.0",
        f"registry_sent_bytes_total {float(len(missing.body))}",
        'registry_running_requests{kind="uploads"} 0.0',
    ):
        assert f"peat_sidecar_{line}\n" in text
    assert b'registry_running_requests{kind="uploads"} 1.0' in seen[0]
