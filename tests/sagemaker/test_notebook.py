"""The notebook runs from top to bottom as it stands, on folders named after breeds, and cleans up after itself."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from desk_commands import IMAGE, QUICK, weights
from started import BUCKET, KEYS, REGION, ROLE, Api, running

import ways
from sample_pictures import make_pictures

KEY = "arn:aws:kms:eu-west-1:123456789012:key/1"
NOTEBOOK = ways.ROOT / "scripts" / "notebooks" / "walk.ipynb"
BREEDS = {
    "001.Circle": "001.Affenpinscher",
    "002.Cross": "002.Afghan_hound",
    "003.Dots": "040.Bulldog",
    "004.Stripes": "057.Dalmatian",
    "005.Checkerboard": "076.Golden_retriever",
    "006.Ring": "124.Poodle",
}
# With hyphens, as other projects' notebooks write them; batches so small that rules have something to judge.
CHOSEN = {
    **{name.replace("_", "-"): QUICK[name] for name in QUICK.keys() - {"batch_size", "debug", "epochs"}},
    "pretrained": "true",
    "batch_size": "4",
    "epochs": "6",
}


def dogs(folder: Path) -> Path:
    """Pictures in folders that are named after breeds."""
    make_pictures(folder, {"train": 6, "valid": 2, "test": 2})
    for split in folder.iterdir():
        for drawn, breed in BREEDS.items():
            (split / drawn).rename(split / breed)
    return folder


@dataclass(frozen=True)
class Executed:
    """What the cells have shown, and the server that they were shown by."""

    shown: list[dict[str, Any]]
    api: Api

    def text(self, kind: str = "text/plain") -> str:
        """All output of a kind, in the order of the cells."""
        printed = ["".join(one["text"]) for one in self.shown if "text" in one and kind == "text/plain"]
        return "\n".join(printed + ["".join(one["data"].get(kind, "")) for one in self.shown if "data" in one])


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executed]:
    folder = tmp_path_factory.mktemp("notebook")
    own = {"ROLE": ROLE, "BUCKET": BUCKET, "REGION": REGION, "IMAGE": IMAGE, "TRIALS": "2", "WEIGHTS": weights(folder)}
    chosen = {f"HYPERPARAMETERS__{name}": value for name, value in CHOSEN.items()}
    settings = {f"DESK_{name.upper()}": str(value) for name, value in {**own, **chosen}.items()}
    with running(folder / "state") as api:
        here = {**KEYS, "AWS_ENDPOINT_URL": api.url, "PICTURES": str(dogs(folder / "dogImages")), "HOME": str(folder)}
        output = os.path.relpath(folder / "walk", NOTEBOOK.parent)
        words = [Path(sys.executable).with_name("jupyter-execute"), NOTEBOOK, f"--output={output}"]
        environment = {**os.environ, **settings, **here}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr
        cells = json.loads((folder / "walk.ipynb").read_text())["cells"]
        yield Executed([output for cell in cells for output in cell.get("outputs", [])], api)


def test_the_notebook_is_kept_without_what_a_run_has_shown() -> None:
    code = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []


def test_a_picture_is_answered_with_breeds(executed: Executed) -> None:
    lines = [line.split("%  ") for line in executed.text().splitlines() if "%  " in line]
    breeds = {folder.partition(".")[2] for folder in BREEDS.values()}
    assert len(lines) == 5
    assert {label for _, label in lines} <= breeds | {breed.replace("_", " ") for breed in breeds}


def test_every_job_begins_with_the_weights_that_the_settings_name(executed: Executed) -> None:
    jobs = executed.api.sagemaker.list_training_jobs()["TrainingJobSummaries"]
    lines = [executed.api.log_lines("/aws/sagemaker/TrainingJobs", job["TrainingJobName"]) for job in jobs]
    assert len(jobs) == 3
    assert all("taken from the `pretrained` channel" in "\n".join(one) for one in lines)


def test_rules_and_report_are_shown(executed: Executed) -> None:
    for rule in ("LossNotDecreasing", "Overfit"):
        assert re.search(rf"^{rule}: (NoIssuesFound|IssuesFound)\. \w", executed.text(), re.MULTILINE)
    assert "<iframe srcdoc=" in executed.text("text/html")


def test_an_account_without_debugger_takes_the_same_road_by_the_same_settings(tmp_path: Path, fake_venv: Path) -> None:
    cells = ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"]]
    source = "\n".join(cells[number] for number in (1, 2, 4, 6, 8, 12, 14))  # no report, no answer: stand-ins give none
    make_pictures(tmp_path / "data", {"train": 2, "valid": 1, "test": 1})
    own = {"ROLE": ROLE, "BUCKET": BUCKET, "REGION": REGION, "TRIALS": "1", "KMS_KEY": KEY, "WEIGHTS": "image"}
    kinds = {"INSTANCE_TYPE": "ml.m5.large", "SERVING_INSTANCE_TYPE": "ml.m5.large", "ENCRYPT_TRAFFIC": "true"}
    network = {"VPC__SUBNETS": '["subnet-1"]', "VPC__SECURITY_GROUPS": '["sg-1"]', "HYPERPARAMETERS__PAUSE": "0.2"}
    settings = {f"DESK_{name}": value for name, value in {**own, **kinds, **network}.items()}
    with running(tmp_path / "state", fake_venv, "--no-debugger") as api:
        here = {**KEYS, "AWS_ENDPOINT_URL": api.url, "PICTURES": str(tmp_path / "data"), "HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", source],
            env={**os.environ, **settings, **here},
            cwd=ways.ROOT,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "note: this account has no SageMaker Debugger" in done.stdout
        [config] = api.sagemaker.list_endpoint_configs()["EndpointConfigs"]
        hosts = api.sagemaker.describe_endpoint_config(EndpointConfigName=config["EndpointConfigName"])
        names = [one["TrainingJobName"] for one in api.sagemaker.list_training_jobs()["TrainingJobSummaries"]]
        jobs = [api.sagemaker.describe_training_job(TrainingJobName=name) for name in names]
    [variant] = hosts["ProductionVariants"]
    assert (variant["ContainerStartupHealthCheckTimeoutInSeconds"], variant["ModelDataDownloadTimeoutInSeconds"]) == (
        600,
        600,
    )
    assert hosts["KmsKeyId"] == KEY
    assert len(jobs) == 2
    for job in jobs:
        assert job["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
        assert job["ResourceConfig"]["VolumeKmsKeyId"] == job["OutputDataConfig"]["KmsKeyId"] == KEY
        assert job["EnableManagedSpotTraining"]
        assert job["EnableInterContainerTrafficEncryption"]
        assert "DebugHookConfig" not in job
    assert len({job["CheckpointConfig"]["S3Uri"] for job in jobs}) == 2


def test_every_trial_is_in_the_table_of_the_tuning_job(executed: Executed) -> None:
    sagemaker = executed.api.sagemaker
    [tuning] = sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]
    name = tuning["HyperParameterTuningJobName"]
    found = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    trials = [one["TrainingJobName"] for one in found["TrainingJobSummaries"]]
    assert len(trials) == 2
    assert all(trial in executed.text("text/html") for trial in trials)


def test_nothing_that_costs_money_is_left(executed: Executed) -> None:
    sagemaker = executed.api.sagemaker
    left = [sagemaker.list_endpoints()["Endpoints"], sagemaker.list_models()["Models"]]
    assert [*left, sagemaker.list_endpoint_configs()["EndpointConfigs"]] == [[], [], []]
