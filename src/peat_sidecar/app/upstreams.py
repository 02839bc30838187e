"""Builds what pulls packages through from upstream registries, and says what is counted of it."""

from collections import Counter
from collections.abc import Mapping

from peat_sidecar.app.mesh import Ground
from peat_sidecar.metrics import Metrics
from peat_sidecar.transfer import PullThrough, Upstream


def pull_through_of(ground: Ground) -> PullThrough:
    """As the settings have it; without upstreams it finds nothing."""
    settings = ground.settings
    upstreams = [
        Upstream(
            each.registry,
            ground.registries,
            url=each.url,
            is_first=each.order == "upstream-first",
            ask_seconds=settings.registry_wait_seconds,
        )
        for each in settings.upstreams
    ]
    return PullThrough(
        upstreams,
        ground.store,
        ground.importer,
        ground.transfers,
        wait_seconds=lambda: settings.registry_wait_seconds,
    )


def count_upstreams(metrics: Metrics, pulls: PullThrough) -> None:
    """Only what happens with them; bytes are those of the imports."""

    def asked() -> Mapping[str, float]:
        return sum((each.asked for each in pulls.upstreams), Counter[str]())

    def failing() -> Mapping[str, float]:
        return {each.registry: float(each.is_failing) for each in pulls.upstreams}

    metrics.counters(
        "upstream_questions", "Manifests and tags that upstreams were asked for.", "outcome", asked
    )
    metrics.gauges(
        "upstream_failing", "Whether an upstream is left alone, since it has failed.", "registry", failing
    )
