"""How fast: rates as people write them, time windows, buckets, and the gate that says who may send next.

Pure: no clock and no waiting; time is a parameter. Rates are bytes per second, None is no limit.
"""

from peat_sidecar.rate.backlog import Backlog
from peat_sidecar.rate.bucket import Bucket, Shared
from peat_sidecar.rate.gate import DEFAULT_SHARE, PRESENT_SECONDS, Flow, Gate, Request, Tally
from peat_sidecar.rate.limits import CLASS, CLASS_SHARE, PEER, TIME_ZONE, Limits, Rates, canonical_name
from peat_sidecar.rate.rates import format_rate, parse_rate
from peat_sidecar.rate.windows import Schedule

__all__ = [
    "CLASS",
    "CLASS_SHARE",
    "DEFAULT_SHARE",
    "PEER",
    "PRESENT_SECONDS",
    "TIME_ZONE",
    "Backlog",
    "Bucket",
    "Flow",
    "Gate",
    "Limits",
    "Rates",
    "Request",
    "Schedule",
    "Shared",
    "Tally",
    "canonical_name",
    "format_rate",
    "parse_rate",
]
