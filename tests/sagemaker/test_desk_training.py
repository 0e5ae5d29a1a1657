"""The desk's commands for data, training and tuning, against stand-ins of `train`: requests, words, costs."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desk_commands import Desk, Quick, after
from started import running

import ways
from desk import DeskError
from sample_pictures import make_pictures
from workflow import instances, settings

KEY = "arn:aws:kms:eu-west-1:123456789012:key/1"
PROJECT = "image-classifier"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "data"
    make_pictures(folder, {"train": 2, "valid": 1, "test": 1})
    return folder


@pytest.fixture(scope="module")
def desk(desk: Quick, pictures: Path) -> Desk:
    desk.run("upload", "--data", str(pictures))
    return desk


@pytest.fixture(scope="module")
def new_account(tmp_path_factory: pytest.TempPathFactory, fake_venv: Path, pictures: Path) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("new-account")
    with running(folder / "state", fake_venv, "--no-debugger") as started:
        made = Quick(started, folder)
        made.run("upload", "--data", str(pictures))
        yield made


def train(desk: Desk, **settings: str) -> tuple[str, Any]:
    """What a training job says, and its record."""
    said = desk.run("train", settings={name.replace("__", "."): value for name, value in settings.items()})
    name = after(said, "job:")
    return said, desk.api.sagemaker.describe_training_job(TrainingJobName=name)


def test_awss_debugger_watches_where_the_account_has_it(desk: Desk) -> None:
    verdicts = [{"rule": "DeadRelu", "status": "issue", "reason": "half of layer1 is dead"}]
    chosen = {"debugger__rules": "DeadRelu,ExplodingTensor", "debugger__profile_milliseconds": "1000"}
    said, job = train(desk, hyperparameters__debug="light", hyperparameters__rules=json.dumps(verdicts), **chosen)
    assert "  rule DeadRelu: IssuesFound: half of layer1 is dead" in said
    assert "  rule ExplodingTensor: Error: train wrote no verdict on this rule" in said
    assert job["ProfilerConfig"]["ProfilingIntervalInMilliseconds"] == 1000
    saved = {
        one["CollectionName"]: one["CollectionParameters"] for one in job["DebugHookConfig"]["CollectionConfigurations"]
    }
    assert saved["losses"] == {"save_interval": "1"}
    assert saved["relu_output"] == {"save_interval": "100"}
    assert saved["statistics"] == {"save_interval": "10"}
    assert "gradients" not in saved
    assert len(saved) == len(job["DebugHookConfig"]["CollectionConfigurations"])


def test_where_the_account_has_no_debugger_a_note_says_so_and_the_job_runs(new_account: Desk) -> None:
    said, job = train(new_account, hyperparameters__debug="full")
    assert "note: this account has no SageMaker Debugger" in said
    assert (job["TrainingJobStatus"], "DebugHookConfig" in job) == ("Completed", False)
    assert "this account has no" not in new_account.run(
        "train", "--no-wait", settings={"debugger.use": "off", "hyperparameters.debug": "light"}
    )
    assert "this account has no" not in new_account.run("train", "--no-wait", settings={"hyperparameters.debug": "off"})
    refused = new_account.run("train", code=2, settings={"debugger.use": "on"})
    assert "CreateTrainingJob was refused" in refused
    half = new_account.run("train", code=2, settings={"vpc.subnets": "subnet-1"})
    assert "vpc cannot be used: Value error, give subnets and security_groups, or neither" in half
    guess = new_account.run("train", code=2, settings={"debugger.use": "on", "debugger.rules": "Guess"})
    assert "is no rule of AWS's Debugger" in guess


def test_a_job_is_tagged_encrypted_and_in_its_network(desk: Desk) -> None:
    _, job = train(
        desk,
        kms_key=KEY,
        tags__team="vision",
        vpc__subnets="subnet-1,subnet-2",
        vpc__security_groups="sg-1",
        encrypt_traffic="true",
    )
    assert job["ResourceConfig"]["VolumeKmsKeyId"] == job["OutputDataConfig"]["KmsKeyId"] == KEY
    assert job["VpcConfig"] == {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert job["AlgorithmSpecification"]["EnableSageMakerMetricsTimeSeries"]
    assert (job["EnableNetworkIsolation"], job["EnableInterContainerTrafficEncryption"]) == (True, True)
    tags = desk.api.sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
    assert {one["Key"]: one["Value"] for one in tags} == {"project": PROJECT, "team": "vision"}


def test_at_the_end_of_a_job_are_metrics_cost_and_report(desk: Desk) -> None:
    said, job = train(desk, hyperparameters__rules="[]", hyperparameters__epochs="3", hyperparameters__pause="0.5")
    seconds = job["BillableTimeInSeconds"]
    assert "  val_loss " in said
    cost = f"{seconds} s billed on 1 x ml.m5.large: {seconds / 3600 * 0.115:.4f} USD at 0.115 an hour"
    assert after(said, "completed:").startswith(cost)
    assert "spot saved 0%" in said
    folder = Path(after(said, "output:"))
    assert folder == ways.OUT / job["TrainingJobName"]
    assert (folder / "rules.json").exists()


def test_a_jobs_lines_are_shown_while_it_runs_and_each_of_them_once(desk: Desk) -> None:
    long = {"hyperparameters.epochs": "1000", "hyperparameters.pause": "0.3"}
    shown: list[str] = []
    with Desk(desk.api, desk.home).start("train", settings=long) as process:
        assert process.stdout
        for line in process.stdout:
            shown.append(line.strip())
            if line.startswith("epoch=2;"):
                name = after("\n".join(shown), "job:")
                job = desk.api.sagemaker.describe_training_job(TrainingJobName=name)
                assert job["TrainingJobStatus"] == "InProgress"
                desk.api.sagemaker.stop_training_job(TrainingJobName=name)
    assert process.returncode == 0
    logged = [line for line in desk.api.log_lines("/aws/sagemaker/TrainingJobs", name) if line.startswith("epoch=")]
    assert [line for line in shown if line.startswith("epoch=")] == logged
    assert after("\n".join(shown), "stopped:")


def test_a_job_that_fails_says_why_with_its_cost(desk: Desk) -> None:
    said = desk.run("train", code=2, settings={"hyperparameters.fail": "no pictures of cats"})
    assert "USD" in after(said, "failed:")
    assert said.splitlines()[-1].startswith(f"workflow: job {after(said, 'job:')} failed: AlgorithmError")
    assert "no pictures of cats" in said.splitlines()[-1]


def test_a_report_can_be_fetched_again(desk: Desk) -> None:
    job = after(desk.run("train", settings={"hyperparameters.rules": "[]"}), "job:")
    folder = ways.OUT / job
    for words in (["--job", job], []):
        shutil.rmtree(folder)
        assert after(desk.run("report", *words), "output:") == str(folder)
        assert (folder / "rules.json").read_text() == "[]"
    shutil.rmtree(folder)
    assert "training job nobody has left no output in s3://" in desk.run("report", "--job", "nobody", code=2)


def test_a_jobs_cost_is_said_with_its_source() -> None:
    job = {
        "ResourceConfig": {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 2},
        "BillableTimeInSeconds": 900,
        "TrainingTimeInSeconds": 3600,
        "EnableManagedSpotTraining": True,
    }
    known = settings.Settings()
    assert instances.bill(known, job) == (
        "900 s billed on 2 x ml.g4dn.xlarge: 0.3682 USD at 0.7364 an hour of us-east-1, 2026-11-21; spot saved 75%"
    )
    own = settings.Settings(prices={"ml.g4dn.xlarge": 1})
    assert instances.bill(own, job).endswith("0.5000 USD at 1 an hour of [prices]; spot saved 75%")
    unknown = {**job, "ResourceConfig": {"InstanceType": "ml.z9.huge", "InstanceCount": 1}}
    assert instances.bill(known, unknown).endswith("price unknown: [prices] has no ml.z9.huge")


@pytest.mark.parametrize(
    ("kind", "host", "key"),
    [
        ("ml.m5.large", None, KEY),
        ("ml.m5d.large", None, None),
        ("ml.g4dn.xlarge", "al2-ami-sagemaker-inference-gpu-3-1", None),
        ("ml.p3.2xlarge", "al2-ami-sagemaker-inference-gpu-2", KEY),
        ("ml.g7e.2xlarge", "al2023-ami-sagemaker-inference-gpu-4-1", None),
        ("ml.p6-b200.48xlarge", "al2023-ami-sagemaker-inference-gpu-4-1", None),
        ("ml.c6i.large", None, KEY),
    ],
)
def test_a_type_of_instance_decides_on_host_and_key(kind: str, host: str | None, key: str | None) -> None:
    made = settings.Settings(serving_instance_type=kind, kms_key=KEY)
    assert (instances.host(made), instances.volume_key(made, kind)) == (host, key)


@pytest.mark.parametrize(
    ("kind", "accelerator", "host"),
    [
        ("ml.g4dn.xlarge", "cuda13", "al2023-ami-sagemaker-inference-gpu-4-1"),
        ("ml.p4d.24xlarge", "cuda13", "al2023-ami-sagemaker-inference-gpu-4-1"),
        ("ml.m5.large", "cuda13", None),
        ("ml.m5.large", "cpu", None),
    ],
)
def test_the_host_has_a_driver_for_what_the_image_was_built_with(kind: str, accelerator: Any, host: str | None) -> None:
    assert instances.host(settings.Settings(serving_instance_type=kind, accelerator=accelerator)) == host


@pytest.mark.parametrize(("kind", "accelerator"), [("ml.p3.2xlarge", "cuda13"), ("ml.g5.xlarge", "cpu")])
def test_a_gpu_that_the_image_cannot_use_is_refused(kind: str, accelerator: Any) -> None:
    made = settings.Settings(serving_instance_type=kind, accelerator=accelerator)
    with pytest.raises(DeskError, match=f"ACCELERATOR={accelerator} cannot use the GPU of {kind}"):
        instances.host(made)


def test_a_tuning_job_starts_warm_and_its_best_is_ready_to_deploy(desk: Desk) -> None:
    wanted = {"objective": "val_loss", "trials": "4", "ranges.learning_rate": "1e-3,1"}
    parent = after(desk.run("tune", settings=wanted), "best:").rpartition("JOB=")[2]
    said = desk.run("tune", "--warm-start", parent, settings={**wanted, "trials": "2"})
    name = after(said, "best:").rpartition("JOB=")[2]
    job = desk.api.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    parents = job["WarmStartConfig"]["ParentHyperParameterTuningJobs"]
    assert parents == [{"HyperParameterTuningJobName": parent}]
    config = job["HyperParameterTuningJobConfig"]
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Minimize", "MetricName": "val_loss"}
    assert (config["TrainingJobEarlyStoppingType"], config["ResourceLimits"]["MaxParallelTrainingJobs"]) == ("Auto", 2)
    tuned = job["BestTrainingJob"]["TunedHyperParameters"]
    assert after(said, "values:") == " ".join(f"hyperparameters.{name}={tuned[name]}" for name in sorted(tuned))
    assert Path(after(said, "picture:")).stat().st_size > 10_000
    assert "USD" in after(said, "billed:")


def test_a_tuning_job_that_cannot_begin_says_why(desk: Desk) -> None:
    assert "objective=speed is none of" in desk.run("tune", code=2, settings={"objective": "speed"})
    assert "Could not find" in desk.run("tune", "--warm-start", "nobody", code=2)
