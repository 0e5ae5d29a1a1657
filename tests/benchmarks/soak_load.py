"""Asks a real `serve` for minutes at a share of what it can do; writes soak_load.md.

Usage: `make bench BENCH=soak_load ARGS=MODEL_DIR`, or
`ENGINE=none python tests/benchmarks/soak_load.py MODEL_DIR` (or with an engine: in the image).
"""

import argparse
import http.client
import itertools
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import doors
from sample_pictures import make_pictures
from server import Server, serving

CALLERS = 8
MEASURED = 15  # seconds that capacity is measured for
MIB = 1 << 20


@dataclass
class Seen:
    """What the callers saw: statuses, and seconds from when a request was due to its answer."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


def ask(connection: http.client.HTTPConnection, picture: bytes) -> str:
    """One request on a connection that stays open; its status, or the name of what went wrong."""
    try:
        connection.request("POST", "/invocations", picture, {"Content-Type": "image/png"})
        response = connection.getresponse()
        response.read()
        return str(response.status)
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return type(error).__name__


def call(server: Server, picture: bytes, due: Iterator[float], end: float, seen: Seen) -> None:
    """A caller: takes the next time at which a request is due, waits for it and asks."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for when in due:
        if when > end:
            break
        time.sleep(max(0, when - time.monotonic()))
        seen.statuses[ask(connection, picture)] += 1
        seen.seconds.append(time.monotonic() - when)
    connection.close()


def load(server: Server, picture: bytes, rate: float, seconds: float) -> Seen:
    """So many requests a second for so long; 0 is as many as the callers get answered."""
    seen, start = Seen(), time.monotonic()
    end = start + seconds
    times = (start + number / rate for number in itertools.count()) if rate else iter(time.monotonic, None)
    lock = threading.Lock()

    def due() -> Iterator[float]:
        while True:
            with lock:
                when = next(times)
            yield when

    threads = [threading.Thread(target=call, args=(server, picture, due(), end, seen)) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def memory(server: Server) -> str:
    """Resident memory and open files: front door, Java, and all workers together."""
    lasting = sorted(server.lasting(), key=lambda process: "java" in process.words)
    cells = [f"{process.memory / MIB:.0f} MiB, {process.files} files" for process in lasting]
    workers = server.workers()
    return " | ".join([*cells, f"{sum(each.memory for each in workers) / MIB:.0f} MiB, {len(workers)} processes"])


def row(minute: float, seen: Seen, server: Server) -> str:
    """One line of the table."""
    other = ", ".join(f"{count} x {status}" for status, count in seen.statuses.items() if status != "200") or "none"
    ordered = sorted(seen.seconds)
    slow = ordered[int(len(ordered) * 0.99)]
    median = statistics.median(ordered)
    figures = f"{median * 1000:.0f} ms | {slow * 1000:.0f} ms | {ordered[-1]:.2f} s"
    return f"| {minute:g} | {seen.statuses['200']} | {other} | {figures} | {memory(server)} |"


def soak(server: Server, picture: bytes, minutes: int, share: float) -> tuple[float, list[str]]:
    """Measure, then ask at a share of that; gives the rate, and a row a minute."""
    load(server, picture, 0, 3)
    rate = share * load(server, picture, 0, MEASURED).statuses["200"] / MEASURED
    rows = []
    for minute in range(1, minutes + 1):
        rows.append(row(minute, load(server, picture, rate, 60), server))
        print(rows[-1], flush=True)
    return rate, rows


def main() -> None:
    """Soak, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="a trained model's directory")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.9, help="of what the server answered with callers that wait")
    parser.add_argument("--engine", default="auto", help="as CLASSIFIER_ENGINE takes it")
    chosen = parser.parse_args()
    environment = {"CLASSIFIER_ENGINE": chosen.engine}
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder) / "pictures", {"test": 1})
        picture = next((Path(folder) / "pictures").rglob("*.png")).read_bytes()
        with serving(chosen.model.resolve(), Path(folder) / "log", environment=environment) as server:
            rate, rows = soak(server.wait_until_ready(), picture, chosen.minutes, chosen.share)
            engine = server.log.partition("Engine: ")[2].partition(";")[0]
    where = "in the image" if doors.ENGINE else "from the virtual environment"
    text = f"""# {chosen.minutes} minutes at {chosen.share:.0%} of capacity

`tests/benchmarks/soak_load.py`, {where}: {CALLERS} callers on connections that stay open, {rate:.0f} requests a second,
which is {chosen.share:.0%} of what the server answered when each caller asked again at once, measured for {MEASURED} s.
Seconds are from when a request was due to its answer: a caller that is late counts. The callers take part of the same
cores. Resident memory and open files are those at the end of the minute. Engine:
{engine}.

| minute | 200 | other | median | p99 | slowest | front door | Java | workers |
|---|---|---|---|---|---|---|---|---|
"""
    Path(__file__).with_suffix(".md").write_text(text + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
