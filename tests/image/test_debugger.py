"""The SageMaker Debugger hook, configured as the platform does it."""

import json
from pathlib import Path

import doors
from doors import QUICK

CONFIG = {
    "S3OutputPath": "s3://bucket/debugger",
    "HookParameters": {"save_interval": "2"},
    "CollectionConfigurations": [
        {"CollectionName": "losses", "CollectionParameters": {"save_interval": "1"}},
        {"CollectionName": "gradients", "CollectionParameters": {"save_interval": "2"}},
    ],
}
_READ = """
import sys
from smdebug.trials import create_trial
from smdebug import modes
trial = create_trial(sys.argv[1])
losses = trial.tensor_names(regex="CrossEntropyLoss_output_0")
values = trial.tensor(losses[0])
steps = values.steps(mode=modes.TRAIN)
print(len(losses), len(steps), float(values.value(steps[0], mode=modes.TRAIN)))
print(len(trial.tensor_names(collection="gradients")))
"""


def test_tensors_are_written_where_the_configuration_says(pictures: Path, tmp_path: Path) -> None:
    inside = "/opt/ml" if doors.ENGINE else str(tmp_path)
    config = json.dumps({**CONFIG, "LocalPath": f"{inside}/output/tensors"})
    done = doors.train(tmp_path, QUICK, {"training": pictures}, configs={"debughookconfig": config})
    assert done.code == 0, done.log
    assert "SageMaker Debugger: hook on" in done.log
    assert "hook off" not in done.log
    tensors = tmp_path / "output/tensors"
    assert list((tensors / "collections").rglob("*.json"))
    assert list((tensors / "events").rglob("*.tfevents"))
    losses, gradients = doors.python(_READ, tensors).splitlines()[-2:]
    count, steps, first = losses.split()
    assert (int(count), int(steps)) == (1, 8)  # 120 pictures in batches of 16
    assert 0 < float(first) < 10
    assert int(gradients) > 50


def test_it_can_be_switched_off(pictures: Path, tmp_path: Path) -> None:
    done = doors.train(
        tmp_path,
        QUICK,
        {"training": pictures},
        configs={"debughookconfig": json.dumps(CONFIG)},
        environment={"USE_SMDEBUG": "false"},
    )
    assert done.code == 0, done.log
    assert "hook on" not in done.log
    assert not (tmp_path / "output/tensors").exists()
