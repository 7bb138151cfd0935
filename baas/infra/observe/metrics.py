"""Counters and timings of one process as plain numbers; Prometheus' text is made only when somebody asks."""

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
Reading = Callable[[], float]


class Metrics:
    """What this process did since its start. Every series has a `worker` label, because a scrape reaches one process of many."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[str, list[float]] = {}  # per route: one count for each bucket, those beyond, the sum
        self._refused: dict[str, int] = {}
        self._slow = 0
        self._gauges: dict[str, tuple[str, Reading]] = {}

    def served(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request; `route` is the template of its path, never the path itself."""
        key = (route, method, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        row = self._seconds.get(route)
        if row is None:
            row = self._seconds[route] = [0.0] * (len(_BUCKETS_S) + 2)
        row[bisect_left(_BUCKETS_S, seconds)] += 1
        row[-1] += seconds

    def refused(self, reason: str) -> None:
        """One request turned away at the edge: `busy`, `rate`."""
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def slow(self) -> None:
        """One statement that took longer than the threshold of the log."""
        self._slow += 1

    def gauge(self, name: str, help_text: str, reading: Reading) -> None:
        """Register a value that is read when somebody asks: `baas_<name>`."""
        self._gauges[name] = (help_text, reading)

    def render(self) -> bytes:
        """The text of `/metrics` in Prometheus' format 0.0.4."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Snapshot(self._families))
        return generate_latest(registry)

    def _families(self) -> Iterator[Metric]:
        worker = str(os.getpid())
        requests = CounterMetricFamily("baas_requests", "Requests served.", labels=("worker", "route", "method", "status"))
        for (route, method, status), count in self._requests.items():
            requests.add_metric((worker, route, method, str(status)), count)
        yield requests
        refused = CounterMetricFamily("baas_refused", "Requests turned away at the edge.", labels=("worker", "reason"))
        for reason, count in self._refused.items():
            refused.add_metric((worker, reason), count)
        yield refused
        slow = CounterMetricFamily("baas_slow_queries", "Statements over the threshold of the log.", labels=("worker",))
        slow.add_metric((worker,), self._slow)
        yield slow
        yield self._timings(worker)
        for name, (help_text, reading) in self._gauges.items():
            family = GaugeMetricFamily(f"baas_{name}", help_text, labels=("worker",))
            family.add_metric((worker,), reading())
            yield family

    def _timings(self, worker: str) -> Metric:
        family = HistogramMetricFamily("baas_request_seconds", "Time to serve a request.", labels=("worker", "route"))
        for route, row in self._seconds.items():
            total, buckets = 0.0, []
            for edge, count in zip((*map(str, _BUCKETS_S), "+Inf"), row, strict=False):
                total += count
                buckets.append((edge, total))
            family.add_metric((worker, route), buckets, row[-1])
        return family


class _Snapshot(Collector):
    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families()
