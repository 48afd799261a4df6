"""What operations see: requests, latencies, who answered, which champions serve."""

import os
import time
from collections.abc import Iterable, Mapping
from typing import Literal

import psutil  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.champions import Champions

CONTENT_TYPE = CONTENT_TYPE_LATEST
OURS = "nextbest_"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

GAUGES: tuple[tuple[str, str, Literal["livemax", "livesum"]], ...] = (
    ("log_tail_events", "Events in the log since it was last brought into the lake.", "livemax"),
    (
        "stored_rows_age_seconds",
        "Since the feature rows were built; newer events come from the log.",
        "livemax",
    ),
    (
        "worker_start_seconds",
        "From the start of a worker's process until it can be asked; the slowest.",
        "livemax",
    ),
    ("worker_memory_bytes", "Resident memory of the largest worker.", "livemax"),
    ("webhooks_delivered", "Events that webhooks took, since the log began.", "livemax"),
    ("webhooks_failed", "Attempts to deliver that failed, since the log began.", "livemax"),
    ("webhooks_dead", "Events given up, since the log began.", "livemax"),
    ("webhooks_waiting", "Events still to be delivered.", "livemax"),
    ("webhooks_lag_seconds", "Since the oldest of them fired.", "livemax"),
    ("workers", "Workers that answer.", "livesum"),
)


class Metrics:
    """Prometheus metrics of one process; with several workers `text` adds them up over all of them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "nextbest_requests", "Requests by route and status.", ("route", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "nextbest_request_seconds", "Time to answer by route and who answered.", ("route", "source"),
            buckets=BUCKETS, registry=self._registry,
        )  # fmt: skip
        self.answers = Counter(
            "nextbest_answers", "Answers by route, who gave them, and why not the first choice.",
            ("route", "source", "fallback"), registry=self._registry,
        )  # fmt: skip
        self.refused = Counter(
            "nextbest_refused", "Requests refused by route and why (too_many_requests: the rate limits).",
            ("route", "code"), registry=self._registry,
        )  # fmt: skip
        self._champions = Gauge(
            "nextbest_champion", "1 for the version that serves a task.", ("task", "version"),
            registry=self._registry, multiprocess_mode="livemax",
        )  # fmt: skip
        self._faults = Gauge(
            "nextbest_champion_fault", "1 where the champion could not be taken.", ("task",),
            registry=self._registry, multiprocess_mode="livemax",
        )  # fmt: skip
        self._decisions = Gauge(
            "nextbest_decisions", "Decisions written to the log, and lost.", ("outcome",),
            registry=self._registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self.visible = Histogram(
            "nextbest_event_visible_seconds",
            "From the receipt of events to the moment that every answer sees them.",
            buckets=BUCKETS, registry=self._registry,
        )  # fmt: skip
        self._gauges = {
            name: Gauge(f"nextbest_{name}", help_, registry=self._registry, multiprocess_mode=mode)
            for name, help_, mode in GAUGES
        }
        # labels() takes longer than counting
        self._requests_of: dict[tuple[str, int, str], tuple[Counter, Histogram]] = {}
        self._answers_of: dict[tuple[str, str, str], Counter] = {}
        self._served: dict[str, str] = {}
        self._start: float | None = None

    def observe_request(self, route: str, status: int, source: str, seconds: float) -> None:
        """Count a request and its time."""
        if (held := self._requests_of.get((route, status, source))) is None:
            held = self.requests.labels(route, status), self.seconds.labels(route, source)
            self._requests_of[route, status, source] = held
        held[0].inc()
        held[1].observe(seconds)

    def observe_answer(self, route: str, source: str, fallback: str) -> None:
        """Count an answer."""
        if (held := self._answers_of.get((route, source, fallback))) is None:
            held = self._answers_of[route, source, fallback] = self.answers.labels(route, source, fallback)
        held.inc()

    def observe_gauges(self, values: Mapping[str, float]) -> None:
        """Take over GAUGES by their names."""
        for name, value in values.items():
            self._gauges[name].set(value)

    def observe_champions(self, champions: Champions) -> None:
        """Take over which versions serve."""
        for task, status in champions.status().items():
            before, version = self._served.get(task), status.version
            if before and before != version:
                self._champions.labels(task, before).set(0)
            if version:
                self._champions.labels(task, version).set(1)
                self._served[task] = version
            self._faults.labels(task).set(0 if status.error is None else 1)

    def observe_decisions(self, written: int, dropped: int) -> None:
        """Take over the counts of the decision sink."""
        self._decisions.labels("written").set(written)
        self._decisions.labels("lost").set(dropped)

    def observe_worker(self) -> dict[str, float]:
        """Take over how this process started, the first time, and how much memory it holds; return both."""
        process = psutil.Process()
        memory = float(process.memory_info().rss)
        self._start = self._start or time.time() - process.create_time()
        self.observe_gauges(
            {"worker_start_seconds": self._start, "worker_memory_bytes": memory, "workers": 1.0}
        )
        return {"start_seconds": round(self._start, 2), "memory_mb": round(memory / 2**20, 1)}

    def text(self) -> bytes:
        """Return the exposition format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        together.register(_OurProcesses())
        return generate_latest(together)


class _OurProcesses(Collector):
    """All workers' metrics added up; those of libraries, which share the folder, left out."""

    def __init__(self) -> None:
        self._all = MultiProcessCollector(CollectorRegistry())  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return [metric for metric in self._all.collect() if metric.name.startswith(OURS)]  # type: ignore[no-untyped-call]
