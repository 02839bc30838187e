"""The real daemon in a process of its own, and what tests need to call it."""

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peat_sidecar.ids import PeerAddress

_PROGRAM = """
import json, sys
from peat_sidecar.app import serve
from peat_sidecar.config import load_settings
serve(load_settings(json.loads(sys.argv[1])))
"""
_READY = re.compile(r"ready: (\S+) api: (.*?)(?: registry: (\S+))?")


@dataclass(frozen=True)
class RunningDaemon:
    """A daemon that is ready."""

    process: subprocess.Popen[str]
    data_dir: Path
    address: PeerAddress
    apis: tuple[str, ...]
    """As it printed them: `unix:...`, `tcp://...`."""
    log: Path
    registry: str = ""
    """Host and port of the registry endpoint, where it is on."""

    @property
    def socket(self) -> Path:
        """The first unix socket."""
        return Path(next(api.removeprefix("unix:") for api in self.apis if api.startswith("unix:")))

    @property
    def tcp(self) -> str:
        """Host and port of the first TCP listener."""
        return next(api.removeprefix("tcp://") for api in self.apis if api.startswith("tcp://"))

    @property
    def token(self) -> str:
        return (self.data_dir / "api.token").read_text().strip()

    def stop(self, number: int = signal.SIGTERM, *, timeout_seconds: float = 15) -> int:
        """Sends a signal and waits; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout_seconds)


def secret_file(path: Path, text: str) -> Path:
    """That nobody else can read, as the daemon wants it."""
    path.write_text(text)
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def daemon(data_dir: Path, *, prefix: Sequence[str] = (), **options: Any) -> Iterator[RunningDaemon]:
    """Starts one on loopback, with its socket in the data directory and a TCP port, and stops it after;
    `prefix` goes before its command.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "daemon.log"
    settings: dict[str, Any] = {
        "data_dir": str(data_dir),
        "listen": ["127.0.0.1:0"],
        "api": [f"unix:{data_dir}/api.sock", "tcp://127.0.0.1:0"],
    }
    with log.open("a") as errors:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", _PROGRAM, json.dumps(settings | options)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        found = _READY.fullmatch(process.stdout.readline().strip())
        if found is None:
            raise AssertionError(f"the daemon did not start: {log.read_text()}")
        apis = tuple(found[2].split())
        yield RunningDaemon(process, data_dir, PeerAddress.parse(found[1]), apis, log, found[3] or "")
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        process.stdout.close()
