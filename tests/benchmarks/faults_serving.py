"""Faults against a real `serve`, under load, one after the other; writes faults_serving.md.

The faults are in serving_faults.py; `make bench BENCH=faults_serving ARGS=MODEL_DIR`, or
`ENGINE=none python tests/benchmarks/faults_serving.py MODEL_DIR` (or with an engine: in the image).
"""

import argparse
import http.client
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import doors
from sample_pictures import make_pictures
from server import Server, serving
from serving_faults import OF_FOUR, OWN, SCRIPTED, Fault, alive

CALLERS = 4
DEADLINE = 5  # seconds
TABLE = """| fault | 200 | 503 | 504 | other | median | slowest | slowest /ping | afterwards | holds |
|---|---|---|---|---|---|---|---|---|---|
"""
PING = 2  # seconds that SageMaker waits for an answer to /ping
ROOM = 3  # seconds beyond the deadline for a busy desk to notice
FILES, GROWTH = 16, 1.25  # open files more, and so many times the memory, than after the row without a fault
SCRIPT = """
import time
import numpy as np
def input_fn(body, content_type):
    while bytes(body) == b"hang":
        time.sleep(1)
    from image_classifier import images
    return None if bytes(body) == b"much" else images.decode(body, 10**8)
def predict_fn(data, model):
    from image_classifier import images
    if data is None:
        return np.zeros(1_000_000)
    pixels = np.asarray(images.centre_crop(data, model.config.preprocessing))
    return model.logits(pixels[np.newaxis]), model.config
"""


@dataclass
class Load:
    """What callers with good requests saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)

    def row(self, name: str, left: "Left", first: "Left") -> str:
        """One line of the table."""
        codes = {code: self.statuses.pop(code, 0) for code in ("200", "503", "504")}
        other = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items())) or "none"
        ordered = sorted(self.seconds) or [0.0]
        median, slowest = ordered[len(ordered) // 2], ordered[-1]
        ping = max(self.pings, default=0.0)
        holds = other == "none" and slowest < DEADLINE + ROOM and ping < PING and left.is_nothing_more_than(first)
        counts = " | ".join(str(count) for count in codes.values())
        times = f"{median * 1000:.0f} ms | {slowest:.1f} s | {ping * 1000:.0f} ms"
        return f"| {name} | {counts} | {other} | {times} | {left} | {'yes' if holds else '**no**'} |"


@dataclass(frozen=True)
class Left:
    """What there is of a server when all is quiet again; memory in bytes, resident."""

    processes: int
    zombies: int
    memory: int
    files: int

    def __str__(self) -> str:
        counts = f"{self.processes} processes, {self.zombies} zombies"
        return f"{counts}, {self.memory / 2**20:.0f} MiB, {self.files} open files"

    def is_nothing_more_than(self, first: "Left") -> bool:
        """Whether no fault has left anything."""
        whole = self.processes == first.processes and self.zombies == 0
        return whole and self.files <= first.files + FILES and self.memory <= GROWTH * first.memory


@contextmanager
def calling(server: Server, picture: bytes) -> Iterator[Load]:
    """Callers that ask without pause, each on its own connections."""
    load, stop = Load(), threading.Event()

    def call() -> None:
        while not stop.is_set():
            start = time.monotonic()
            try:
                status = str(server.invoke(picture, "image/png").status)
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
            load.seconds.append(time.monotonic() - start)
            load.statuses[status] += 1
            if status != "200":
                time.sleep(0.1)

    def ping() -> None:
        while not stop.wait(0.2):
            start = time.monotonic()
            server.ping()
            load.pings.append(time.monotonic() - start)

    threads = [threading.Thread(target=task) for task in (*[call] * CALLERS, ping)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _left(server: Server, workers: int) -> Left:
    time.sleep(DEADLINE + ROOM)  # a worker that hangs ends only now
    end = time.monotonic() + 90
    while (server.ping() != 200 or alive(server) < workers) and time.monotonic() < end:
        time.sleep(0.2)
    processes = server.processes()
    memory, files = sum(process.memory for process in processes), sum(process.files for process in processes)
    return Left(len(processes), server.zombies(), memory, files)


def _rows(
    model: Path, picture: bytes, log: Path, faults: Sequence[Fault], seconds: float, workers: int = 2
) -> Iterator[str]:
    environment = {
        "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": str(DEADLINE),
        "SAGEMAKER_MODEL_SERVER_WORKERS": str(workers),
    }
    with serving(model, log, environment=environment) as server:
        server.wait_until_ready(300)
        first = None
        for fault in faults:
            with calling(server, picture) as load:
                fault(server, seconds)
            left = _left(server, workers)
            first = first or left
            row = load.row((fault.__doc__ or "").rstrip("."), left, first)
            print(row, flush=True)
            yield row


def main() -> None:
    """Run each fault and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="a trained model's directory")
    parser.add_argument("--seconds", type=float, default=20, help="how long each fault lasts")
    chosen = parser.parse_args()
    source, seconds = chosen.model.resolve(), chosen.seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scripted = Path(shutil.copytree(source, folder / "model"))
        (scripted / "code").mkdir()
        (scripted / "code" / "inference.py").write_text(SCRIPT)
        make_pictures(folder / "pictures", {"test": 1})
        picture = next((folder / "pictures").rglob("*.png")).read_bytes()
        rows = [*_rows(scripted, picture, folder / "log", SCRIPTED, seconds)]
        own = [*_rows(source, picture, folder / "log", OWN, seconds)]
        engine = (folder / "log").read_text(encoding="utf-8").partition("Engine: ")[2].partition("\n")[0]
        four = [*_rows(source, picture, folder / "log", OF_FOUR, seconds, workers=4)]
    _write(rows, own, four, engine, seconds)


def _write(scripted: list[str], own: list[str], four: list[str], engine: str, seconds: float) -> None:
    where = "in the image" if doors.ENGINE else "from the virtual environment"
    rows, more, last = "\n".join(scripted), "\n".join(own), "\n".join(four)
    text = f"""# Faults against `serve`

`tests/benchmarks/faults_serving.py`, {where}: two workers, a deadline of {DEADLINE} s, {CALLERS} callers with good
requests that ask without pause while the fault lasts ({seconds:.0f} s each). The columns are what these callers saw;
"holds" is: no status but 200, 503 and 504, every answer within its deadline and {ROOM} s for a busy machine, every
/ping within the {PING} s that SageMaker gives it; and of what is there when all is quiet again, as many processes as
after the row without a fault, no zombie, at most {FILES} open files more and {GROWTH} times the memory. Faults follow
each other in the same server.

## A model with a script of its own, which can hang

{TABLE}{rows}

A worker takes two to four seconds to load: killed every second, two workers have no time to answer, and callers are
told so at once. The few 504 are callers who waited for the whole deadline: in a crowd, or where both workers that hang
are replaced at the same time.

## A model that our own handler answers

{engine}

{TABLE}{more}

## The same with four workers

{TABLE}{last}
"""
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
