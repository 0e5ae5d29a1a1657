"""The output of a training job as `train` leaves it, made on the spot, each part when a test asks for it."""

import csv
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from image_classifier.insight import quality
from image_classifier.insight.predictions import PICTURES, Predictions
from image_classifier.insight.run_facts import Phase, RunFacts
from image_classifier.insight.verdict import Point, Status, Verdict

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "Ring & 'Dots'")
LABELS = ("Circle", "Cross", *HOSTILE, "A class with quite a long name that needs room")
START = 1_790_000_000.0  # Unix seconds
SECONDS = 90
ISSUE, QUIET, BLIND = Status.ISSUE, Status.NO_ISSUE, Status.NOT_EVALUATED


def write_history(data: Path, epochs: int = 12) -> None:
    """Loss falls, accuracy rises, validation is best in the last epoch but one."""
    rows = [
        {
            "epoch": epoch,
            "train_loss": 1.8 * math.exp(-epoch / 4),
            "train_accuracy": 1 - 0.7 * math.exp(-epoch / 4),
            "val_loss": 0.4 + 1.4 * math.exp(-epoch / 3),
            "val_accuracy": 0.85 - 0.5 * math.exp(-epoch / 4) - (0.01 if epoch == epochs else 0.0),
            "epoch_seconds": 5.5,
            "images_per_second": 131.4,
        }
        for epoch in range(1, epochs + 1)
    ]
    with (data / "history.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_predictions(labels: Sequence[str] = LABELS, each: int = 20, right: float = 0.8, seed: int = 0) -> Predictions:
    """Answers to `each` pictures of every class, about `right` of them right, the rest mostly the next class."""
    draw = np.random.default_rng(seed)
    count, ranks = len(labels), min(5, len(labels))
    targets = np.repeat(np.arange(count), each)
    hit = draw.random(len(targets)) < right
    first = np.where(hit, targets, (targets + draw.choice([1, 1, 1, 2], len(targets))) % count)
    choices = np.stack([np.roll(np.arange(count), -number)[:ranks] for number in first])
    sure = 0.5 + 0.49 * draw.random(len(targets)) * np.where(hit, 1.0, 0.8)
    rest = (1 - sure)[:, None] * np.array([0.5**rank for rank in range(1, ranks)])[None]
    losses = -np.log(np.where(hit, sure, (1 - sure) / 2))
    paths = tuple(f"training/test/{labels[target]}/{row:03d}.jpg" for row, target in enumerate(targets))
    return Predictions("test", tuple(labels), paths, targets, choices, np.hstack([sure[:, None], rest]), losses)


def write_predictions(data: Path, said: Predictions) -> None:
    """Predictions, and the pictures that a report shows."""
    said.write(data)
    (data / PICTURES).mkdir(exist_ok=True)
    for row in quality.measure(said).shown():
        draw = random.Random(row)
        colour = tuple(draw.randint(40, 220) for _ in range(3))
        Image.new("RGB", (160, draw.choice((100, 160, 200))), colour).save(data / PICTURES / f"{row}.jpg", quality=80)


def write_facts(data: Path) -> None:
    """`run.json` of a job of 90 seconds."""
    edges = [("reading", 0, 2), ("features", 2, 30), ("epochs", 30, 70), ("test", 70, 84), ("saving", 84, 90)]
    RunFacts(
        architecture="resnet18",
        module="ResNet",
        classes=LABELS,
        class_counts=(40, 40, 40, 40, 40, 20),
        counts={"train": 220, "validation": 60, "test": 120},
        batch_size=16,
        epochs=12,
        device="cpu",
        cores=2,
        hyperparameters={"learning_rate": 0.003, "freeze_backbone": False, "optimizer": "adamw", "epochs": 12},
        versions={"torch": "2.10.0", "smdebug": "1.0.34"},
        phases=tuple(Phase(name=name, start=START + start, end=START + end) for name, start, end in edges),
        seconds={"decode": 31.0, "forward_backward": 38.5, "evaluation": 12.0, "waiting": 4.2},
    ).write(data)


def write_system(profiler: Path, busy: float = 80.0, gpus: int = 0) -> None:
    """Samples of two cores, memory and GPUs, one a second, in the host agent's lines."""
    draw = random.Random(0)
    lines = []
    for second in range(SECONDS):
        near = [max(0.0, min(100.0, busy + draw.gauss(0, 6))) for _ in range(4 + gpus)]
        samples = [("cpu", f"cpu{i}", "CPUUtilization", near[i]) for i in range(2)]
        samples += [("cpu", f"cpu{i}", "I/OWaitPercentage", near[i] / 20) for i in range(2)]
        samples += [("memory", "MemoryUsedPercent", "Memory", 30 + second / 6)]
        samples += [("network", "ReceiveBytesPerSecond", "Algorithm", 1e6 * (second % 5))]
        samples += [("gpu", f"gpu{i}", "GPUUtilization", near[4 + i] / 2) for i in range(gpus)]
        samples += [("gpu", f"gpu{i}", "GPUMemoryUtilization", 55.0) for i in range(gpus)]
        lines += [
            {
                "Type": kind,
                "Name": name,
                "Dimension": what,
                "Value": value,
                "NodeId": "algo-1",
                "Timestamp": START + second,
            }
            for kind, name, what, value in samples
        ]
    path = profiler / "system" / "incremental" / f"{START:.0f}.algo-1.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")


