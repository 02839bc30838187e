"""What the program counts, in a registry of its own, as text for Prometheus.

What units count anyway is read when it is asked for (`gauge`, `counter`); only what nobody else counts is
counted here.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "peat_sidecar_"

Read = Callable[[], float]


class Metrics:
    """One for the program. Lives on one event loop: readings are taken there and must not block."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._readings: list[tuple[type[GaugeMetricFamily | CounterMetricFamily], str, str, Read]] = []
        self.calls = Counter(
            f"{_PREFIX}api_calls",
            "Calls of the API that have ended, by method and by code of their error.",
            ("method", "code"),
            registry=self._registry,
        )
        self._registry.register(self)

    def gauge(self, name: str, help: str, read: Read) -> None:
        """Something that rises and falls."""
        self._readings.append((GaugeMetricFamily, name, help, read))

    def counter(self, name: str, help: str, read: Read) -> None:
        """Something that only rises while the program runs; its name gets `_total`."""
        self._readings.append((CounterMetricFamily, name, help, read))

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        for family, name, help, read in self._readings:
            yield family(_PREFIX + name, help, value=read())

    def render(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)
