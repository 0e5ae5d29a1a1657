"""`serve` against the common servers and against the floor: same network, same pictures, interleaved rounds.

Usage: make bench BENCH=serving ARGS="--architecture resnet50 --rounds 4"; prints a table in Markdown. The network has
random weights: its speed is that of any. The first run makes the peers' virtual environment, which takes minutes.
The callers are `wrk` (`apt-get install wrk`): callers in Python would take a good part of the servers' cores.
"""

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from peers import servers
from peers.load import Seen, load
from PIL import Image

from image_classifier import artifact, machine, networks
from image_classifier.artifact import Config
from image_classifier.config import Preprocessing
from image_classifier.training.compiling import compile_artifact
from image_classifier.training.dataset import Split
from image_classifier.training.sources import PictureSource
from image_classifier.training.stopping import Stop
from sample_pictures import make_pictures

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = ROOT / "out" / "bench-serving"
PHOTOS = ROOT.parent / "shared" / "data" / "grocery81" / "test"
KINDS = ("int8", "fp32", "eager")
CALLERS = (1, 8)
PORT = 18700


@dataclass
class Row:
    """All that was measured of one server."""

    stretches: dict[int, list[Seen]] = field(default_factory=lambda: {callers: [] for callers in CALLERS})
    start: str = "-"
    memory: str = "-"

    def median(self, callers: int, value: Callable[[Seen], float]) -> float:
        return statistics.median(value(seen) for seen in self.stretches[callers])


def make_photos(count: int) -> list[Path]:
    """JPEG pictures of 500 x 375: photos where they are there, else drawn ones."""
    folder = OUT / "photos"
    if not folder.exists():
        found = sorted(PHOTOS.rglob("*.jpg"))
        if not found:
            make_pictures(OUT / "drawn", {"test": 20})
            found = sorted((OUT / "drawn").rglob("*.png"))
        folder.mkdir(parents=True)
        for number, path in enumerate(random.Random(0).sample(found, min(count, len(found)))):
            image = Image.open(path).convert("RGB").resize((500, 375), Image.Resampling.BICUBIC)
            image.save(folder / f"{number:03}.jpg", quality=90)
    return sorted(folder.iterdir())


def make_artifact(architecture: str, photos: Sequence[Path]) -> Path:
    """An artifact with random weights and 100 classes, and its compiled variants."""
    folder = OUT / architecture
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        config = Config(
            architecture=architecture,
            classes=tuple(f"class {number}" for number in range(100)),
            preprocessing=Preprocessing(),
        )
        artifact.save(folder, networks.build(architecture, 100), config)
        source = PictureSource(Split(tuple(photos), (0,) * len(photos)), config.preprocessing, 10**8, 2)
        compile_artifact(folder, source, source, Stop())
    return folder


