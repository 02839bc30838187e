"""`limits`: what it asks and prints."""

import json

import pytest

from tests.unit.cli.daemon_of_answers import Answers
from tests.unit.cli.test_mesh_commands import ID, Cli, answers, cli

__all__ = ["answers", "cli"]

WINDOWS = "22:00-06:00 unlimited, else 512 kbit/s"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("set", "up", WINDOWS), {"limits": {"up": WINDOWS}}),
        (("set", "down", "512", "kbit/s"), {"limits": {"down": "512 kbit/s"}}),
        (("set", "peer", ID.upper(), "1", "Mbit/s"), {"limits": {"peers": {ID: "1 Mbit/s"}}}),
        (("set", "class", "bulk", "64 kbit/s"), {"limits": {"classes": {"bulk": "64 kbit/s"}}}),
        (("set", "zone", "Europe/Oslo"), {"limits": {"timeZone": "Europe/Oslo"}}),
        (("set", "share", "0"), {"limits": {"classShare": 0.0}}),
        (("clear", "total"), {"limits": {"total": ""}}),
        (("clear", "peer", ID), {"limits": {"peers": {ID: ""}}}),
        (("clear", "share"), {"limits": {"classShare": -1.0}}),
        (("clear", "all"), {"clear": True}),
    ],
)
def test_what_is_asked(cli: Cli, answers: Answers, arguments: tuple[str, ...], asked: object) -> None:
    code, _, error = cli("limits", *arguments)
    assert (code, error) == (0, "")
    assert answers.asked == [("SetLimits", asked)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "sideways", "1 Mbit/s"), "cannot be limited"),
        (("set", "up"), "no rate"),
        (("set", "peer"), "no peer is named"),
        (("set", "peer", "me", "1 Mbit/s"), "id"),
        (("set", "share", "some"), "no share"),
        (("clear", "up", "1 Mbit/s"), "does not belong"),
    ],
)
def test_what_is_refused(cli: Cli, answers: Answers, arguments: tuple[str, ...], said: str) -> None:
    code, _, error = cli("limits", *arguments)
    assert code == 2
    assert said in error
    assert not answers.asked


def test_what_is_shown(cli: Cli, answers: Answers) -> None:
    answer = {
        "limits": {
            "up": WINDOWS,
            "peers": {ID: "1 kbit/s"},
            "timeZone": "Europe/Oslo",
            "classShare": 0.02,
        },
        "now": [{"name": "up", "bytesPerSecond": 64000.0}, {"name": f"peer {ID}", "bytesPerSecond": 125.0}],
        "nextChangeAt": 1767646800.0,
    }
    answers.give("GetLimits", answer)
    code, text, _ = cli("limits")
    assert code == 0
    assert "512 kbit/s" in text
    assert "1 kbit/s" in text
    assert "Europe/Oslo" in text
    assert "2026-01-05 21:00 UTC" in text
    assert json.loads(cli("limits", "-o", "json")[1]) == answer
    answers.give("GetLimits", {})
    assert "nothing is limited" in cli("limits")[1]


def test_the_class_of_a_fetch(cli: Cli, answers: Answers) -> None:
    cli("fetch", "ab" * 32, "--from", ID, "--class", "critical", "--detach")
    assert answers.asked[0][1]["transferClass"] == "TRANSFER_CLASS_CRITICAL"
