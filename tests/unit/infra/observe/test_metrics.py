"""Figures as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from baas.infra.observe.metrics import Metrics


def test_counts_and_times_are_what_was_served() -> None:
    """Cumulative buckets, a sum, a counter by route, method and status, gauges read at the moment."""
    metrics = Metrics()
    for seconds in (0.0005, 0.003, 0.3, 100.0):
        metrics.served("/v1/x/{id}", "GET", 200, seconds)
    metrics.served('/a"\n', "POST", 503, 0.001)
    metrics.refused("busy")
    metrics.gauge("pool_busy", "Connections in use.", lambda: 7)
    samples = {
        (sample.name, sample.labels.get("route"), sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }

    route = "/v1/x/{id}"
    assert 4 == samples["baas_requests_total", route, None]
    assert 1 == samples["baas_requests_total", '/a"\n', None]
    assert 1 == samples["baas_request_seconds_bucket", route, "0.001"]
    assert 2 == samples["baas_request_seconds_bucket", route, "0.005"]
    assert 3 == samples["baas_request_seconds_bucket", route, "0.5"]
    assert 4 == samples["baas_request_seconds_bucket", route, "+Inf"]
    assert 4 == samples["baas_request_seconds_count", route, None]
    assert 100.3 < samples["baas_request_seconds_sum", route, None] < 100.31
    assert 7 == samples["baas_pool_busy", None, None]