def write_timeline(profiler: Path, steps: int = 150) -> None:
    """Training steps of 0.2 s, 0.15 s of it forward, after waits of 0.05 s; then steps of evaluation."""
    phases = ("Step:ModeKeys.TRAIN", "Forward", "DataLoaderIter", "Step:ModeKeys.EVAL")
    events = [{"name": "process_name", "ph": "M", "pid": 0, "args": {"start_time_since_epoch_in_micros": START * 1e6}}]
    events += [{"name": "process_name", "ph": "M", "pid": i, "args": {"name": name}} for i, name in enumerate(phases)]

    def event(phase: int, start: float, duration: float) -> None:
        micros = {"ts": start * 1e6, "dur": duration * 1e6}
        events.append({"name": phases[phase], "pid": phase, "ph": "X", **micros, "args": {"pid": 7, "step_num": "0"}})

    for step in range(steps):
        start = 30 + step * 0.25
        event(2, start, 0.05)
        event(0, start + 0.05, 0.2)
        event(1, start + 0.06, 0.15)
    for step in range(20):
        start = 70 + step * 0.6
        event(2, start, 0.5)
        event(3, start + 0.5, 0.1)
        event(1, start + 0.5, 0.09)
    path = profiler / "framework" / "pevents" / "2026092200" / f"{START * 1e6:.0f}_7-algo-1_pythontimeline.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[\n" + ",\n".join(json.dumps(each) for each in events) + "\n]", encoding="utf-8")


def verdict(rule: str = "Overfit", status: Status = ISSUE, **more: object) -> Verdict:
    """A verdict that does not contradict itself, with points of three layers over ten steps."""
    fires = status is ISSUE
    points = tuple(
        Point(step, step / 100 + number / 10, f"layer{number}.weight", fires and step / 100 + number / 10 > 0.5)
        for number in range(3)
        for step in range(0, 50, 5)
    )
    broken = sum(point.broken for point in points)
    values: dict[str, object] = {
        "reason": f"the largest ratio is {0.64 if fires else 0.34:.2f}, the threshold 0.50",
        "value": 0.64 if fires else 0.34,
        "threshold": 0.5,
        "violations": broken,
        "datapoints": len(points),
        "points": points if status is not BLIND else (),
        "parameters": {"ratio_threshold": 0.5, "patience": 3},
        "meaning": "It compares the losses of validation and training.",
        "advice": "Add data or augmentation, or stop earlier.",
        "source": "Amazon SageMaker Debugger, list of built-in rules",
        **more,
    }
    if status is BLIND:
        values |= {"reason": "no gradients were recorded", "value": None, "violations": 0, "datapoints": 0}
    return Verdict(rule=rule, status=status, **values)  # type: ignore[arg-type]


def verdicts() -> list[Verdict]:
    """One of each kind and status, and a few more."""
    return [
        verdict(),
        *(verdict(rule, QUIET) for rule in ("VanishingGradient", "ExplodingTensor", "DeadRelu")),
        verdict("TensorVariance", BLIND),
        verdict("LowGPUUtilization", BLIND, kind="profiler"),
        verdict("CPUBottleneck", QUIET, kind="profiler"),
    ]


def write_job(output: Path) -> Path:
    """Everything but tensors; gives the folder of tables."""
    data = output / "data"
    data.mkdir(parents=True)
    write_history(data)
    write_predictions(data, make_predictions())
    write_facts(data)
    write_system(data / "debug" / "profiler")
    write_timeline(data / "debug" / "profiler")
    return data


# Trains a small network under smdebug, which keeps state in its module: run it in a Python of its own.
TENSORS = """
import sys
import smdebug.pytorch as smd
import torch
from torch import nn

torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 8), nn.Linear(8, 3))
loss = nn.CrossEntropyLoss()
kinds = ["weights", "biases", "gradients", "losses"]
hook = smd.Hook(sys.argv[1], save_config=smd.SaveConfig(save_interval=1), include_collections=kinds)
hook.register_module(network)
hook.register_loss(loss)
hook.set_mode(smd.modes.TRAIN)
optimizer = torch.optim.SGD(network.parameters(), 0.05)
for _ in range(8):
    optimizer.zero_grad()
    loss(network(torch.randn(8, 3, 8, 8)), torch.randint(3, (8,))).backward()
    optimizer.step()
hook.close()
"""


def many_points(subjects: int = 60, steps: int = 30) -> tuple[Point, ...]:
    """Points of many layers over many steps."""
    return tuple(
        Point(step, 10.0 ** (-7 * number / subjects) + step, f"layer{number}.conv1.weight", step + number > 80)
        for number in range(subjects)
        for step in range(steps)
    )
