"""Limits that are set while the node runs, and what is left of them after a restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from peat_sidecar.errors import ConfigError, NotFound
from peat_sidecar.rate import Limits
from peat_sidecar.state import State
from peat_sidecar.transfer import Limiter, Shaper

SETTINGS = Limits.parse({"up": "1 Mbit/s", "time_zone": "Europe/Oslo"})


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(tmp_path / "state.db") as made:
        yield made


def limiter(state: State, settings: Limits = SETTINGS) -> Limiter:
    return Limiter(Shaper(), state, settings)


async def test_what_is_set_goes_before_the_settings_and_outlives_a_restart(state: State) -> None:
    first = limiter(state)
    assert first.shaper.rates.up == 125_000
    await first.change({"up": "8 kbit/s", "class bulk": "1 kbit/s"})
    assert first.shaper.rates.up == 1000
    again = limiter(state, Limits.parse({"up": "2 Mbit/s", "down": "3 Mbit/s"}))
    assert (again.shaper.rates.up, again.shaper.rates.down) == (1000, 375_000)
    await again.change({"up": None})
    assert again.shaper.rates.up == 250_000, "the setting holds again"
    await again.change({"down": "unlimited"})
    assert again.shaper.rates.down is None
    await again.change({}, clear=True)
    assert again.limits.texts == {"up": "2 Mbit/s", "down": "3 Mbit/s"}
    assert state.get("limits") is None
    for each in (first, again):
        each.shaper.close()


async def test_what_cannot_be_changes_nothing(state: State) -> None:
    made = limiter(state)
    with pytest.raises(ConfigError, match="no rate"):
        await made.change({"down": "8 kbit/s", "up": "fast"})
    with pytest.raises(NotFound, match="class bulk"):
        await made.change({"class bulk": None})
    assert made.shaper.rates.down is None
    assert state.get("limits") is None
    made.shaper.close()


@pytest.mark.parametrize("kept", ["{", "[]", '{"up": 5}', '{"up": "fast"}', '{"sideways": "1 Mbit/s"}'])
async def test_what_was_kept_and_is_damaged_does_not_count(state: State, kept: str) -> None:
    state.set("limits", kept)
    made = limiter(state)
    assert made.shaper.rates.up == 125_000
    made.shaper.close()
