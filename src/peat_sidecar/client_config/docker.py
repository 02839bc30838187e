"""Docker's daemon: an entry among the `registry-mirrors` of its `daemon.json`, which others write to too."""

import json
from pathlib import Path
from typing import Any

from peat_sidecar.client_config.files import aside_of, put, put_back, read, set_aside
from peat_sidecar.client_config.mirror import Mirror
from peat_sidecar.errors import ConfigError

HUB = "docker.io"
_KEY = "registry-mirrors"


class Docker:
    """It asks mirrors for images of docker.io only, without saying so: names there have no registry."""

    folder = Path("/etc/docker")

    def files(self, mirror: Mirror, folder: Path) -> dict[Path, str]:
        """What is there, and the mirror before others."""
        if set(mirror.registries) - {HUB}:
            raise ConfigError(
                f"docker uses mirrors for {HUB} only; pull others by the sidecar's own name,"
                f" as {mirror.host}/{next(name for name in mirror.registries if name != HUB)}/NAME"
            )
        path = folder / "daemon.json"
        return {path: _merged(path, read(path), mirror.endpoint)}

    def write(self, mirror: Mirror, folder: Path) -> list[Path]:
        """Keeps the file as it was beside it."""
        for path, text in self.files(mirror, folder).items():
            before = read(path)
            if before == text:
                return []
            if before is not None and not aside_of(path).exists():
                set_aside(path, before)
            put(path, text)
            return [path]
        return []

    def undo(self, mirror: Mirror, folder: Path) -> list[Path]:
        """Puts back what was there, or takes the one entry out where more was changed since."""
        path = folder / "daemon.json"
        aside = aside_of(path)
        now, before = read(path), read(aside)
        if now is None or mirror.endpoint not in _mirrors(path, _parse(path, now)):
            return []
        try:
            if now == _merged(path, before, mirror.endpoint):
                put_back(path)
            else:
                put(path, _without(path, now, mirror.endpoint))
                aside.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"{path} cannot be taken back: {error.strerror}; run this as root?") from None
        return [path]

    def explain(self, mirror: Mirror, folder: Path) -> list[str]:
        """It only reads the file when it is told to."""
        return [
            "Let the daemon read it: systemctl reload docker. Then docker pull asks the sidecar for images"
            f" of {HUB}, and {HUB} itself for what the sidecar has not. It names no registry to its mirrors:"
            f" run the sidecar with --registry-default {HUB}. Docker knows mirrors for {HUB}"
            f" only: pull images of other registries as {mirror.host}/registry.example/NAME.",
        ]


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON ({error}); mend it first") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path} is no JSON object; mend it first")
    return document


def _mirrors(path: Path, document: dict[str, Any]) -> list[str]:
    """Without the slashes at their ends, which mean nothing."""
    mirrors = document.get(_KEY, [])
    if not isinstance(mirrors, list) or not all(isinstance(each, str) for each in mirrors):
        raise ConfigError(f"{path}: {_KEY} is no list of texts; mend it first")
    return [each.rstrip("/") for each in mirrors]


def _merged(path: Path, text: str | None, endpoint: str) -> str:
    document = _parse(path, text or "")
    if endpoint in _mirrors(path, document):
        return text or ""
    return _text(document | {_KEY: [endpoint, *document.get(_KEY, [])]})


def _without(path: Path, text: str, endpoint: str) -> str:
    document = _parse(path, text)
    left = [each for each in document[_KEY] if each.rstrip("/") != endpoint]
    rest = {name: value for name, value in document.items() if name != _KEY}
    return _text(rest | ({_KEY: left} if left else {}))


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
