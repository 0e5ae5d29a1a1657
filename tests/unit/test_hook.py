"""The Debugger hook: what it writes, what it leaves alone, and that it never ends a job.

smdebug keeps state in its module, so whatever imports it runs in a Python of its own.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from image_classifier.contract import Layout
from image_classifier.insight import hook

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Trains a small module through the loop, with the hook that the base directory asks for.
TRAIN = """
import json, logging, sys, time
from pathlib import Path
import torch
from torch import nn
from image_classifier.contract import Layout, Settings
from image_classifier.insight import hook
from image_classifier.training.checkpoint import Checkpoints
from image_classifier.training.evaluation import Evaluator
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.loop import Trainer
from image_classifier.training.sources import FeatureSource
from image_classifier.training.stopping import Stop

logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
layout = Layout(Path(sys.argv[1]))
torch.manual_seed(0)
module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
data = FeatureSource(torch.randn(1, 8, 4), torch.tensor([0, 1] * 4))
stop = Stop()
trainer = Trainer(
    module=module, train=data, validation=data, class_counts=(4, 4), chosen=Hyperparameters(epochs=2, batch_size=4),
    evaluator=Evaluator(torch.device("cpu"), 4, stop), checkpoints=Checkpoints(layout.base / "checkpoints", "k"),
    hook=hook.create(layout, hook.Wishes(**json.loads(sys.argv[2])), Settings.from_environment().use_smdebug),
    stop=stop, set_mode=module.train,
)
trainer.fit()
trainer.hook.close()
module(torch.zeros(1, 4))  # a closed hook must not be in the way
print("hook:", type(trainer.hook).__name__, "smdebug:", "smdebug" in sys.modules, "epochs:", trainer.progress.epoch)
"""
READ = """
import json, sys
from smdebug import modes
from smdebug.trials import create_trial
trial = create_trial(sys.argv[1])
answer = {}
for mode in (modes.TRAIN, modes.EVAL):
    answer[mode.name] = {
        name: {step: trial.tensor(name).value(step, mode=mode).tolist() for step in trial.tensor(name).steps(mode=mode)}
        for name in trial.tensor_names(mode=mode)
    }
