"""Callers that ask without pause, each on a connection of its own: what they saw."""

import http.client
import itertools
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Seen:
    """The answers of one stretch. Seconds of each."""

    seconds: list[float] = field(default_factory=list)
    bad: int = 0
    lasted: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.lasted

    @property
    def p50(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[98]


def load(port: int, path: str, bodies: Sequence[tuple[bytes, str]], callers: int, seconds: float) -> Seen:
    """Ask for so long with so many callers; bodies are taken in turn, each with its content type."""
    seen, turn, lock = Seen(), itertools.cycle(bodies), threading.Lock()
    start = time.perf_counter()

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.perf_counter() - start < seconds:
            with lock:
                body, kind = next(turn)
            began = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": kind})
            response = connection.getresponse()
            response.read()
            took = time.perf_counter() - began
            with lock:
                seen.seconds.append(took)
                seen.bad += response.status != 200
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen.lasted = time.perf_counter() - start
    return seen