def make_forms(photos: Sequence[Path]) -> list[Path]:
    """The pictures as BentoML takes them."""
    head = (
        b'--edge\r\nContent-Disposition: form-data; name="body"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    folder = OUT / "forms"
    folder.mkdir(exist_ok=True)
    for path in photos:
        (folder / path.name).write_bytes(head + path.read_bytes() + b"\r\n--edge--\r\n")
    return [folder / path.name for path in photos]


Way = Callable[[int, float], Seen]


def asking(server: servers.Server, running: servers.Running, photos: Sequence[Path]) -> Way:
    """Load on a server, and what CPU time it takes."""
    bodies = make_forms(photos) if server.form else photos

    def measure(callers: int, seconds: float) -> Seen:
        before = running.cpu()
        seen = load(server.port, server.path, bodies, server.media_type, callers, seconds)
        return replace(seen, server_cpu=running.cpu() - before)

    return measure


class Floor:
    """The same work in one process a core, without a server."""

    def __init__(self, model: Path, kind: str, photos: Sequence[Path]) -> None:
        words = [sys.executable, str(servers.PEERS / "floor.py"), str(model), kind, "1", *map(str, photos)]
        self._processes = [
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(machine.cores())
        ]
        for process in self._processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"

    def measure(self, callers: int, seconds: float) -> Seen:
        """With one caller one process works, with more all do."""
        working = self._processes[: min(callers, len(self._processes))]
        for process in working:
            assert process.stdin
            print(seconds, file=process.stdin, flush=True)
        told = []
        for process in working:
            assert process.stdout
            told.append(json.loads(process.stdout.readline()))
        count, p50, p99, cpu = (statistics.fmean(one[name] for one in told) for name in ("count", "p50", "p99", "cpu"))
        total = count * len(told)
        return Seen(int(total), total / seconds, p50, p99, server_cpu=cpu * len(told))

    def close(self) -> None:
        for process in self._processes:
            process.communicate("")


def compare(options: argparse.Namespace) -> dict[str, Row]:
    """Start all; then in each round measure each in a random order."""
    photos = make_photos(64)
    model = make_artifact(options.architecture, photos)
    chosen = [servers.ours(model, OUT, PORT + 10 * at, kind) for at, kind in enumerate(KINDS)]
    chosen.append(servers.stock_mms(OUT, PORT + 40))
    if not options.no_peers:
        python = servers.make_peers(OUT / "peers")
        chosen += [servers.torchserve(python, OUT, PORT + 50), *servers.python_peers(python, PORT + 60)]
    rows = {server.name: Row() for server in chosen}
    with ExitStack() as stack:
        ways: dict[str, Way] = {}
        for server in chosen:
            log, body = OUT / f"{server.port}.log", (make_forms(photos) if server.form else photos)[0]
            started = stack.enter_context(servers.running(server, model, log, body))
            print(f"{server.name}: answers after {started.answered:.1f} s", file=sys.stderr, flush=True)
            ways[server.name] = asking(server, started, photos)
            ways[server.name](2, 3.0)  # Java compiles what it has seen a few hundred times
            rows[server.name].start = f"{started.pinged:.1f} / {started.answered:.1f}"
            rows[server.name].memory = f"{started.memory():.0f}"
        for kind in KINDS:
            floor = Floor(model, kind, photos)
            stack.callback(floor.close)
            ways[f"floor, {kind}"], rows[f"floor, {kind}"] = floor.measure, Row()
        measure(options, ways, rows)
    return rows


def measure(options: argparse.Namespace, ways: Mapping[str, Way], rows: dict[str, Row]) -> None:
    order = random.Random(0)
    for turn in range(options.rounds):
        for callers in CALLERS:
            for name in order.sample(sorted(ways), len(ways)):
                seen = ways[name](callers, options.seconds)
                assert not seen.bad, f"{name}: {seen.bad} bad answers"
                rows[name].stretches[callers].append(seen)
        print(f"round {turn + 1} of {options.rounds}", file=sys.stderr, flush=True)


def table(rows: Mapping[str, Row]) -> str:
    """Medians over the rounds, and ratios to the naive handler of the same round."""
    lines = [
        "| server | 1 caller: p50 | times lower | 8 callers: a second | times naive | p50 | p99 | CPU a picture "
        "| start: ping / answer | memory a worker |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_line(name, row, rows["naive on MMS"]) for name, row in rows.items()),
    ]
    for kind in KINDS:
        shares = zip(rows[f"ours, {kind}"].stretches[8], rows[f"floor, {kind}"].stretches[8], strict=True)
        lines.append(f"\nShare of the floor, {kind}: {statistics.median(a.rate / b.rate for a, b in shares):.0%}")
    callers = max(row.median(8, lambda seen: seen.callers_cpu) for row in rows.values())
    lines.append(f"\nThe callers took at most {callers:.2f} cores.")
    return "\n".join(lines)


def _line(name: str, row: Row, naive: Row) -> str:
    alone = [b.p50 / a.p50 for a, b in zip(row.stretches[1], naive.stretches[1], strict=True)]
    together = [a.rate / b.rate for a, b in zip(row.stretches[8], naive.stretches[8], strict=True)]
    return (
        f"| {name} | {row.median(1, lambda seen: seen.p50) * 1000:.1f} ms | {statistics.median(alone):.2f} "
        f"| {row.median(8, lambda seen: seen.rate):.1f} | {statistics.median(together):.2f} "
        f"| {row.median(8, lambda s: s.p50) * 1000:.0f} ms | {row.median(8, lambda s: s.p99) * 1000:.0f} ms "
        f"| {row.median(8, lambda seen: seen.server_cpu / seen.count) * 1000:.1f} ms "
        f"| {row.start} s | {row.memory} MiB |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves no server behind
    rows = compare(options)
    print(f"\n{options.architecture}, {machine.cores()} cores, {options.rounds} rounds of {options.seconds} s\n")
    print(table(rows))


if __name__ == "__main__":
    main()
