"""Where a package may lie in a registry, however its source writes its name."""

import pytest

from peat_sidecar.ids import Reference
from peat_sidecar.mesh.pulled import listing_of, places_of

HEX = "a" * 64


@pytest.mark.parametrize(
    ("host", "repository", "reference", "first"),
    [
        ("r.example:5000", "", "r.example:5000/team/app:v1", "r.example:5000/team/app:v1"),
        ("r.example", "team/app", "r.example/team/app:v1", "r.example/team/app:v1"),
        ("https://r.example/", "", "oci://r.example/team/app:v1", "r.example/team/app:v1"),
        ("127.0.0.1:31999", "", "ghcr.io/team/app:v1", "127.0.0.1:31999/team/app:v1"),
        ("r.example", "", "team/app:v1", "r.example/team/app:v1"),
        ("r.example", "team/app", "app:v1", "r.example/team/app:v1"),
        ("r.example", "app", "team/app:v1", "r.example/team/app:v1"),
        ("r.example", "team/app", "v1", "r.example/team/app:v1"),
        ("r.example", "r.example/team/app", "v1", "r.example/team/app:v1"),
        ("r.example", "", "app", "r.example/app:latest"),
        ("r.example/mirror", "", "app:v1", "r.example/mirror/app:v1"),
        ("r.example", "", f"app@sha256:{HEX}", f"r.example/app@sha256:{HEX}"),
        ("r.example", "", f"app:v1@sha256:{HEX}", f"r.example/app@sha256:{HEX}"),
        ("", "", "r.example/team/app:v1", "r.example/team/app:v1"),
        (" r.example ", "", " app:v1 ", "r.example/app:v1"),
    ],
)
def test_the_likeliest_place(host: str, repository: str, reference: str, first: str) -> None:
    assert str(places_of(host, repository, reference)[0]) == first


def test_other_places_follow() -> None:
    found = [str(each) for each in places_of("r.example", "mirror/app", "ghcr.io/team/app:v1")]
    assert found == ["r.example/team/app:v1", "r.example/ghcr.io/team/app:v1", "r.example/mirror/app:v1"]


@pytest.mark.parametrize(
    ("host", "reference"),
    [
        ("", ""),
        ("r.example", ""),
        ("", "app:v1"),
        ("not a host", "app:v1"),
        ("r.example", "App:v1"),
        ("r", "a b"),
    ],
)
def test_no_place(host: str, reference: str) -> None:
    assert places_of(host, "", reference) == ()


@pytest.mark.parametrize(
    ("reference", "listed_as"),
    [
        ("r.example:5000/team/app:v1", "r.example:5000/team/app:v1"),
        (f"r.example/app@sha256:{HEX}", "r.example/app:aaaaaaaaaaaa"),
        (f"r.example/app:v1@sha256:{HEX}", "r.example/app:v1"),
    ],
)
def test_what_content_is_listed_under(reference: str, listed_as: str) -> None:
    assert listing_of(Reference.parse(reference)) == listed_as
