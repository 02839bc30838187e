"""Where passwords are kept: the files and helper programs of docker, podman and skopeo."""

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Reference
from peat_sidecar.oci import Credentials, RegistryOptions
from peat_sidecar.oci.credentials import find_credentials

APP = Reference.parse("registry.example:5000/team/app:v1")


def encoded(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def write(path: Path, content: dict[str, Any] | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def options(home: Path, **variables: str) -> RegistryOptions:
    return RegistryOptions(
        environment={"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}", **variables}
    )


async def user(home: Path, reference: Reference = APP, **variables: str) -> str | None:
    found = await find_credentials(reference, options(home, **variables))
    return f"{found.username}:{found.password}" if found else None


async def test_nothing_anywhere_is_nobody(tmp_path: Path) -> None:
    assert await user(tmp_path) is None
    write(tmp_path / ".docker/config.json", "")
    assert await user(tmp_path) is None
    write(tmp_path / ".docker/config.json", {"auths": {"other.example": encoded("a:b")}})
    assert await user(tmp_path) is None


async def test_explicit_ones_go_before_all(tmp_path: Path) -> None:
    given = RegistryOptions(credentials=Credentials("me", "mine"), auth_file=tmp_path / "missing")
    assert await find_credentials(APP, given) == Credentials("me", "mine")


async def test_the_order_of_the_files(tmp_path: Path) -> None:
    def named(name: str) -> dict[str, Any]:
        return {"auths": {"registry.example:5000": encoded(f"{name}:x")}}

    write(tmp_path / ".docker/config.json", named("docker"))
    assert await user(tmp_path) == "docker:x"
    write(tmp_path / "elsewhere/config.json", named("moved"))
    assert await user(tmp_path, DOCKER_CONFIG=str(tmp_path / "elsewhere")) == "moved:x"
    write(tmp_path / ".config/containers/auth.json", named("config"))
    assert await user(tmp_path) == "config:x"
    write(tmp_path / "run/containers/auth.json", named("runtime"))
    assert await user(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "run")) == "runtime:x"
    chosen = str(write(tmp_path / "chosen.json", named("chosen")))
    assert (
        await user(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "run"), REGISTRY_AUTH_FILE=chosen) == "chosen:x"
    )
    write(Path(chosen), {"auths": {}})
    assert await user(tmp_path, REGISTRY_AUTH_FILE=chosen) is None
    assert await user(tmp_path, REGISTRY_AUTH_FILE="", XDG_RUNTIME_DIR="", DOCKER_CONFIG="") == "config:x"


@pytest.mark.parametrize(
    ("keys", "best"),
    [
        (["registry.example:5000"], "registry.example:5000"),
        (["registry.example:5000", "registry.example:5000/team"], "registry.example:5000/team"),
        (["registry.example:5000/team/app", "registry.example:5000/team"], "registry.example:5000/team/app"),
        (["registry.example", "registry.example:5000/te", "registry.example:5000/team/app/more"], None),
        (["https://registry.example:5000/v2/"], "https://registry.example:5000/v2/"),
        (["http://registry.example:5000"], "http://registry.example:5000"),
    ],
)
async def test_the_longest_key_that_fits_counts(tmp_path: Path, keys: list[str], best: str | None) -> None:
    auths = {key: encoded(f"u:{key}") for key in keys}
    write(tmp_path / ".docker/config.json", {"auths": auths})
    assert await user(tmp_path) == (f"u:{best}" if best else None)


async def test_the_hub_has_its_old_key(tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {"https://index.docker.io/v1/": encoded("hub:x")}})
    assert await user(tmp_path, Reference.parse("docker.io/library/app:v1")) == "hub:x"


async def test_forms_of_an_entry(tmp_path: Path) -> None:
    for entry, expected in (
        (encoded("u:p:with:colons"), Credentials("u", "p:with:colons")),
        (encoded("u:padded\0\0"), Credentials("u", "padded")),
        ({"username": "u", "password": "p"}, Credentials("u", "p")),
        ({"identitytoken": "it"}, Credentials(identity_token="it")),
        ({"registrytoken": "rt"}, Credentials(registry_token="rt")),
        (encoded("<token>:") | {"identitytoken": "it"}, Credentials("<token>", "", "it")),
        ({}, None),
        ({"auth": ""}, None),
        ({"auth": 7}, None),
        ("text", None),
    ):
        write(tmp_path / ".docker/config.json", {"auths": {"registry.example:5000": entry}})
        assert await find_credentials(APP, options(tmp_path)) == expected


@pytest.mark.parametrize(
    "content",
    ["nonsense: secret", "[]", "7", "[" * 9000, '{"auths":{"registry.example:5000":{"auth":"%%%"}}}',
     '{"auths":{"registry.example:5000":{"auth":"c2VjcmV0"}}}'],
)  # fmt: skip
async def test_a_broken_file_is_named_and_not_quoted(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / ".docker/config.json", content)
    with pytest.raises(ConfigError, match=str(path)) as caught:
        await user(tmp_path)
    assert "secret" not in str(caught.value)


async def test_a_named_file_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing"):
        await user(tmp_path, REGISTRY_AUTH_FILE=str(tmp_path / "missing.json"))
    with pytest.raises(ConfigError, match="read"):
        await user(tmp_path, REGISTRY_AUTH_FILE=str(tmp_path))


async def test_sections_of_another_kind_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {"auths": [], "credHelpers": "x", "credsStore": {}})
    assert await user(tmp_path) is None


def helper(home: Path, name: str, script: str) -> None:
    path = write(home / "bin" / f"docker-credential-{name}", f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


ANSWER = (
    """read server; printf '{"ServerURL":"%s","Username":"%s","Secret":"for-%s"}' "$server" "$1" "$server" """
)


async def test_helpers_are_asked(tmp_path: Path) -> None:
    helper(tmp_path, "vault", ANSWER)
    write(tmp_path / ".docker/config.json", {"credsStore": "vault", "auths": {"registry.example:5000": {}}})
    assert await user(tmp_path) == "get:for-registry.example:5000"
    helper(tmp_path, "own", ANSWER)
    write(
        tmp_path / ".docker/config.json",
        {"credHelpers": {"registry.example:5000": "own"}, "credsStore": "none"},
    )
    assert await user(tmp_path) == "get:for-registry.example:5000"


async def test_a_helper_may_give_a_token_or_nothing(tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {"credsStore": "vault"})
    helper(tmp_path, "vault", """echo '{"Username":"<token>","Secret":"it"}'""")
    assert await find_credentials(APP, options(tmp_path)) == Credentials(identity_token="it")
    helper(tmp_path, "vault", "echo credentials not found in native keychain; exit 1")
    assert await find_credentials(APP, options(tmp_path)) is None


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo secret; exit 3", "exit code 3"),
        ("echo secret", "something else"),
        ("echo '{}'", "something else"),
        ("sleep 30", "answer within"),
        (None, "cannot be run"),
    ],
)
async def test_a_helper_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, says: str
) -> None:
    monkeypatch.setattr("peat_sidecar.oci.credentials._HELPER_SECONDS", 0.2)
    write(tmp_path / ".docker/config.json", {"credsStore": "vault"})
    if script:
        helper(tmp_path, "vault", script.replace("sleep", "exec sleep"))
    with pytest.raises(ConfigError, match=says) as caught:
        await user(tmp_path)
    assert "docker-credential-vault" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_helper_is_a_name_and_no_path(tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {"credsStore": "../../bin/sh"})
    with pytest.raises(ConfigError, match="no name"):
        await user(tmp_path)
