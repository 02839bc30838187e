"""Calls about how fast bytes may go, and how many."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from connectrpc.request import RequestContext

from peat_sidecar.rate import (
    APPROVE_ABOVE,
    BUDGET,
    CLASS,
    CLASS_SHARE,
    METERED,
    PEER,
    TIME_ZONE,
    Left,
    Limits,
    Rates,
)
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.parts import Parts


class LimitCalls:
    """A part of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def get_limits(
        self, request: pb.GetLimitsRequest, ctx: RequestContext[pb.GetLimitsRequest, pb.GetLimitsResponse], /
    ) -> pb.GetLimitsResponse:
        limiter, moment = self._parts.limiter, datetime.now(UTC)
        change = limiter.limits.next_change(moment)
        return pb.GetLimitsResponse(
            limits=limits_message(limiter.limits),
            settings=limits_message(limiter.settings),
            now=rates_messages(limiter.limits.at(moment)),
            next_change_at=change.timestamp() if change is not None else 0.0,
            used=use_messages(limiter.standing()),
        )

    async def set_limits(
        self, request: pb.SetLimitsRequest, ctx: RequestContext[pb.SetLimitsRequest, pb.SetLimitsResponse], /
    ) -> pb.SetLimitsResponse:
        limiter = self._parts.limiter
        await limiter.change(parse_changes(request.limits or pb.Limits()), clear=request.clear)
        return pb.SetLimitsResponse(
            limits=limits_message(limiter.limits),
            now=rates_messages(limiter.limits.at(datetime.now(UTC))),
            used=use_messages(limiter.standing()),
        )


def parse_changes(limits: pb.Limits) -> dict[str, str | None]:
    """By name; None for what is taken back."""
    changes: dict[str, str | None] = {}
    if limits.has_field("up"):
        changes["up"] = limits.up or None
    if limits.has_field("down"):
        changes["down"] = limits.down or None
    if limits.has_field("total"):
        changes["total"] = limits.total or None
    if limits.has_field("time_zone"):
        changes[TIME_ZONE] = limits.time_zone or None
    changes |= {f"{PEER}{peer}": text or None for peer, text in limits.peers.items()}
    changes |= {f"{CLASS}{name}": text or None for name, text in limits.classes.items()}
    changes |= {f"{BUDGET}{place}": text or None for place, text in limits.budgets.items()}
    changes |= {f"{METERED}{place}": text or None for place, text in limits.metered.items()}
    if limits.has_field("approve_above"):
        changes[APPROVE_ABOVE] = limits.approve_above or None
    if limits.has_field("class_share"):
        changes[CLASS_SHARE] = None if limits.class_share < 0 else repr(limits.class_share)
    return changes


def limits_message(limits: Limits) -> pb.Limits:
    """The texts as they were given."""
    texts = limits.texts
    return pb.Limits(
        up=texts.get("up"),
        down=texts.get("down"),
        total=texts.get("total"),
        peers=_named(PEER, texts),
        classes=_named(CLASS, texts),
        time_zone=texts.get(TIME_ZONE, "UTC"),
        class_share=limits.share,
        budgets=_named(BUDGET, texts),
        metered=_named(METERED, texts),
        approve_above=texts.get(APPROVE_ABOVE),
    )


def use_messages(standing: Iterable[Left]) -> list[pb.BudgetUse]:
    """How all amounts of all budgets stand."""
    return [
        pb.BudgetUse(
            place=each.budget.place.name,
            period=each.period.value,
            direction=each.budget.direction,
            amount_bytes=each.budget.amounts[each.period],
            used_bytes=each.used,
            until=each.until.timestamp(),
            time_zone=each.budget.zone.key,
        )
        for each in standing
    ]


def rates_messages(rates: Rates) -> list[pb.LimitNow]:
    """All that there are."""
    named = {"up": rates.up, "down": rates.down, "total": rates.total}
    named |= {f"{PEER}{peer}": rate for peer, rate in rates.peers.items()}
    named |= {f"{CLASS}{each}": rate for each, rate in rates.classes.items()}
    return [pb.LimitNow(name=name, bytes_per_second=rate or 0.0) for name, rate in named.items()]


def _named(begin: str, texts: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(begin): text for name, text in texts.items() if name.startswith(begin)}
