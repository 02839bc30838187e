"""The bar at every width, with everything a transfer may say."""

import io

import pytest
from rich.console import Console

from peat_sidecar.cli.bars import render
from peat_sidecar.cli.client import Json

BEGUN: Json = {"id": "0123456789abcdef", "kind": "TRANSFER_KIND_FETCH", "state": "TRANSFER_STATE_RUNNING"}
FULL: Json = BEGUN | {
    "subject": "registry.example:5000/a/rather/long/repository/with/many/parts:v1.2.3-rc4",
    "totalBytes": "104200000000",
    "doneBytes": "99900000000",
    "totalBlobs": 1200,
    "doneBlobs": 1100,
    "bytesPerSecond": 123_456_789.0,
    "etaSeconds": 7199.4,
}
HOSTILE: Json = FULL | {"subject": "\x1b[2J[red]x[/red]" + "好" * 60, "waitingFor": "peer [b]3b6a[/b] " * 20}


def drawn(transfer: Json, width: int) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None, highlight=False)
    console.print(render(transfer, width))
    assert "\x1b[2J" not in out.getvalue()
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("transfer", [BEGUN, FULL, HOSTILE], ids=["begun", "full", "hostile"])
def test_two_lines_within_the_width(transfer: Json, width: int) -> None:
    lines = drawn(transfer, width)
    assert len(lines) == 2
    assert max(map(len, lines)) <= width


def test_what_it_says() -> None:
    lines = drawn(FULL, 100)
    for text in ("fetching registry.example", "1100 of 1,200 blobs"):
        assert text in lines[0]
    for text in ("95 %", "99.9 GB/104 GB", "123 MB/s", "119 min 59 s left"):
        assert text in lines[1]
    assert "waiting for peer [b]3b6a" in drawn(HOSTILE, 100)[0]
