"""A real containerd in a process of its own, without its CRI plugin."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.registry import require

_START_SECONDS = 30


@contextmanager
def running_containerd(directory: Path) -> Iterator[Path]:
    """Its socket; its content is in `root` beside it."""
    require("containerd", "containerd")
    config, socket = directory / "config.toml", directory / "containerd.sock"
    config.write_text(
        f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{socket}"\n'
    )
    with (directory / "containerd.log").open("wb") as log:
        process = subprocess.Popen(["containerd", "--config", str(config)], stdout=log, stderr=log)
    try:
        end = time.monotonic() + _START_SECONDS
        while not socket.exists():
            assert process.poll() is None, (directory / "containerd.log").read_text()
            assert time.monotonic() < end, (directory / "containerd.log").read_text()
            time.sleep(0.05)
        yield socket
    finally:
        process.terminate()
        process.wait(_START_SECONDS)
