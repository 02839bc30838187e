"""Platforms as people write them and as manifests have them."""

import pytest

from peat_sidecar.errors import ConfigError
from peat_sidecar.packages import Platform


@pytest.mark.parametrize(
    ("text", "platform", "shown"),
    [
        ("linux/amd64", Platform("linux", "amd64"), "linux/amd64"),
        ("linux/arm/v7", Platform("linux", "arm", "v7"), "linux/arm/v7"),
        (" Linux/x86_64 ", Platform("linux", "amd64"), "linux/amd64"),
        ("linux/aarch64", Platform("linux", "arm64"), "linux/arm64"),
        ("multi/amd64", Platform("multi", "amd64"), "multi/amd64"),
    ],
)
def test_parse(text: str, platform: Platform, shown: str) -> None:
    assert Platform.parse(text) == platform
    assert str(platform) == shown


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/arm/", "li\x00nux/a", "é/a"]
)
def test_no_platform(text: str) -> None:
    with pytest.raises(ConfigError, match="linux/"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("here", "wanted", "matches"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("multi/amd64", "linux/amd64", False),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64", "linux/arm64/v9", False),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm/v6", "linux/arm", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/amd64", "linux/amd64/v3", False),
    ],
)
def test_matches(here: str, wanted: str, matches: bool) -> None:
    assert Platform.parse(here).matches(Platform.parse(wanted)) is matches


def test_versions_of_windows() -> None:
    here = Platform("windows", "amd64", None, "10.0.20348")
    assert here.matches(Platform.parse("windows/amd64"))
    assert here.matches(Platform("windows", "amd64", None, "10.0.20348"))
    assert not here.matches(Platform("windows", "amd64", None, "10.0.17763"))
