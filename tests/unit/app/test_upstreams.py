"""Upstreams as the settings have them, and what is counted of them."""

from pathlib import Path

from peat_sidecar.app.upstreams import count_upstreams
from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.metrics import Metrics
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, PullThrough, Transfers, Upstream


def test_what_is_counted(tmp_path: Path) -> None:
    upstreams = [Upstream(name, RegistryOptions()) for name in ("a.example", "b.example")]
    upstreams[0].asked.update(answered=2, failed=1)
    upstreams[1].asked.update(answered=1)
    upstreams[1].failed("app", PeerUnavailable("it is silent"))
    metrics = Metrics()
    with Store.open(tmp_path) as store:
        count_upstreams(metrics, PullThrough(upstreams, store, Importer(store), Transfers()))
        text = metrics.render().decode()
    assert 'peat_sidecar_upstream_questions_total{outcome="answered"} 3.0' in text
    assert 'peat_sidecar_upstream_questions_total{outcome="failed"} 2.0' in text
    assert 'peat_sidecar_upstream_failing{registry="a.example"} 0.0' in text
    assert 'peat_sidecar_upstream_failing{registry="b.example"} 1.0' in text
