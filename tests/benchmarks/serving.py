"""`serve` against the common servers and against the floor: same network, same pictures, interleaved rounds.

Usage: make bench BENCH=serving ARGS="--architecture resnet50 --rounds 4"; prints a table in Markdown. The network has
random weights: its speed is that of any. The first run makes the peers' virtual environment, which takes minutes.
"""

import argparse
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
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


def as_form(body: bytes) -> tuple[bytes, str]:
    """A picture as BentoML takes it."""
    head = (
        b'--edge\r\nContent-Disposition: form-data; name="body"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    return head + body + b"\r\n--edge--\r\n", "multipart/form-data; boundary=edge"


def bodies_for(server: servers.Server, photos: Sequence[Path]) -> list[tuple[bytes, str]]:
    pictures = [path.read_bytes() for path in photos]
    return [as_form(body) if server.form else (body, "image/jpeg") for body in pictures]


Way = Callable[[int, float], Seen]


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
        seen = Seen(lasted=seconds)
        for process in working:
            assert process.stdout
            count, median = process.stdout.readline().split()
            seen.seconds += [float(median)] * int(count)
        return seen

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
            bodies = bodies_for(server, photos)
            log = OUT / f"{server.port}.log"
            started = stack.enter_context(servers.running(server, model, log, bodies[0]))
            print(f"{server.name}: answers after {started.answered:.1f} s", file=sys.stderr, flush=True)
            ways[server.name] = partial(load, server.port, server.path, bodies)
            ways[server.name](2, 2.0)
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
    naive = rows["naive on MMS"]
    lines = [
        "| server | 1 caller: p50 | times lower | 8 callers: a second | times naive | p50 | p99 | start: ping / answer "
        "| memory a worker |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        alone = [b.p50 / a.p50 for a, b in zip(row.stretches[1], naive.stretches[1], strict=True)]
        together = [a.rate / b.rate for a, b in zip(row.stretches[8], naive.stretches[8], strict=True)]
        lines.append(
            f"| {name} | {row.median(1, lambda s: s.p50) * 1000:.1f} ms | {statistics.median(alone):.2f} "
            f"| {row.median(8, lambda s: s.rate):.1f} | {statistics.median(together):.2f} "
            f"| {row.median(8, lambda s: s.p50) * 1000:.0f} ms | {row.median(8, lambda s: s.p99) * 1000:.0f} ms "
            f"| {row.start} s | {row.memory} MiB |"
        )
    for kind in KINDS:
        shares = zip(rows[f"ours, {kind}"].stretches[8], rows[f"floor, {kind}"].stretches[8], strict=True)
        lines.append(f"\nShare of the floor, {kind}: {statistics.median(a.rate / b.rate for a, b in shares):.0%}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    rows = compare(options)
    print(f"\n{options.architecture}, {machine.cores()} cores, {options.rounds} rounds of {options.seconds} s\n")
    print(table(rows))


if __name__ == "__main__":
    main()
