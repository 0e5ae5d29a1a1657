"""Output of a training job as a test wants it: tensors by smdebug's own writer, profiler files in AWS's forms."""

import csv
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")  # smdebug's messages need it

import numpy as np
import torch

from image_classifier.insight import judge, statistics
from image_classifier.insight.rules.registry import named
from image_classifier.insight.rules.rule import Profile
from image_classifier.insight.run import Run
from image_classifier.insight.run_facts import RunFacts
from image_classifier.insight.verdict import Status, Verdict

START = 1_700_000_000.0


@cache
def _smdebug() -> tuple[Any, Any]:
    """smdebug's modes and writer; its messages are made in a way that protobuf warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from smdebug.core.modes import ModeKeys
        from smdebug.core.writer import FileWriter
    return ModeKeys, FileWriter


class Job:
    """A directory that is filled as a job would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        folder.mkdir(parents=True, exist_ok=True)

    def step(self, tensors: Mapping[str, Any], mode: str = "TRAIN") -> "Job":
        """Save tensors in the next step."""
        ModeKeys, FileWriter = _smdebug()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of how smdebug asks for bytes
            writer = FileWriter(trial_dir=str(self.folder / "tensors"), step=self.count, worker="worker_0")
            for name, value in tensors.items():
                writer.write_tensor(tdata=np.asarray(value), tname=name, mode=ModeKeys[mode], mode_step=self.count)
            writer.close()
        self.count += 1
        return self

    def steps(self, *each: Mapping[str, Any], mode: str = "TRAIN") -> "Job":
        """Save several steps."""
        for tensors in each:
            self.step(tensors, mode)
        return self

    def facts(self, **values: Any) -> "Job":
        """Write run.json."""
        RunFacts(**values).write(self.folder / "data")
        return self

    def history(self, *rows: Sequence[float]) -> "Job":
        """Write history.csv: rows of train_loss, train_accuracy, val_loss, val_accuracy."""
        (self.folder / "data").mkdir(exist_ok=True)
        with (self.folder / "data" / "history.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"])
            writer.writerows([number, *row] for number, row in enumerate(rows, 1))
        return self

    def samples(self, series: Mapping[tuple[str, str], Sequence[float]], every: float = 0.5) -> "Job":
        """Write system metrics: {(dimension, name): values}."""
        file = self.folder / "profiler" / "system" / "incremental" / "2023111422" / "28333333.algo-1.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as lines:
            for (dimension, name), values in series.items():
                for number, value in enumerate(values):
                    stamp = START + number * every
                    line = {"Type": name, "Name": name, "Dimension": dimension, "Value": value, "NodeId": "algo-1"}
                    lines.write(json.dumps({**line, "Timestamp": stamp}) + "\n")
        return self

    def events(self, *events: tuple[str, float, float, int]) -> "Job":
        """Write the timeline: (phase, start after the job's, seconds, process)."""
        file = self.folder / "profiler" / "framework" / "pevents" / "2023111422" / "1_1-algo-1_pythontimeline.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        phases = {phase: number for number, phase in enumerate(dict.fromkeys(event[0] for event in events))}
        base = {"name": "process_name", "ph": "M", "pid": 0, "args": {"start_time_since_epoch_in_micros": START * 1e6}}
        names = [{"name": "process_name", "ph": "M", "pid": n, "args": {"name": name}} for name, n in phases.items()]
        lines = [
            {"name": p, "pid": phases[p], "ph": "X", "ts": at * 1e6, "dur": long * 1e6, "args": {"pid": process}}
            for p, at, long, process in events
        ]
        file.write_text("[\n" + ",\n".join(json.dumps(line) for line in [base, *names, *lines]) + "\n]")
        return self

    def verdict(self, rule: str, profile: Profile = "tuned", other: "Job | None" = None) -> Verdict:
        """What one rule says about this job."""
        run = Run.open(self.folder, other.folder if other else None)
        return judge.verdict(named([rule])[0], run, profile)

    def says(self, rule: str, profile: Profile = "tuned", other: "Job | None" = None) -> Status:
        """The verdict in a word; a rule that could not look must have a reason, and never an error."""
        verdict = self.verdict(rule, profile, other)
        assert verdict.reason.endswith(".")
        assert "the rule failed" not in verdict.reason, verdict.reason
        return verdict.status


def summary(values: Any) -> Any:
    """The summary that debug=light saves in place of a tensor."""
    return statistics.summarize(torch.as_tensor(np.asarray(values, dtype=np.float32))).numpy()


def noise(*shape: int, scale: float = 1.0, seed: int = 0) -> Any:
    """Normal numbers, float32."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)
