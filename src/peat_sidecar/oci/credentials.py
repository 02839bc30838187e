"""Finds the credentials for a repository where docker, podman and skopeo keep them.

In this order: `REGISTRY_AUTH_FILE` alone when it is set; else `$XDG_RUNTIME_DIR/containers/auth.json`,
`$XDG_CONFIG_HOME/containers/auth.json`, and `config.json` in `$DOCKER_CONFIG` or `~/.docker`. The first file
that knows the repository decides. A file may name it by registry or by any leading part of the path, the
longest counts; and it may name a program, `docker-credential-<name>`, which is run with a time limit.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Reference
from peat_sidecar.oci.options import Credentials, RegistryOptions

_FILE_LIMIT_BYTES = 1 << 20
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HELPER_SECONDS = 15.0
# docker keeps the password of its own hub under the address of an API that is long gone.
_HUB, _HUB_KEY = "docker.io", "https://index.docker.io/v1/"


async def find_credentials(reference: Reference, options: RegistryOptions) -> Credentials | None:
    """What to prove oneself with to that repository; None for anonymous. `ConfigError` for a broken file."""
    if options.credentials:
        return options.credentials
    environment = os.environ if options.environment is None else options.environment
    for path, required in _files(options, environment):
        settings = _read_settings(path, required=required)
        if settings and (found := await _search(settings, reference, path, environment)):
            return found
    return None


def _files(options: RegistryOptions, environment: Mapping[str, str]) -> Iterator[tuple[Path, bool]]:
    """Paths to look at, and whether it is an error when there is none. Empty variables count as unset."""
    named = options.auth_file or environment.get("REGISTRY_AUTH_FILE")
    if named:
        yield Path(named), True
        return
    home = environment.get("HOME") or os.path.expanduser("~")
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json"), False
    yield Path(environment.get("XDG_CONFIG_HOME") or Path(home, ".config"), "containers", "auth.json"), False
    yield Path(environment.get("DOCKER_CONFIG") or Path(home, ".docker"), "config.json"), False


def _read_settings(path: Path, *, required: bool) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_LIMIT_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError(f"the file of registry passwords, {path}, does not exist") from None
        return None
    except OSError as error:
        if not required:  # another user's home: as if it were not there
            return None
        raise ConfigError(
            f"the file of registry passwords, {path}, cannot be read: {error.strerror}"
        ) from None
    try:
        settings = json.loads(raw[:_FILE_LIMIT_BYTES]) if raw.strip() else {}
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        # The parser's own message may quote the line, and with it a password.
        raise ConfigError(f"{path} is no JSON object of registry passwords; log in again to write a new one")
    return settings


async def _search(
    settings: dict[str, Any], reference: Reference, path: Path, environment: Mapping[str, str]
) -> Credentials | None:
    helpers, auths = _section(settings, "credHelpers"), _section(settings, "auths")
    by_registry = {_plain_key(key): key for key in reversed(list(auths))}
    for key in _keys(reference):
        helper = helpers.get(key)
        if isinstance(helper, str) and (found := await _ask_helper(helper, key, environment)):
            return found
        entry = auths.get(by_registry.get(key, key))
        if isinstance(entry, dict) and (found := _parse_entry(entry, key, path)):
            return found
    store = settings.get("credsStore")
    if isinstance(store, str) and store:
        server = _HUB_KEY if reference.registry == _HUB else reference.registry
        return await _ask_helper(store, server, environment)
    return None


def _section(settings: dict[str, Any], name: str) -> dict[str, Any]:
    section = settings.get(name)
    return section if isinstance(section, dict) else {}


def _keys(reference: Reference) -> Iterator[str]:
    """`host/a/b`, `host/a`, `host`: the more it says, the earlier it counts."""
    parts = reference.repository.split("/")
    for length in range(len(parts), -1, -1):
        yield "/".join([reference.registry, *parts[:length]])


def _plain_key(key: str) -> str:
    """How a key compares: docker writes some as URLs, and then only the host counts."""
    if key == _HUB_KEY:
        return _HUB
    scheme, separator, rest = key.partition("://")
    return rest.partition("/")[0] if separator and scheme in ("http", "https") else key


def _parse_entry(entry: dict[str, Any], key: str, path: Path) -> Credentials | None:
    def text(name: str) -> str:
        value = entry.get(name)
        return value if isinstance(value, str) else ""

    username, password = text("username"), text("password")
    if encoded := text("auth"):
        try:
            decoded = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            decoded = ""
        username, colon, password = decoded.partition(":")
        if not colon:
            raise ConfigError(f"{path} holds an unreadable password for {key}; log in again")
        password = password.rstrip("\0")
    found = Credentials(
        username, password, text("identitytoken"), text("registrytoken"), f"{path}, entry {key}"
    )
    return found if found.username or found.secrets else None


async def _ask_helper(name: str, server: str, environment: Mapping[str, str]) -> Credentials | None:
    program = f"docker-credential-{name}"
    if not _HELPER_NAME.fullmatch(name):
        raise ConfigError(f"{name[:60]!r} is no name of a credential helper")
    code, output = await _run_helper(program, server.encode(), environment)
    if code:
        if b"not found" in output:
            return None
        raise ConfigError(f"{program} fails for {server} with exit code {code}; run it by hand to see why")
    try:
        answer = json.loads(output)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        username = secret = None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise ConfigError(f"{program} answers for {server} with something else than a user and a password")
    if username == "<token>":
        return Credentials(identity_token=secret, origin=program)
    return Credentials(username, secret, origin=program)


async def _run_helper(program: str, request: bytes, environment: Mapping[str, str]) -> tuple[int, bytes]:
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            program, "get", stdin=pipe, stdout=pipe, stderr=nothing, env=dict(environment)
        )
    except OSError as error:
        raise ConfigError(
            f"{program} cannot be run ({error.strerror}); install it, or log in again"
        ) from None
    try:
        async with asyncio.timeout(_HELPER_SECONDS):
            output, _ = await process.communicate(request)
            return process.returncode or 0, output[:_FILE_LIMIT_BYTES]
    except TimeoutError:
        raise ConfigError(
            f"{program} does not answer within {_HELPER_SECONDS:.0f} s; run it by hand"
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
