"""What the program counts, in a registry of its own, as text for Prometheus.

What units count anyway is read when it is asked for (`gauge`, `counter`); only what nobody else counts is
counted here.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "peat_sidecar_"

Read = Callable[[], float]
ReadMany = Callable[[], Mapping[str, float]]
Family = type[GaugeMetricFamily | CounterMetricFamily]


class Metrics:
    """One for the program. Lives on one event loop: readings are taken there and must not block."""

    def __init__(self) -> None:
        # A second line for each counter, which says when it was first used.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._readings: list[tuple[Family, str, str, Read]] = []
        self._labelled: list[tuple[Family, str, str, str, ReadMany]] = []
        self.calls = Counter(
            f"{_PREFIX}api_calls",
            "Calls of the API that have ended, by method and by code of their error.",
            ("method", "code"),
            registry=self._registry,
        )
        self.registry_requests = Counter(
            f"{_PREFIX}registry_requests",
            "Requests to the registry endpoint that have ended, by what they were for and class of status.",
            ("kind", "status"),
            registry=self._registry,
        )
        self._registry.register(self)

    def gauge(self, name: str, help: str, read: Read) -> None:
        """Something that rises and falls."""
        self._readings.append((GaugeMetricFamily, name, help, read))

    def counter(self, name: str, help: str, read: Read) -> None:
        """Something that only rises while the program runs; its name gets `_total`."""
        self._readings.append((CounterMetricFamily, name, help, read))

    def gauges(self, name: str, help: str, label: str, read: ReadMany) -> None:
        """As `gauge`, one for each value of a label."""
        self._labelled.append((GaugeMetricFamily, name, help, label, read))

    def counters(self, name: str, help: str, label: str, read: ReadMany) -> None:
        """As `counter`, one for each value of a label."""
        self._labelled.append((CounterMetricFamily, name, help, label, read))

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        for family, name, help, read in self._readings:
            yield family(_PREFIX + name, help, value=read())
        for family, name, help, label, read_many in self._labelled:
            found = family(_PREFIX + name, help, labels=(label,))
            for value, count in read_many().items():
                found.add_metric((value,), count)
            yield found

    def render(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)
