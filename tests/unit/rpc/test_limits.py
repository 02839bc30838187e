"""Limits by calls: what is asked for as changes, and what is in force as an answer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from peat_sidecar.errors import ConfigError
from peat_sidecar.rate import Limits
from peat_sidecar.rpc.application import reading_paths
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.limit_calls import LimitCalls
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.state import State
from peat_sidecar.transfer import Limiter, Shaper

NO_CONTEXT: Any = None
ID = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"


async def test_limits_are_set_shown_and_taken_back(tmp_path: Path) -> None:
    with State.open(tmp_path / "state.db") as state:
        limiter = Limiter(Shaper(), state, Limits.parse({"up": "1 Mbit/s"}))
        calls = LimitCalls(cast(Parts, SimpleNamespace(limiter=limiter)))
        asked = pb.Limits(
            total="00:00-23:59 8 kbit/s, else 16 kbit/s",
            peers={ID: "1 kbit/s"},
            classes={"bulk": "unlimited"},
            time_zone="Europe/Oslo",
            class_share=0.0,
        )
        done = await calls.set_limits(pb.SetLimitsRequest(limits=asked), NO_CONTEXT)
        assert done.limits is not None
        assert (done.limits.up, done.limits.peers, done.limits.class_share) == (
            "1 Mbit/s",
            {ID: "1 kbit/s"},
            0,
        )
        assert not done.limits.has_field("down")
        shown = await calls.get_limits(pb.GetLimitsRequest(), NO_CONTEXT)
        now = {each.name: each.bytes_per_second for each in shown.now}
        assert now["up"] == 125_000
        assert now[f"peer {ID}"] == 125
        assert now["class bulk"] == now["down"] == 0
        assert shown.next_change_at > 1e9
        assert shown.settings is not None
        assert shown.settings.up == "1 Mbit/s"
        assert not shown.settings.peers
        back = pb.Limits(total="", peers={ID: ""}, class_share=-1)
        done = await calls.set_limits(pb.SetLimitsRequest(limits=back), NO_CONTEXT)
        assert done.limits is not None
        assert (done.limits.peers, done.limits.classes) == ({}, {"bulk": "unlimited"})
        assert done.limits.class_share == pytest.approx(0.02)
        with pytest.raises(ConfigError, match="cannot be limited"):
            await calls.set_limits(
                pb.SetLimitsRequest(limits=pb.Limits(classes={"urgent": "1 Mbit/s"})), NO_CONTEXT
            )
        done = await calls.set_limits(pb.SetLimitsRequest(clear=True), NO_CONTEXT)
        assert done.limits is not None
        assert done.limits.time_zone == "UTC"
        limiter.shaper.close()


async def test_budgets_are_set_shown_and_taken_back(tmp_path: Path) -> None:
    with State.open(tmp_path / "state.db") as state:
        limiter = Limiter(Shaper(), state, Limits.parse({"approve_above": "1 GB"}))
        calls = LimitCalls(cast(Parts, SimpleNamespace(limiter=limiter)))
        asked = pb.Limits(
            budgets={"interface wwan0": "5 MB a day, 1 GB a month, up"},
            metered={"10.0.0.0/8": "critical"},
            approve_above="2 GB",
        )
        done = await calls.set_limits(pb.SetLimitsRequest(limits=asked), NO_CONTEXT)
        assert done.limits is not None
        assert (done.limits.budgets, done.limits.metered) == (asked.budgets, asked.metered)
        assert done.limits.approve_above == "2 GB"
        uses = [(each.place, each.period, each.direction, each.amount_bytes) for each in done.used]
        assert uses == [
            ("interface wwan0", "day", "up", 5_000_000),
            ("interface wwan0", "month", "up", 10**9),
        ]
        shown = await calls.get_limits(pb.GetLimitsRequest(), NO_CONTEXT)
        assert [each.used_bytes for each in shown.used] == [0, 0]
        assert all(each.until > 1e9 for each in shown.used)
        for wrong in (
            pb.Limits(budgets={"any": "much"}),
            pb.Limits(metered={"moon": "high"}),
            pb.Limits(approve_above="much"),
        ):
            with pytest.raises(ConfigError, match="looks like"):
                await calls.set_limits(pb.SetLimitsRequest(limits=wrong), NO_CONTEXT)
        back = pb.Limits(budgets={"interface wwan0": ""}, metered={"10.0.0.0/8": ""}, approve_above="")
        done = await calls.set_limits(pb.SetLimitsRequest(limits=back), NO_CONTEXT)
        assert done.limits is not None
        assert (done.limits.budgets, done.limits.metered, done.used) == ({}, {}, [])
        assert done.limits.approve_above == "1 GB", "the setting holds again"
        limiter.shaper.close()


def test_to_look_needs_no_token_and_to_change_does() -> None:
    names = {path.rpartition("/")[2] for path in reading_paths()}
    assert "GetLimits" in names
    assert "SetLimits" not in names
