"""The SageMaker Debugger hook, configured as the platform does it."""

import json
import re
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


_READ_LIGHT = """
import sys
from smdebug.trials import create_trial
from smdebug import modes
trial = create_trial(sys.argv[1])
weights = trial.tensor_names(regex="^statistics/weight/")
print(len(trial.steps(mode=modes.TRAIN)), len(trial.steps(mode=modes.EVAL)), len(weights))
"""
_READ_PROFILER = """
import json, sys, time
from smdebug.profiler.algorithm_metrics_reader import LocalAlgorithmMetricsReader
from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader
from smdebug.profiler.utils import TimeUnits
now = time.time() + 60
events = LocalAlgorithmMetricsReader(sys.argv[1]).get_events(0, now, TimeUnits.SECONDS)
samples = LocalSystemMetricsReader(sys.argv[1]).get_events(0, now, TimeUnits.SECONDS)
print(json.dumps(sorted({event.event_phase for event in events})))
print(json.dumps(sorted({sample.dimension for sample in samples})))
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


def test_without_a_configuration_a_job_saves_what_rules_and_the_report_need(pictures: Path, tmp_path: Path) -> None:
    wishes = {"epochs": "2", "profile_steps": "2", "tensorboard": "true"}
    done = doors.train(tmp_path, {**QUICK, **wishes}, {"training": pictures})
    assert done.code == 0, done.log
    assert not re.search(r"^\S.* off \(", done.log, re.MULTILINE), done.log
    data = tmp_path / "output/data"
    train, evaluation, weights = map(int, doors.python(_READ_LIGHT, data / "debug/tensors").splitlines()[-1].split())
    assert (train, evaluation) == (16, 4)  # of 120 pictures in batches of 16, of 30 in batches of 16
    assert weights == 62  # parameters of ResNet-18
    size = sum(path.stat().st_size for path in (data / "debug/tensors").rglob("*") if path.is_file())
    assert size < 3_000_000
    events, samples = doors.python(_READ_PROFILER, data / "debug/profiler").splitlines()[-2:]
    assert {"Step:ModeKeys.TRAIN", "Step:ModeKeys.EVAL", "Forward", "DataLoaderIter", "DataLoaderWorker"} <= set(
        json.loads(events)
    )
    assert {"CPUUtilization", "I/OWaitPercentage", "Memory", "Algorithm"} <= set(json.loads(samples))
    assert (data / "debug/profiler/framework/torch_trace.json.gz").is_file()
    assert len(list((data / "tensorboard").rglob("*.tfevents"))) == 4
    facts = json.loads((data / "run.json").read_text())
    assert (facts["module"], facts["steps_per_epoch"], facts["normalized"]) == ("ResNet", 8, True)
    assert [phase["name"] for phase in facts["phases"]] == [
        "reading",
        *(["epoch", "validation"] * 2),
        "calibration",
        "test",
        "saving",
        "report",
    ]
    assert facts["seconds"]["forward_backward"] > 0
    assert facts["activations"]["layer1.0.relu"] == "ReLU"


def test_the_profilers_configuration_is_honoured(pictures: Path, tmp_path: Path) -> None:
    inside = "/opt/ml" if doors.ENGINE else str(tmp_path)
    config = {
        "ProfilingIntervalInMilliseconds": 100,
        "ProfilingParameters": {"LocalPath": f"{inside}/output/elsewhere", "RotateFileCloseIntervalInSeconds": "1"},
    }
    configs = {"profilerconfig": json.dumps(config)}
    done = doors.train(tmp_path, QUICK, {"training": pictures}, configs=configs)
    assert done.code == 0, done.log
    assert list((tmp_path / "output/elsewhere/framework").rglob("*_pythontimeline.json"))
    assert list((tmp_path / "output/elsewhere/system").rglob("*.algo-1.json"))
    assert not (tmp_path / "output/data/debug/profiler").exists()


def test_a_disabled_profiler_writes_nothing(pictures: Path, tmp_path: Path) -> None:
    configs = {"profilerconfig": json.dumps({"DisableProfiler": True})}
    done = doors.train(tmp_path, {**QUICK, "debug": "full"}, {"training": pictures}, configs=configs)
    assert done.code == 0, done.log
    assert not list((tmp_path / "output").rglob("*pythontimeline*"))
    assert not list((tmp_path / "output").rglob("*.algo-1.json"))
    assert list((tmp_path / "output/data/debug/tensors/events").iterdir())


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


def test_a_rule_ends_a_hopeless_job_in_its_first_epoch(pictures: Path, tmp_path: Path) -> None:
    hopeless = {"epochs": "6", "optimizer": "sgd", "learning_rate": "1e-12", "schedule": "constant"}
    done = doors.train(tmp_path, {**QUICK, **hopeless, "stop_on": "WeightUpdateRatio"}, {"training": pictures})
    assert done.code == 1, done.log
    assert done.failure.startswith("Stopped after the first epoch, as stop_on asks: WeightUpdateRatio: ")
    assert "epoch=2;" not in done.log


def test_an_unknown_rule_is_refused_with_the_known_ones(pictures: Path, tmp_path: Path) -> None:
    done = doors.train(tmp_path, {**QUICK, "stop_on": "Nonsense"}, {"training": pictures})
    assert done.code == 1, done.log
    assert done.failure.startswith("There is no rule Nonsense; known are ")
