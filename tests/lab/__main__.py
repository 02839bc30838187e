"""`make lab`: opens a lab and keeps it until Ctrl-C or the end of input; links change as they are told to.

    python -m tests.lab ship:rate=2M,delay=300ms,loss=1% shore

Each argument is a host with what its link is like both ways; `up.` or `down.` before a name is one way only.
"""

import sys
from typing import Any

from tests.lab.network import Lab, LabError, Link

_DEFAULT = ("ship:rate=2M,delay=150ms,loss=1%", "shore:delay=150ms")
_NAMES = {
    "rate": "rate_bits",
    "delay": "delay_seconds",
    "jitter": "jitter_seconds",
    "loss": "loss",
    "reorder": "reorder",
    "queue": "queue_bytes",
    "down": "is_down",
}
_UNITS = {"ms": 1e-3, "s": 1.0, "%": 1e-2, "k": 1e3, "M": 1e6, "G": 1e9}
_HELP = """Commands: HOST NAME=VALUE[,NAME=VALUE...]   as ship loss=5%,delay=300ms
          HOST down=1 / HOST down=0            an outage begins, and ends
          stats                                what each link has carried
Names: rate (2M), delay (300ms), jitter, loss (1%), reorder, queue (bytes);
       up. or down. before a name: one way only."""


def parse(text: str) -> dict[str, dict[str, Any]]:
    """`rate=2M,up.loss=1%` -> way -> values. `ValueError` says what is wrong."""
    ways: dict[str, dict[str, Any]] = {"up": {}, "down": {}}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = part.partition("=")
        way, dot, rest = name.partition(".")
        chosen, plain = ((way,), rest) if dot and way in ways else (tuple(ways), name)
        if not equals or plain not in _NAMES:
            raise ValueError(f"{part!r} is none of {', '.join(_NAMES)} with a value")
        for each in chosen:
            ways[each][_NAMES[plain]] = _number(value)
    return ways


def _number(text: str) -> float:
    for unit, factor in _UNITS.items():
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


def main() -> int:
    """The exit code."""
    hosts: dict[str, Link] = {}
    try:
        for text in sys.argv[1:] or _DEFAULT:
            name, _, values = text.partition(":")
            ways = parse(values)
            hosts[name] = Link(Link.both(**ways["up"]).up, Link.both(**ways["down"]).down)
        with Lab(hosts) as lab:
            for name in hosts:
                print(f"{name:10} {lab.address(name):15} {' '.join(lab.command(name, 'bash'))}")
            print(_HELP, flush=True)
            for line in sys.stdin:
                _obey(lab, line.strip())
    except (LabError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _obey(lab: Lab, line: str) -> None:
    if line in ("", "stats"):
        for name, traffic in lab.traffic().items():
            print(f"{name:10} up {traffic.up}\n{'':10} down {traffic.down}", flush=True)
        return
    host, _, values = line.partition(" ")
    try:
        for way, changed in parse(values).items():
            if changed:
                lab.set(host, way, **changed)
        print("done", flush=True)
    except (ValueError, LabError) as error:
        print(error, flush=True)


if __name__ == "__main__":
    sys.exit(main())
