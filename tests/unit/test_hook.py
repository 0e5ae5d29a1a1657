"""The Debugger hook: nothing without a configuration, real tensors with one, and never the end of a job.

smdebug keeps state in its module, so whatever imports it runs in a Python of its own.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

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
    module=module, train=data, validation=data, num_classes=2, chosen=Hyperparameters(epochs=2, batch_size=4),
    evaluator=Evaluator(torch.device("cpu"), 4, stop), checkpoints=Checkpoints(layout.base / "checkpoints", "k"),
    hook=hook.create(layout, Settings.from_environment().use_smdebug), stop=stop, set_mode=module.train,
)
trainer.fit()
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
    for name in trial.tensor_names(collection="losses", mode=mode):
        tensor = trial.tensor(name)
        answer[mode.name] = {step: float(tensor.value(step, mode=mode).mean()) for step in tensor.steps(mode=mode)}
print("answer:" + json.dumps(answer))
"""


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


def test_without_a_configuration_smdebug_is_not_imported(tmp_path: Path, python: Run) -> None:
    assert last_line(python("-c", TRAIN, str(tmp_path))) == "hook: NoHook smdebug: False epochs: 2"


@pytest.mark.parametrize("word", ["false", "0"])
def test_switched_off_smdebug_is_not_imported(tmp_path: Path, python: Run, word: str) -> None:
    tensors = configure(tmp_path)
    result = python("-c", TRAIN, str(tmp_path), USE_SMDEBUG=word)
    assert last_line(result) == "hook: NoHook smdebug: False epochs: 2"
    assert not tensors.exists()


def test_losses_of_training_and_evaluation_can_be_read_back(tmp_path: Path, python: Run) -> None:
    tensors = configure(tmp_path)
    result = python("-c", TRAIN, str(tmp_path))
    assert last_line(result) == "hook: DebuggerHook smdebug: True epochs: 2"
    assert "SageMaker Debugger: hook on" in result.stdout
    assert "hook off" not in result.stdout
    read = python("-c", READ, str(tensors))
    assert read.returncode == 0, read.stderr
    answer = json.loads(next(line for line in read.stdout.splitlines() if line.startswith("answer:"))[7:])
    assert len(answer["TRAIN"]) == 4  # two epochs of two steps
    assert all(0 < loss < 5 for loss in answer["TRAIN"].values())
    assert len(answer["EVAL"]) >= 2
    assert all(0 < loss < 5 for loss in answer["EVAL"].values())


def test_marks_of_an_earlier_run_do_not_silence_the_hook(tmp_path: Path, python: Run) -> None:
    tensors = configure(tmp_path)
    tensors.mkdir(parents=True)
    for name in ("claim.smd", "training_job_end.ts"):
        (tensors / name).write_text("old")
    assert last_line(python("-c", TRAIN, str(tmp_path))).startswith("hook: DebuggerHook")
    assert list(tensors.glob("events/*/*.tfevents"))


def test_tensors_go_to_the_default_place_when_none_is_named(tmp_path: Path, python: Run) -> None:
    tensors = configure(tmp_path, LocalPath=None)
    assert last_line(python("-c", TRAIN, str(tmp_path))).startswith("hook: DebuggerHook")
    assert list(tensors.glob("events/*/*.tfevents"))


# the first fails where the hook is made, the second where a step is written
@pytest.mark.parametrize("path", ["/dev/null/tensors", "/proc/tensors"])
def test_a_place_that_cannot_be_written_switches_the_hook_off_in_one_line(
    tmp_path: Path, python: Run, path: str
) -> None:
    configure(tmp_path, LocalPath=path)
    check_off(python("-c", TRAIN, str(tmp_path)))


def check_off(result: "subprocess.CompletedProcess[str]") -> None:
    """Training went to its end, and one line says that the hook is off, and why."""
    assert last_line(result).endswith("epochs: 2")
    off = [line for line in result.stdout.splitlines() if line.startswith("SageMaker Debugger: hook off (")]
    assert len(off) == 1
    assert "Traceback" not in result.stdout + result.stderr


def test_a_configuration_smdebug_does_not_understand_switches_the_hook_off(tmp_path: Path, python: Run) -> None:
    configure(tmp_path, CollectionConfigurations=[{"CollectionName": "mine", "CollectionParameters": None}])
    check_off(python("-c", TRAIN, str(tmp_path)))


def test_no_configuration_gives_the_hook_that_does_nothing(tmp_path: Path) -> None:
    made = hook.create(Layout(tmp_path), wanted=True)
    assert isinstance(made, hook.NoHook)
    made.start(nn.Linear(1, 1), nn.CrossEntropyLoss())
    made.set_mode(training=True)
    made.close()
