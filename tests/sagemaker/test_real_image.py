"""The real image by the desk's commands: the rules' verdicts, a serverless host, many models, a kill."""

import json
import time
from pathlib import Path

import pytest
from desk_commands import Quick, after
from started import BUCKET, Api, running, wait

import ways
from local_sagemaker import leftovers
from sample_pictures import CLASSES, make_pictures

pytestmark = pytest.mark.timeout(600)
NAMES = {name.partition(".")[2] for name in CLASSES}
PROJECT = "image-classifier"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "data"
    make_pictures(folder, {"train": 6, "valid": 2, "test": 2})
    return folder


@pytest.fixture(scope="module")
def desk(real: Api, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Quick:
    made = Quick(real, tmp_path_factory.mktemp("home"))
    made.run("upload", "--data", str(pictures))
    return made


@pytest.fixture(scope="module")
def said(desk: Quick) -> str:
    """What a job says that AWS's Debugger watches."""
    watched = {"debugger.use": "on", "debugger.save_interval": "1", "hyperparameters.debug": "light"}
    return desk.run("train", settings=watched)


@pytest.fixture(scope="module")
def job(said: str) -> str:
    return after(said, "job:")


def test_awss_rules_get_verdicts_and_the_images_own_are_in_the_report(desk: Quick, said: str, job: str) -> None:
    record = desk.api.sagemaker.describe_training_job(TrainingJobName=job)
    words = {one["RuleConfigurationName"]: one["RuleEvaluationStatus"] for one in record["DebugRuleEvaluationStatuses"]}
    assert set(words) == {"VanishingGradient", "ExplodingTensor"}
    assert words["ExplodingTensor"] == "NoIssuesFound"
    report = Path(after(said, "report:"))
    assert report.parent == ways.OUT / job
    verdicts = json.loads((report.parent / "rules.json").read_text())
    judged = {one["rule"] for one in verdicts if one["status"] != "not evaluated"}
    assert {"VanishingGradient", "InitialLoss", "WeightUpdateRatio"} <= judged
    assert " USD at 0.115 an hour" in after(said, "completed:")


def check_answers(desk: Quick, folder: Path, endpoint: str) -> None:
    """All pictures of a folder are answered with names of classes."""
    answers = desk.run("predict", "--path", str(folder), "--endpoint", endpoint).splitlines()
    assert {line.partition(": ")[2].split(" ")[0] for line in answers} <= NAMES
    assert len(answers) == 12


def test_an_asynchronous_endpoint_answers_by_way_of_s3(desk: Quick, job: str, pictures: Path) -> None:
    desk.run("deploy", "--job", job, "--endpoint", "later", settings={"serving": "asynchronous"})
    check_answers(desk, pictures / "test", "later")
    assert len(desk.api.keys(f"{PROJECT}/answers/")) == 12
    desk.api.sagemaker.delete_endpoint(EndpointName="later")


def test_a_serverless_host_serves_within_its_limits(desk: Quick, job: str, pictures: Path, state: Path) -> None:
    small = {"serving": "serverless", "serverless.memory_mb": "3072"}
    desk.run("deploy", "--job", job, "--endpoint", "small", settings=small)
    check_answers(desk, pictures / "test", "small")
    if engine := ways.find_engine():
        [container] = ways.ask(engine, "ps", "--quiet", "--filter", f"label={leftovers.label(state)}").split()
        shape = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Memory}}"
        assert ways.ask(engine, "inspect", "--format", shape, container).split() == ["true", str(3072 * 2**20)]
    desk.api.sagemaker.delete_endpoint(EndpointName="small")


def test_many_models_are_added_one_by_one(desk: Quick, job: str, pictures: Path) -> None:
    many = {"serving": "multi-model"}
    first = after(desk.run("deploy", "--job", job, "--endpoint", "many", settings=many), "model:").split(";")[0]
    assert first == f"{job}.tar.gz"
    copied = {"Bucket": BUCKET, "Key": f"{PROJECT}/jobs/{job}/output/model.tar.gz"}
    desk.api.s3.copy_object(Bucket=BUCKET, Key="elsewhere/second.tar.gz", CopySource=copied)
    desk.run("deploy", "--job", f"s3://{BUCKET}/elsewhere/second.tar.gz", "--endpoint", "many", settings=many)
    for name in (first, "second.tar.gz"):
        words = ("--path", str(next((pictures / "test").rglob("*.png"))), "--endpoint", "many", "--model-name", name)
        assert desk.run("predict", *words).count("%") == 5
    assert desk.run("clean", "--yes").count("endpoint many, InService") == 1


@pytest.mark.skipif(ways.find_engine() is None, reason="no container engine answers: this is about its containers")
def test_a_server_that_is_killed_leaves_no_container_and_loses_no_finished_job(tmp_path: Path, pictures: Path) -> None:
    state, engine = tmp_path / "state", ways.find_engine() or ""
    label = f"label={leftovers.label(state)}"
    containers = lambda: ways.ask(engine, "ps", "--all", "--quiet", "--filter", label)  # noqa: E731
    done = ""
    for seconds in (0.2, 2, 6):  # before, while and after the container of a job starts
        with running(state) as server:
            quick = Quick(server, tmp_path)
            if not done:
                quick.run("upload", "--data", str(pictures))
                done = after(quick.run("train"), "job:")
            quick.run("train", "--no-wait", settings={"hyperparameters.epochs": "500"})
            time.sleep(seconds)
            server.process.kill()
            wait(containers, lambda found: not found, 30)
    with running(state) as server:
        names = [one["TrainingJobName"] for one in server.sagemaker.list_training_jobs()["TrainingJobSummaries"]]
        jobs = {name: server.sagemaker.describe_training_job(TrainingJobName=name) for name in names}
        assert jobs.pop(done)["TrainingJobStatus"] == "Completed"
        assert server.keys(f"{PROJECT}/jobs/{done}/output/model.tar.gz")
        assert ["local_sagemaker ended while the job ran" in job["FailureReason"] for job in jobs.values()] == [
            True
        ] * 3
        assert containers() == ""
