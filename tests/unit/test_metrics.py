"""What is counted, as Prometheus reads it."""

from prometheus_client.parser import text_string_to_metric_families

from peat_sidecar.metrics import Metrics


def test_readings_and_counts() -> None:
    metrics, held = Metrics(), [3.0]
    metrics.gauge("blobs", "Blobs.", lambda: held[0])
    metrics.counter("sent_bytes", "Bytes.", lambda: 7)
    metrics.gauges("wants", "Wants.", "state", lambda: {"done": 2, "failed": 0})
    metrics.counters("handshakes", "Handshakes.", "result", lambda: {"refused": 5})
    metrics.calls.labels("GetStatus", "ok").inc()
    held[0] = 4
    samples = [
        sample
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    ]
    found = {sample.name: (sample.value, sample.labels) for sample in samples}
    assert found["peat_sidecar_blobs"] == (4, {})
    assert not [name for name in found if name.endswith("_created")]
    assert found["peat_sidecar_sent_bytes_total"] == (7, {})
    assert found["peat_sidecar_api_calls_total"] == (1, {"method": "GetStatus", "code": "ok"})
    assert found["peat_sidecar_handshakes_total"] == (5, {"result": "refused"})
    wants = {sample.labels["state"]: sample.value for sample in samples if sample.name.endswith("wants")}
    assert wants == {"done": 2, "failed": 0}


def test_two_do_not_share_anything() -> None:
    one, other = Metrics(), Metrics()
    one.calls.labels("GetStatus", "ok").inc()
    assert b"GetStatus" not in other.render()