print("answer:" + json.dumps(answer))
"""
LOSS = "CrossEntropyLoss_output_0"
Tensors = dict[str, dict[str, dict[str, Any]]]  # mode, name, step


def configure(base: Path, **content: object) -> Path:
    """Ask for the hook as the platform does."""
    folder = base / "input" / "config"
    folder.mkdir(parents=True, exist_ok=True)
    losses = {"CollectionName": "losses", "CollectionParameters": {"save_interval": "1"}}
    config = {
        "S3OutputPath": "s3://bucket/prefix",
        "LocalPath": str(base / "output" / "tensors"),
        "HookParameters": None,
        "CollectionConfigurations": [losses],
        **content,
    }
    (folder / "debughookconfig.json").write_text(json.dumps(config), encoding="utf-8")
    return base / "output" / "tensors"


def last_line(result: "subprocess.CompletedProcess[str]") -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip().splitlines()[-1]


def train(python: Run, base: Path, wishes: dict[str, Any] | None = None, **environ: str) -> str:
    """Train with the hook; what was printed."""
    result = python("-c", TRAIN, str(base), json.dumps(wishes or {}), **environ)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    return result.stdout


def read(python: Run, folder: Path) -> Tensors:
    """All tensors, as smdebug itself reads them."""
    result = python("-c", READ, str(folder))
    assert result.returncode == 0, result.stderr
    return dict(json.loads(next(line for line in result.stdout.splitlines() if line.startswith("answer:"))[7:]))


@pytest.mark.parametrize(
    ("wishes", "environ"), [({"debug": "off"}, {}), ({}, {"USE_SMDEBUG": "false"}), ({}, {"USE_SMDEBUG": "0"})]
)
def test_switched_off_smdebug_is_not_imported(
    tmp_path: Path, python: Run, wishes: dict[str, Any], environ: dict[str, str]
) -> None:
    tensors = configure(tmp_path)
    assert train(python, tmp_path, wishes, **environ).endswith("hook: NoHook smdebug: False epochs: 2\n")
    assert not tensors.exists()
    assert not (tmp_path / "output").exists()


def test_with_a_configuration_losses_of_both_modes_can_be_read_back(tmp_path: Path, python: Run) -> None:
    tensors = configure(tmp_path)
    printed = train(python, tmp_path)
    assert printed.endswith("hook: WatchingHook smdebug: True epochs: 2\n")
    assert "SageMaker Debugger: hook on" in printed
    assert " off" not in printed
    found = read(python, tensors)
    assert {name: set(steps) for name, steps in found["TRAIN"].items()} == {LOSS: set("0123")}  # two epochs of two
    assert {name: set(steps) for name, steps in found["EVAL"].items()} == {LOSS: set("0123")}
    assert all(0 < loss < 5 for mode in found.values() for loss in mode[LOSS].values())


def test_without_a_configuration_light_saves_losses_labels_predictions_and_summaries(
    tmp_path: Path, python: Run
) -> None:
    printed = train(python, tmp_path)
    assert " off" not in printed
    found = read(python, tmp_path / "output/data/debug/tensors")
    names = ["0.weight", "0.bias", "2.weight", "2.bias"]
    kinds = ["weight", "gradient", "update"]
    assert set(found["TRAIN"]) == {
        LOSS,
        "CrossEntropyLoss_input_0",
        "CrossEntropyLoss_input_1",
        "statistics/activity/1",
        "statistics/activation/1",
        "statistics/input/Sequential",
        "statistics/training/Sequential",
        "statistics/loss/CrossEntropyLoss",
        *(f"statistics/{kind}/{name}" for kind in kinds for name in names),
    }
    assert set(found["TRAIN"][LOSS]) == set("0123")
    assert set(found["TRAIN"]["CrossEntropyLoss_input_1"]["0"]) <= {0, 1}
    assert set(found["EVAL"][LOSS]) == set("0123")
    count, nan, *_ = found["TRAIN"]["statistics/gradient/2.weight"]["3"]
    assert (count, nan) == (16, 0)
    series = found["TRAIN"]["statistics/loss/CrossEntropyLoss"]
    assert {step: rows[0][0] for step, rows in series.items()} == {"0": 0, "1": 1, "2": 2, "3": 3}
    assert series["2"][0][1] == pytest.approx(found["TRAIN"][LOSS]["2"])


def test_full_saves_the_tensors_themselves(tmp_path: Path, python: Run) -> None:
    train(python, tmp_path, {"debug": "full", "debug_interval": 2})
    found = read(python, tmp_path / "output/data/debug/tensors")
    assert set(found["TRAIN"][LOSS]) == set("0123")
    for name in ("Sequential_0.weight", "gradient/Sequential_2.bias", "1_input_0", "1_output_0", "Sequential_input_0"):
        assert set(found["TRAIN"][name]) == set("02"), name
    before, after = (np.array(found["TRAIN"][f"1_{side}_0"]["0"]) for side in ("input", "output"))
    assert np.array_equal(after, before.clip(min=0))
    assert (before < 0).any()


def test_marks_and_tensors_of_an_earlier_run_are_not_in_the_way(tmp_path: Path, python: Run) -> None:
    tensors = configure(tmp_path)
    (tensors / "events/000000000099").mkdir(parents=True)
    for name in ("claim.smd", "training_job_end.ts"):
        (tensors / name).write_text("old")
    assert " off" not in train(python, tmp_path)
    assert sorted(path.name for path in (tensors / "events").iterdir()) == [f"{step:012}" for step in range(8)]


def test_a_resumed_job_goes_on_counting_and_keeps_what_is_there(tmp_path: Path, python: Run) -> None:
    tensors = configure(tmp_path)
    one_epoch = TRAIN.replace("epochs=2", "epochs=1")
    assert python("-c", one_epoch, str(tmp_path), "{}").returncode == 0
    checkpoint = next((tmp_path / "checkpoints").glob("*.pt"))  # of a longer job: another key in a real one
    (tmp_path / "input/config/checkpointconfig.json").write_text(json.dumps({"LocalPath": str(checkpoint.parent)}))
    first = {path: path.read_bytes() for path in tensors.glob("events/*/*")}
    assert len(first) == 4
    train(python, tmp_path)
    assert all(path.read_bytes() == content for path, content in first.items())
    assert set(read(python, tensors)["TRAIN"][LOSS]) == set("0123")
    assert not (checkpoint.parent / "metadata.json").exists()


def test_tensors_go_to_the_default_place_when_none_is_named(tmp_path: Path, python: Run) -> None:
    tensors = configure(tmp_path, LocalPath=None)
    train(python, tmp_path)
    assert list(tensors.glob("events/*/*.tfevents"))


# the first fails where the hook is made, the second where a step is written
@pytest.mark.parametrize("path", ["/dev/null/tensors", "/proc/tensors"])
def test_a_place_that_cannot_be_written_switches_the_hook_off_in_one_line(
    tmp_path: Path, python: Run, path: str
) -> None:
    configure(tmp_path, LocalPath=path)
    check_off(train(python, tmp_path))


def check_off(printed: str) -> None:
    """Training went to its end, and one line says that the hook is off, and why."""
    assert printed.endswith("epochs: 2\n")
    off = [line for line in printed.splitlines() if line.startswith("SageMaker Debugger: hook off (")]
    assert len(off) == 1


def test_a_configuration_smdebug_does_not_understand_switches_the_hook_off(tmp_path: Path, python: Run) -> None:
    configure(tmp_path, CollectionConfigurations=[{"CollectionName": "mine", "CollectionParameters": None}])
    check_off(train(python, tmp_path))


def test_collections_that_rules_ask_for_need_no_expressions(tmp_path: Path, python: Run) -> None:
    names = ("labels", "predictions", "inputs", "relu_input")
    collections = [{"CollectionName": name, "CollectionParameters": None} for name in names]
    tensors = configure(tmp_path, CollectionConfigurations=collections)
    assert " off" not in train(python, tmp_path)
    assert set(read(python, tensors)["TRAIN"]) == {
        LOSS,
        "CrossEntropyLoss_input_0",
        "CrossEntropyLoss_input_1",
        "Sequential_input_0",
        "1_input_0",
    }


def test_no_hook_hears_everything_and_does_nothing(tmp_path: Path) -> None:
    made = hook.create(Layout(tmp_path), hook.Wishes(debug="off"))
    assert isinstance(made, hook.NoHook)
    made.start(nn.Linear(1, 1), nn.CrossEntropyLoss(), hook.Course(1, 1, 1))
    with made.step(training=True):
        pass
    assert list(made.batches([1, 2])) == [1, 2]
    assert made.end_epoch({"epoch": 1}) is None
    made.close()
