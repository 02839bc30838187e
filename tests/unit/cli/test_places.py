"""What people type for sources and targets, as fields of requests."""

from pathlib import Path

import pytest

from peat_sidecar.cli.places import (
    absolute,
    parse_blob_target,
    parse_fetch,
    parse_package_target,
    parse_source,
)
from peat_sidecar.errors import ConfigError

HASH = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
DIGEST = f"sha256:{HASH}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a layout, an archive, a file and odd names in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("layout", "with:colon", "plain"):
        (tmp_path / name).mkdir()
    (tmp_path / "layout" / "oci-layout").write_text("{}")
    (tmp_path / "app.tar").write_text("x")
    (tmp_path / "registry.example").mkdir()
    (tmp_path / "registry.example" / "app").write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "place", "name", "choice"),
    [
        ("oci:layout", "layout", "layout", None),
        ("oci:layout:v1", "layout", "layout", "v1"),
        (f"oci:layout:{DIGEST}", "layout", "layout", DIGEST),
        ("oci:layout:registry.example:5000/app:v1", "layout", "layout", "registry.example:5000/app:v1"),
        ("oci:with:colon", "layout", "with:colon", None),
        ("oci:with:colon:v1", "layout", "with:colon", "v1"),
        ("oci:not/there:v1", "layout", "not/there", "v1"),
        ("oci:~/layout:v1", "layout", "layout", "v1"),
        ("oci-archive:app.tar", "archive", "app.tar", None),
        ("oci-archive:./sub/../app.tar:v1", "archive", "app.tar", "v1"),
        ("registry-storage:layout:team/app:v1", "registryStorage", "layout", "team/app:v1"),
        ("registry-storage:layout", "registryStorage", "layout", None),
        (f"containerd:layout:{DIGEST}", "containerd", "layout", DIGEST),
        ("containerd:layout:docker.io/library/app:v1", "containerd", "layout", "docker.io/library/app:v1"),
        ("layout", "layout", "layout", None),
        ("app.tar", "file", "app.tar", None),
        ("./app.tar", "file", "app.tar", None),
        ("./not-there", "file", "not-there", None),
        ("registry.example/app", "file", "registry.example/app", None),
    ],
)
def test_sources_on_disk(folder: Path, text: str, place: str, name: str, choice: str | None) -> None:
    wanted = {place: str(folder / name)} | ({"choice": choice} if choice else {})
    assert parse_source(text) == wanted


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("docker://registry/app:v1", "registry/app:v1"),
        ("registry.example/team/app:v1", "registry.example/team/app:v1"),
        ("localhost/app", "localhost/app"),
        ("127.0.0.1:5000/app:v1", "127.0.0.1:5000/app:v1"),
        (f"registry.example/app@{DIGEST}", f"registry.example/app@{DIGEST}"),
    ],
)
def test_references(text: str, reference: str) -> None:
    assert parse_source(text) == {"reference": reference}
    assert parse_package_target(text) == {"reference": reference}


@pytest.mark.parametrize("text", ["plain", "not-there", "team/app:v1", "", "a\0b"])
def test_what_is_no_source(text: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        parse_source(text)


def test_package_targets(folder: Path) -> None:
    assert parse_package_target("oci:new:v1") == {"layout": str(folder / "new"), "tag": "v1"}
    assert parse_package_target("oci-archive:new.tar") == {"archive": str(folder / "new.tar")}
    assert parse_package_target("layout") == {"layout": str(folder / "layout")}
    for text in ("plain", "./new", "new.tar"):
        with pytest.raises(ConfigError, match="no place for a package"):
            parse_package_target(text)


def test_blob_targets(folder: Path) -> None:
    assert parse_blob_target("new") == {"file": str(folder / "new")}
    for text in ("plain", "new/", "oci:new", "docker://registry/app"):
        with pytest.raises(ConfigError, match="file"):
            parse_blob_target(text)


def test_fetches() -> None:
    assert parse_fetch("blobabc", None, blob=False) == {"ticket": "blobabc"}
    assert parse_fetch("blobabc", "ID", blob=False) == {"ticket": "blobabc", "peer": "ID"}
    assert parse_fetch(HASH, "ID", blob=False) == {"package": HASH, "peer": "ID"}
    assert parse_fetch(HASH, "ID", blob=True) == {"blob": HASH, "peer": "ID"}
    with pytest.raises(ConfigError, match="--from"):
        parse_fetch(HASH, None, blob=False)
    with pytest.raises(ConfigError, match="--blob"):
        parse_fetch("blobabc", None, blob=True)


def test_a_path_that_is_not_unicode() -> None:
    with pytest.raises(ConfigError, match="UTF-8"):
        absolute("/srv/\udcff")
