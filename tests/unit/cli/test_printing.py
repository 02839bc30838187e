"""Texts and tables: width, units, and nothing that a terminal would obey."""

import sys

import pytest

from peat_sidecar.cli.printing import clean, duration, middle, number, print_table, short, size, wrapped


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "0 B"),
        ("999", "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        ("104200000", "104 MB"),
        (2**63, "9.2 EB"),
    ],
)
def test_sizes(count: object, text: str) -> None:
    assert size(count) == text


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0, 9.94, 9.96, 119.4, 119.6, 7199, 7200)] == [
        "0.0 s",
        "9.9 s",
        "10 s",
        "119 s",
        "2 min 0 s",
        "119 min 59 s",
        "2 h 0 min",
    ]


def test_numbers() -> None:
    assert [number(each) for each in ("9223372036854775808", 3, None, "")] == [2**63, 3, 0, 0]


def test_names_are_cut() -> None:
    assert short("sha256:0123456789abcdef") == "sha256:0123456789"
    assert short("0123456789abcdef") == "0123456789"
    assert middle("registry.example/team/app:v1", 28) == "registry.example/team/app:v1"
    assert middle("registry.example/team/app:v1", 16) == "registr../app:v1"
    assert [len(middle("x" * 90, width)) for width in range(80)] == list(range(80))


def test_no_control_characters() -> None:
    hostile = "\x1b]0;title\x07\x9b31m\r\n\u202eevil\x7f"
    assert clean(hostile) == "?]0;title??31m???evil?"
    assert "\x1b" not in wrapped(hostile)
    assert wrapped("two\nlines") == "two lines"


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_tables_fit_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(("NAME", "SIZE"), [("n" * 300, "1 B"), ("x\x1b[31m", "10.0 MB")], flexible=0, right=(1,))
    lines = capsys.readouterr().out.splitlines()
    assert [len(line) for line in lines] == [columns] * 3
    assert lines[0].startswith("NAME ")
    assert lines[2].startswith("x?[31m ")


def test_tables_in_a_pipe_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "SIZE"), [("n" * 300, "1 B")], flexible=0)
    assert "n" * 300 in capsys.readouterr().out
