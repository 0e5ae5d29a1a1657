"""What the Debugger's hook costs a training step: no hook, stock smdebug and ours, interleaved.

    python tests/benchmarks/hook_overhead.py --steps 300

ResNet-18, frozen and unfrozen, batch 8, 64 px, one thread. The kinds take turns step by step, in random order, so
whatever else the machine does meets all of them alike; ratios are of each round's steps, and the median of them is
reported. Saving steps are rare in every kind but "losses every step": means show them, medians do not.
Writes hook_overhead.md.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
os.environ.setdefault("SMDEBUG_LOG_LEVEL", "error")

import torch
from torch import nn
from torchvision import models

RESULT = Path(__file__).with_suffix(".md")
BATCH, SIDE, CLASSES = 8, 64, 10
LOSSES = {"CollectionConfigurations": [{"CollectionName": "losses", "CollectionParameters": {"save_interval": "1"}}]}
LIMITS = {"ours, light": 1.005, "ours, losses every step": 1.02}


@dataclass
class Kind:
    """One way to train, and how long its steps took."""

    module: nn.Module
    loss: nn.Module
    step: Callable[[], AbstractContextManager[Any]]
    close: Callable[[], object] = lambda: None
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.SGD([p for p in self.module.parameters() if p.requires_grad], lr=1e-4)

    def train(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take one step and measure it."""
        wall, cpu = time.perf_counter(), time.process_time()
        with self.step():
            loss = self.loss(self.module(inputs), targets)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        float(loss.detach())
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


def network(frozen: bool) -> nn.Module:
    """The same weights every time."""
    torch.manual_seed(0)
    module: nn.Module = models.resnet18(num_classes=CLASSES)
    if frozen:
        module.requires_grad_(False)
        module.fc.requires_grad_(True)
        module.eval()
    return module


def plain(frozen: bool) -> Kind:
    """No hook."""
    return Kind(network(frozen), nn.CrossEntropyLoss(), nullcontext)


def stock(frozen: bool, folder: Path, config: dict[str, Any]) -> Kind:
    """smdebug as its documentation says."""
    import smdebug.pytorch as smd

    path = folder / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"LocalPath": str(folder / "tensors"), **config}), encoding="utf-8")
    hook = smd.Hook.create_from_json_file(str(path))
    kind = Kind(network(frozen), nn.CrossEntropyLoss(), nullcontext)
    hook.register_module(kind.module)
    hook.register_loss(kind.loss)
    hook.set_mode(smd.modes.TRAIN)
    kind.close = hook.close
    return kind


def ours(frozen: bool, folder: Path, config: dict[str, Any]) -> Kind:
    """The image's hook; light without a configuration."""
    from image_classifier.contract import Layout
    from image_classifier.insight import hook

    if config:
        (folder / "input/config").mkdir(parents=True)
        (folder / "input/config/debughookconfig.json").write_text(json.dumps(config), encoding="utf-8")
    made = hook.create(Layout(folder), hook.Wishes())
    kind = Kind(network(frozen), nn.CrossEntropyLoss(), lambda: made.step(training=True), made.close)
    made.start(kind.module, kind.loss, hook.Course(steps=1000, evaluation_steps=10, epochs=5))
    return kind


def measure(frozen: bool, steps: int, folder: Path) -> dict[str, Kind]:
    """Train all kinds, turn by turn."""
    kinds = {
        "no hook": plain(frozen),
        "no hook again": plain(frozen),
        "stock, default": stock(frozen, folder / "a", {}),
        "stock, losses every step": stock(frozen, folder / "b", LOSSES),
        "ours, light": ours(frozen, folder / "c", {}),
        "ours, losses every step": ours(frozen, folder / "d", LOSSES),
    }
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
    targets = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    order = list(kinds.values())
    shuffle = random.Random(0).shuffle  # or one kind would always pay for what another left to its threads
    for _ in range(steps):
        shuffle(order)
        for kind in order:
            kind.train(inputs, targets)
    for kind in order:
        kind.close()
    return kinds


def table(frozen: bool, kinds: dict[str, Kind]) -> list[str]:
    """Rows of the result."""
    base = kinds["no hook"]
    step = f"{1000 * statistics.median(base.wall):.0f} ms wall, {1000 * statistics.median(base.cpu):.0f} ms of CPU"
    lines = [
        f"## {'Frozen backbone' if frozen else 'Unfrozen'}: a step without a hook takes {step}",
        "",
        "| kind | median CPU ratio (quartiles) | median wall ratio | mean CPU ratio | limit |",
        "|---|---|---|---|---|",
    ]
    for name, kind in kinds.items():
        ratios = [mine / other for mine, other in zip(kind.cpu, base.cpu, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        wall = statistics.median(mine / other for mine, other in zip(kind.wall, base.wall, strict=True))
        limit = LIMITS.get(name, "")
        lines.append(
            f"| {name} | {middle:.4f} ({low:.3f} to {high:.3f}) | {wall:.4f} "
            f"| {sum(kind.cpu) / sum(base.cpu):.4f} | {limit} |"
        )
    return [*lines, ""]


def alone(folder: Path, steps: int = 1000) -> list[str]:
    """Rows of what the hook takes by itself: steps that do nothing but call the loss, which noise hardly reaches."""
    kinds = {
        "no hook": plain(True),
        "ours, light": ours(True, folder / "a", {}),
        "ours, losses every step": ours(True, folder / "b", LOSSES),
    }
    logits, targets = torch.randn(BATCH, CLASSES), torch.randint(0, CLASSES, (BATCH,))
    lines = ["## The hook alone: a step that only calls the loss", "", "| kind | median, microseconds |", "|---|---|"]
    for name, kind in kinds.items():
        times = []
        for _ in range(steps):
            started = time.perf_counter()
            with kind.step():
                kind.loss(logits, targets)
            times.append(time.perf_counter() - started)
        kind.close()
        lines.append(f"| {name} | {1e6 * statistics.median(times):.0f} |")
    return [*lines, ""]


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="steps of each kind")
    parser.add_argument("--recipes", nargs="*", default=["frozen", "unfrozen"], help="frozen, unfrozen, or both")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    command = f"`python tests/benchmarks/hook_overhead.py --steps {chosen.steps}`"
    load = f"On {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f} at the start."
    lines = ["# What the Debugger's hook costs a step", "", f"Made by {command}. {load}", ""]
    for recipe in chosen.recipes:
        with tempfile.TemporaryDirectory() as folder:
            lines += table(recipe == "frozen", measure(recipe == "frozen", chosen.steps, Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        lines += alone(Path(folder))
    RESULT.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
