"""What is counted and measured, for Prometheus at /metrics."""

from collections.abc import Callable
from contextlib import suppress

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

STAGES = ("decode", "forward", "encode")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = {
    "records": "Pictures in a request.",
    "together": "Pictures that a request's worker had at a time, with those of other requests.",
}
_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Telemetry:
    """Counters and histograms in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "classifier_requests", "Requests answered.", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "classifier_request_seconds",
            "From a request's headers to its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        stages = Histogram(
            "classifier_stage_seconds",
            "Parts of a prediction; queue is all that is not decode, forward or encode.",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = {name: stages.labels(name) for name in ("queue", *STAGES)}
        self._sizes = {
            name: Histogram(f"classifier_batch_{name}", meaning, buckets=_RECORDS, registry=self._registry)
            for name, meaning in _SIZES.items()
        }
        self.gauge("classifier_memory_bytes", "Resident memory of the server and its workers.", _resident)

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Add a value that is read when it is asked for."""
        Gauge(name, meaning, registry=self._registry).set_function(read)

    def model(self, **facts: str) -> None:
        """Say what is served: a gauge that is 1, with the facts as labels."""
        Gauge("classifier_model", "The model.", list(facts), registry=self._registry).labels(**facts).set(1)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def predicted(self, stages: str, seconds: float) -> None:
        """Measure a prediction.

        Args:
            stages: the handler's own measurement, see wire.STAGES.
            seconds: from the end of the body to the answer, with all waiting.
        """
        told = _parse(stages)
        spent = {name: told[name] for name in STAGES if name in told}
        for name, duration in {"queue": max(0.0, seconds - sum(spent.values())), **spent}.items():
            self._stages[name].observe(duration)
        for name in (name for name in _SIZES if name in told):
            self._sizes[name].observe(told[name])

    def text(self) -> tuple[bytes, str]:
        """The metrics as Prometheus reads them, and their media type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


def _parse(stages: str) -> dict[str, float]:
    try:
        return {name: float(value) for name, _, value in (part.partition("=") for part in stages.split(","))}
    except ValueError:
        return {}


def _resident() -> float:
    total = 0
    server = psutil.Process()
    for process in [server, *server.children(recursive=True)]:
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total
