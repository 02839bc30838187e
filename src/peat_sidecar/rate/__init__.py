"""How fast and how much: rates, time windows and budgets as people write them, buckets, what was used of
budgets, and the gate that says who may send next.

Pure: no clock and no waiting; time is a parameter. Rates are bytes per second, None is no limit.
"""

from peat_sidecar.rate.backlog import Backlog
from peat_sidecar.rate.bucket import Bucket, Shared
from peat_sidecar.rate.budgets import Budget, Budgets
from peat_sidecar.rate.gate import DEFAULT_SHARE, PRESENT_SECONDS, Flow, Gate, Request, Tally
from peat_sidecar.rate.limits import (
    APPROVE_ABOVE,
    BUDGET,
    CLASS,
    CLASS_SHARE,
    METERED,
    PEER,
    TIME_ZONE,
    Limits,
    Rates,
    canonical_name,
)
from peat_sidecar.rate.places import Path
from peat_sidecar.rate.rates import format_rate, parse_rate
from peat_sidecar.rate.sizes import format_size, parse_size
from peat_sidecar.rate.usage import Left, Usage
from peat_sidecar.rate.windows import Schedule

__all__ = [
    "APPROVE_ABOVE",
    "BUDGET",
    "CLASS",
    "CLASS_SHARE",
    "DEFAULT_SHARE",
    "METERED",
    "PEER",
    "PRESENT_SECONDS",
    "TIME_ZONE",
    "Backlog",
    "Bucket",
    "Budget",
    "Budgets",
    "Flow",
    "Gate",
    "Left",
    "Limits",
    "Path",
    "Rates",
    "Request",
    "Schedule",
    "Shared",
    "Tally",
    "Usage",
    "canonical_name",
    "format_rate",
    "format_size",
    "parse_rate",
    "parse_size",
]
