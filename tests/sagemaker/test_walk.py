"""A newcomer's walk with the real image: push, upload, train, tune, deploy, predict, transform, clean; each a step.

The push puts the product's own image into a real registry, where CI asks for it (WALK_PUSHES=1): the engine of
Debian 12 compresses its 6 GB on one core, which takes minutes. Else the walk begins with the image as it was built.
"""

import json
import os
import re
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError
from desk_commands import IMAGE, Desk, after
from started import ACCOUNT, BUCKET, REGION, ROLE, Api, wait

import cloud
import ways
from local_sagemaker import leftovers
from sample_pictures import CLASSES, make_pictures

pytestmark = pytest.mark.timeout(1500)  # the first test waits for the push
PROJECT = "image-classifier"
PUSHES = os.environ.get("WALK_PUSHES") == "1"
NAMES = {name.partition(".")[2] for name in CLASSES}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "data"
    make_pictures(folder, {"train": 8, "valid": 3, "test": 3})
    return folder


@pytest.fixture(scope="module")
def image(real: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the walk's jobs and endpoints run: what build_and_push.sh has written, or what was built."""
    if not PUSHES:
        yield IMAGE
        return
    assert cloud.CAN_PUSH, [mark.kwargs["reason"] for mark in cloud.NEEDS if mark.args[0]]
    folder, name = tmp_path_factory.mktemp("registry"), f"walk-{os.getpid()}"
    checkout = cloud.copy_checkout(folder / "checkout")
    with cloud.cloud_in(folder, REGION, "127.0.0.6", real.url) as registry:
        try:
            done = cloud.push(checkout, registry, name)
            assert done.returncode == 0, done.stderr
            yield (checkout / ".image_uri").read_text().strip()
        finally:
            cloud.remove(str(ways.find_engine()), name)


@pytest.fixture(scope="module")
def desk(real: Api, image: str, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(real, tmp_path_factory.mktemp("home"), image)


@pytest.fixture(scope="module")
def data(desk: Desk, pictures: Path) -> str:
    """The pictures in S3."""
    assert "nothing is at" in desk.run("train", code=2)
    said = desk.run("upload", "--data", str(pictures))
    assert "6 classes, 84 pictures" in said
    return after(said, "data:")


@pytest.fixture(scope="module")
def job(real: Api, desk: Desk, data: str) -> str:
    """A spot job that was interrupted once."""
    training = desk.start("train", settings={"hyperparameters.epochs": "8"})
    assert data
    wait(lambda: real.keys(f"{PROJECT}/checkpoints/"), bool, 120)
    [name] = [one["TrainingJobName"] for one in real.sagemaker.list_training_jobs()["TrainingJobSummaries"]]
    urllib.request.urlopen(f"{real.url}/local/interrupt/{name}", b"").close()
    said = desk.said(training)
    assert "Resumed at epoch" in said
    assert after(said, "completed:")
    assert after(said, "model:") == f"s3://{BUCKET}/{PROJECT}/jobs/{name}/output/model.tar.gz"
    assert (ways.OUT / name / "output.tar.gz").exists()
    return name


@pytest.fixture(scope="module")
def tuning(desk: Desk, data: str) -> str:
    assert data
    said = desk.run("tune", settings={"trials": "8", "parallel_trials": "2", "early_stopping": "false"})
    assert "trials: 8 Completed" in said
    assert Path(after(said, "picture:")).stat().st_size > 10_000
    return after(said, "best:").rpartition("JOB=")[2]


@pytest.fixture(scope="module")
def endpoint(desk: Desk, tuning: str) -> str:
    """The best of the tuning job, in service."""
    assert after(desk.run("deploy", "--job", tuning), "endpoint:") == f"{PROJECT}, InService"
    return PROJECT


def test_an_interrupted_spot_job_resumes_from_its_checkpoints(real: Api, job: str) -> None:
    record = real.sagemaker.describe_training_job(TrainingJobName=job)
    words = [each["Status"] for each in record["SecondaryStatusTransitions"]]
    assert words.count("Training") == 2
    assert "Interrupted" in words
    epochs = [line.partition(";")[0] for line in real.log_lines("/aws/sagemaker/TrainingJobs", job) if "epoch=" in line]
    assert sorted(epochs, key=len) == [f"epoch={number}" for number in range(1, 9)]


@pytest.mark.skipif(ways.find_engine() is None, reason="no container engine answers: this is about a network of theirs")
def test_a_job_runs_on_two_hosts(desk: Desk, data: str) -> None:
    assert data
    said = desk.run("train", settings={"instances": "2", "spot": "false"})
    assert "Distributed: host 1 of 2" in said
    assert "Distributed: host 2 of 2" in said
    assert "2 x ml.m5.large" in after(said, "completed:")


def test_only_what_changed_is_uploaded(desk: Desk, data: str, pictures: Path) -> None:
    assert data
    assert "uploaded 0, unchanged 84, removed 0" in desk.run("upload", "--data", str(pictures))


def test_eight_trials_run_two_at_a_time(real: Api, tuning: str) -> None:
    trials = real.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=tuning)
    spans = [(one["TrainingStartTime"], one["TrainingEndTime"]) for one in trials["TrainingJobSummaries"]]
    together = [sum(begin <= moment < end for begin, end in spans) for moment, _ in spans]
    assert (len(spans), max(together)) == (8, 2)


def test_the_endpoint_answers_with_the_names_of_classes(desk: Desk, endpoint: str, pictures: Path) -> None:
    said = desk.run("predict", "--path", str(pictures / "test"), "--endpoint", endpoint)
    lines = [line.partition(": ")[2] for line in said.splitlines() if "%" in line]
    assert len(lines) == 18
    assert {part.rpartition(" ")[0] for line in lines for part in line.split(", ")} <= NAMES


def test_jobs_and_endpoints_run_the_image_by_the_name_that_the_push_has_given_it(
    real: Api, image: str, job: str, endpoint: str
) -> None:
    assert not PUSHES or re.fullmatch(rf"{ACCOUNT}\.dkr\.ecr\.{REGION}\.amazonaws\.com/walk-\d+@sha256:\w{{64}}", image)
    record = real.sagemaker.describe_training_job(TrainingJobName=job)
    assert record["AlgorithmSpecification"]["TrainingImage"] == image
    [variant] = real.sagemaker.describe_endpoint(EndpointName=endpoint)["ProductionVariants"]
    assert [one["ResolvedImage"] for one in variant["DeployedImages"]] == [image]


def test_an_update_under_load_fails_no_request(real: Api, desk: Desk, endpoint: str, job: str, pictures: Path) -> None:
    body = next((pictures / "test").rglob("*.png")).read_bytes()
    answers: list[Any] = []
    enough = threading.Event()

    def ask() -> None:
        runtime = real.client("sagemaker-runtime")
        while not enough.is_set():
            try:
                answer = runtime.invoke_endpoint(EndpointName=endpoint, Body=body, ContentType="image/png")
                answers.append(json.loads(answer["Body"].read())["topk_probs"][0])
            except ClientError as error:
                answers.append(error)
            enough.wait(0.05)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        desk.run("deploy", "--job", job)
        before = len(answers)
        wait(lambda: len(answers), lambda count: count > before + 4)
    finally:
        enough.set()
        for thread in asking:
            thread.join()
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    assert len(set(answers)) == 2  # the old model's and the new one's


def test_a_transform_joins_answers_to_names(desk: Desk, data: str, job: str, pictures: Path) -> None:
    said = desk.run("transform", "--source", f"{data}/test", "--job", job)
    answers = Path(after(said, "answers:"))
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    answers.unlink()
    folder = pictures / "test"
    assert {row["picture"] for row in rows} == {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
    assert {label for row in rows for label in row["topk_labels"]} <= NAMES


def test_many_models_answer_behind_one_endpoint(real: Api, image: str, job: str, pictures: Path) -> None:
    source = {"Bucket": BUCKET, "Key": f"{PROJECT}/jobs/{job}/output/model.tar.gz"}
    for name in ("a", "b"):
        real.s3.copy_object(Bucket=BUCKET, Key=f"many/{name}.tar.gz", CopySource=source)
    container = {"Image": image, "ModelDataUrl": f"s3://{BUCKET}/many/", "Mode": "MultiModel"}
    real.sagemaker.create_model(ModelName="many", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "All", "ModelName": "many", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    real.sagemaker.create_endpoint_config(EndpointConfigName="many", ProductionVariants=[variant])
    real.sagemaker.create_endpoint(EndpointName="many", EndpointConfigName="many")
    describe = lambda: real.sagemaker.describe_endpoint(EndpointName="many")  # noqa: E731
    record = wait(describe, lambda record: record["EndpointStatus"] != "Creating", 120)
    assert record["EndpointStatus"] == "InService", record
    body = next((pictures / "test").rglob("*.png")).read_bytes()
    for name in ("a", "b"):
        answer = real.client("sagemaker-runtime").invoke_endpoint(
            EndpointName="many", TargetModel=f"{name}.tar.gz", Body=body, ContentType="image/png"
        )
        assert set(json.loads(answer["Body"].read())["topk_labels"]) <= NAMES
    real.sagemaker.delete_endpoint(EndpointName="many")
    real.sagemaker.delete_endpoint_config(EndpointConfigName="many")
    real.sagemaker.delete_model(ModelName="many")
    wait(lambda: real.sagemaker.list_endpoints(NameContains="many")["Endpoints"], lambda found: not found)


def test_what_is_wrong_is_one_sentence(desk: Desk, tmp_path: Path) -> None:
    assert "no train/<class>/<picture>" in desk.run("upload", "--data", str(tmp_path), code=2)
    make_pictures(tmp_path, {"train": 2})
    name = next(iter(CLASSES))
    (tmp_path / "train" / name / "torn.png").write_bytes(b"no picture")
    said = desk.run("upload", "--data", str(tmp_path), code=2)
    assert said.strip() == f"workflow: no readable pictures: train/{name}/torn.png; repair or remove them"
    assert "there is no training job or tuning job nobody" in desk.run("deploy", "--job", "nobody", code=2)
    assert "trials cannot be used" in desk.run("train", settings={"trials": "none"}, code=2)
    assert "colour is no setting; the settings are" in desk.run("train", settings={"colour": "red"}, code=2)
    assert "there is no bucket elsewhere" in desk.run("train", settings={"bucket": "elsewhere"}, code=2)


def test_after_cleaning_up_nothing_is_left(real: Api, desk: Desk, endpoint: str, state: Path) -> None:
    said = desk.run("clean", "--yes")
    assert f"endpoint {endpoint}, InService: 1 x ml.m5.large" in said
    assert f"nothing else of {PROJECT} is there" in desk.run("clean", "--yes")
    desk.run("clean", "--yes", "--data")
    assert f"nothing of {PROJECT} is there" in desk.run("clean", "--yes", "--data")
    assert real.keys(f"{PROJECT}/") == []
    assert [real.sagemaker.list_endpoints()["Endpoints"], real.sagemaker.list_models()["Models"]] == [[], []]
    assert real.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert list((state / "endpoints").glob("*/*")) == []
    [guard] = psutil.Process(real.process.pid).children(recursive=True)
    assert "local_sagemaker.leftovers" in guard.cmdline()
    if engine := ways.find_engine():
        assert ways.ask(engine, "ps", "--all", "--quiet", "--filter", f"label={leftovers.label(state)}") == ""
