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
        (
            ("set", "budget", "interface", "wwan0", "5", "MB", "a", "day,", "up"),
            {"limits": {"budgets": {"interface wwan0": "5 MB a day, up"}}},
        ),
        (("set", "budget", "any", "5 MB a day"), {"limits": {"budgets": {"any": "5 MB a day"}}}),
        (("set", "metered", "10.0.0.0/8", "high"), {"limits": {"metered": {"10.0.0.0/8": "high"}}}),
        (("set", "approve-above", "2", "GB"), {"limits": {"approveAbove": "2 GB"}}),
        (("clear", "budget", "interface", "wwan0"), {"limits": {"budgets": {"interface wwan0": ""}}}),
        (("clear", "approve-above"), {"limits": {"approveAbove": ""}}),
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
        (("set", "peer"), "nothing is named; what it is for goes behind the word peer"),
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


def test_what_is_used_and_left(cli: Cli, answers: Answers) -> None:
    answer = {
        "limits": {
            "budgets": {"interface wwan0": "500 MB a day, 10 GB a month, zone Europe/Oslo"},
            "metered": {"10.0.0.0/8": "critical"},
            "approveAbove": "2 GB",
        },
        "used": [
            {
                "place": "interface wwan0",
                "period": "day",
                "direction": "total",
                "amountBytes": "500000000",
                "usedBytes": "123000000",
                "until": 1767646800.0,
                "timeZone": "Europe/Oslo",
            }
        ],
    }
    answers.give("GetLimits", answer)
    code, text, _ = cli("limits")
    assert code == 0
    assert all(len(line) <= 80 for line in text.splitlines())
    (row,) = [line for line in text.splitlines() if line.startswith("interface wwan0")]
    assert [each.strip() for each in row.split("  ") if each] == [
        "interface wwan0",
        "total",
        "day",
        "123 MB",
        "377 MB",
        "2026-01-05 22:00 CET",
    ]
    assert "10.0.0.0/8: only what is critical" in text
    assert "more than 2 GB is approved first" in text
    assert "nothing is limited" not in text


def test_an_approval(cli: Cli, answers: Answers) -> None:
    cli("wants", "approve", "0123456789abcdef")
    cli("wants", "add", "registry.example/team/app:v1", "--yes")
    cli("fetch", "ab" * 32, "--from", ID, "--yes", "--detach")
    (approve, add, fetch) = answers.asked
    assert approve == ("ApproveWant", {"id": "0123456789abcdef"})
    assert add[1]["approved"] is fetch[1]["approved"] is True


def test_the_class_of_a_fetch(cli: Cli, answers: Answers) -> None:
    cli("fetch", "ab" * 32, "--from", ID, "--class", "critical", "--detach")
    assert answers.asked[0][1]["transferClass"] == "TRANSFER_CLASS_CRITICAL"
