"""What registries send as WWW-Authenticate, neat and otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peat_sidecar.oci.challenges import Challenge, parse_challenges

SCOPE = "repository:a/b:pull,push"
TOKEN = Challenge("bearer", {"realm": "https://auth.example/token", "service": "registry", "scope": SCOPE})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Bearer realm="https://auth.example/token",service="registry",scope="' + SCOPE + '"'], [TOKEN]),
        (['bearer  realm = "https://auth.example/token" , service=registry,scope="' + SCOPE + '" '], [TOKEN]),
        (["Basic"], [Challenge("basic")]),
        (["Basic realm=x"], [Challenge("basic", {"realm": "x"})]),
        (['Basic realm="a \\"b\\" \\\\c, d=e"'], [Challenge("basic", {"realm": 'a "b" \\c, d=e'})]),
        (
            ['Basic realm="x", Bearer realm="y"'],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})],
        ),
        (["Basic", 'Bearer realm="y"'], [Challenge("basic"), Challenge("bearer", {"realm": "y"})]),
        (["Basic, Bearer realm=y"], [Challenge("basic"), Challenge("bearer", {"realm": "y"})]),
        (["Negotiate"], [Challenge("negotiate")]),
        (['Bearer realm="a",realm="b"'], [Challenge("bearer", {"realm": "a"})]),
        ([""], []),
        ([], []),
        (['="'], []),
    ],
)  # fmt: skip
def test_headers(headers: list[str], expected: list[Challenge]) -> None:
    assert parse_challenges(headers) == expected


@given(st.lists(st.text(st.sampled_from('Basicr eaml="\\,;\t \0é'), max_size=60), max_size=3))
def test_no_header_breaks_it(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme


def test_a_long_header_takes_no_long_time() -> None:
    for text in ('"' * 100_000, "a " * 100_000, "a=" * 100_000, 'a="' + "\\" * 100_000, "," * 100_000):
        parse_challenges([text])
