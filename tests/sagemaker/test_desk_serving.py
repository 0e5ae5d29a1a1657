"""Endpoints by the desk's commands, against stand-ins of `serve`: each way to serve, and what happens when it fails."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from desk_commands import Quick, after
from started import BUCKET

PROJECT = "served"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1"
MANY = {"serving": "multi-model"}


def deploy(desk: Quick, endpoint: str, artifact: str, code: int = 0, **settings: str) -> str:
    chosen = {"project": PROJECT, **{name.replace("__", "."): value for name, value in settings.items()}}
    return desk.run("deploy", "--job", artifact, "--endpoint", endpoint, code=code, settings=chosen)


def invoke(desk: Quick, name: str, body: bytes = b"picture", **more: Any) -> Any:
    answer = desk.api.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=body, **more)
    return json.loads(answer["Body"].read())


def configuration(desk: Quick, name: str) -> Any:
    record = desk.api.sagemaker.describe_endpoint(EndpointName=name)
    return desk.api.sagemaker.describe_endpoint_config(EndpointConfigName=record["EndpointConfigName"])


def remove(desk: Quick, name: str) -> None:
    desk.api.sagemaker.delete_endpoint(EndpointName=name)
    desk.api.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 1})


def model(desk: Quick, name: str) -> Any:
    [variant] = configuration(desk, name)["ProductionVariants"]
    return desk.api.sagemaker.describe_model(ModelName=variant["ModelName"])


def test_a_real_time_endpoint_grows_with_its_requests(desk: Quick) -> None:
    said = deploy(desk, "grows", desk.api.model("dogs"), autoscaling__most="4", kms_key=KEY, tags__team="vision")
    assert after(said, "autoscaling:") == "1 to 4 instances"
    assert after(said, "endpoint:") == "grows, InService"
    scaling = desk.api.client("application-autoscaling")
    [target] = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (target["ResourceId"], target["MinCapacity"], target["MaxCapacity"]) == (
        "endpoint/grows/variant/AllTraffic",
        1,
        4,
    )
    [policy] = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    tracked = policy["TargetTrackingScalingPolicyConfiguration"]
    assert tracked["PredefinedMetricSpecification"]["PredefinedMetricType"] == "SageMakerVariantInvocationsPerInstance"
    assert configuration(desk, "grows")["KmsKeyId"] == KEY
    [variant] = configuration(desk, "grows")["ProductionVariants"]
    assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == variant["ModelDataDownloadTimeoutInSeconds"] == 600
    assert "autoscaling: 1 to 5" in deploy(desk, "grows", desk.api.model("dogs"), autoscaling__most="5")
    assert "autoscaling" not in deploy(desk, "grows", desk.api.model("dogs"))
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_a_share_of_requests_and_answers_is_captured(desk: Quick) -> None:
    deploy(desk, "captured", desk.api.model("dogs"), capture__percent="100")
    described = desk.api.sagemaker.describe_endpoint(EndpointName="captured")["DataCaptureConfig"]
    assert (described["CaptureStatus"], described["CurrentSamplingPercentage"]) == ("Started", 100)
    invoke(desk, "captured", b"one", ContentType="image/png")
    [key] = desk.api.keys(f"{PROJECT}/captured/captured/AllTraffic/")
    line = json.loads(desk.api.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert line["captureData"]["endpointInput"] == {
        "observedContentType": "image/png",
        "mode": "INPUT",
        "data": "b25l",
        "encoding": "BASE64",
    }
    assert json.loads(line["captureData"]["endpointOutput"]["data"])["model"] == "dogs"


def test_a_serverless_endpoint_has_one_worker_and_its_own_limits(desk: Quick) -> None:
    chosen = {"serving": "serverless", "serverless__memory_mb": "2048", "serverless__concurrency": "1"}
    deploy(desk, "serverless", desk.api.model("slow"), **chosen)
    [variant] = configuration(desk, "serverless")["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 1}
    assert "InstanceType" not in variant
    model = desk.api.sagemaker.describe_model(ModelName=variant["ModelName"])
    assert model["PrimaryContainer"]["Environment"] == {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    assert "EnableNetworkIsolation" not in model
    with pytest.raises(Exception, match="4194304 at most"):
        invoke(desk, "serverless", b"x" * 4_194_305)
    with ThreadPoolExecutor(4) as workers:
        said = list(workers.map(lambda _: _answer(desk, "serverless"), range(4)))
    assert any("slow" in answer for answer in said)
    assert any("MaxConcurrency" in answer for answer in said)
    assert "capture.percent must be 0" in deploy(
        desk, "none", "s3://b/k", 2, serving="serverless", capture__percent="9"
    )


def _answer(desk: Quick, name: str) -> str:
    """What an endpoint says, or why it does not."""
    try:
        return str(invoke(desk, name))
    except Exception as error:
        return str(error)


def test_an_asynchronous_endpoint_takes_pictures_by_way_of_s3_and_sleeps_without_any(
    desk: Quick, tmp_path: Path
) -> None:
    said = deploy(desk, "later", desk.api.model("labels"), serving="asynchronous", autoscaling__most="3")
    assert after(said, "autoscaling:") == "0 to 3 instances"
    config = configuration(desk, "later")["AsyncInferenceConfig"]
    assert config["OutputConfig"]["S3FailurePath"] == f"s3://{BUCKET}/{PROJECT}/failures"
    container = model(desk, "later")["PrimaryContainer"]
    assert container["Environment"] == {
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "64",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "895",
    }
    [waking] = desk.api.client("cloudwatch").describe_alarms(AlarmNames=["later-waiting"])["MetricAlarms"]
    assert waking["MetricName"] == "HasBacklogWithoutCapacity"
    (tmp_path / "a.png").write_bytes(b"a")
    chosen = {"project": PROJECT}
    said = desk.run("predict", "--path", str(tmp_path), "--endpoint", "later", settings=chosen)
    assert said == f"{tmp_path}/a.png: dog 75.0%, cat 25.0%\n"
    more = {"asynchronous__payload_mb": "512", "asynchronous__seconds": "3600"}
    deploy(desk, "later", desk.api.model("refuses"), serving="asynchronous", **more)
    container = model(desk, "later")["PrimaryContainer"]
    assert sorted(container["Environment"].values()) == ["3595", "512"]
    said = desk.run("predict", "--path", str(tmp_path), "--endpoint", "later", code=2, settings=chosen)
    assert "a.png: the model refused it" in said


def test_many_models_stand_behind_one_endpoint(desk: Quick, tmp_path: Path) -> None:
    first = deploy(desk, "many", desk.api.model("labels"), **MANY)
    assert after(first, "model:").startswith("labels.tar.gz")
    second = deploy(desk, "many", desk.api.model("others"), **MANY)
    assert "creating" not in second
    assert "updating" not in second
    (tmp_path / "a.png").write_bytes(b"a")
    words = ["--path", str(tmp_path / "a.png"), "--endpoint", "many"]
    said = desk.run("predict", *words, "--model-name", "labels.tar.gz", settings={"project": PROJECT})
    assert "dog 75.0%" in said
    assert invoke(desk, "many", TargetModel="others.tar.gz")["model"] == "others"
    larger = {**MANY, "serving_instance_type": "ml.m5.xlarge", "capture__percent": "5", "autoscaling__most": "2"}
    third = deploy(desk, "many", desk.api.model("labels"), **larger)
    assert "updating endpoint many" in third
    [variant] = configuration(desk, "many")["ProductionVariants"]
    assert variant["InstanceType"] == "ml.m5.xlarge"
    assert configuration(desk, "many")["DataCaptureConfig"]["InitialSamplingPercentage"] == 5
    again = deploy(desk, "many", desk.api.model("others"), **{**larger, "autoscaling__most": "3"})
    assert "updating" not in again
    assert after(again, "autoscaling:") == "1 to 3 instances"
    assert "updating" in deploy(desk, "many", desk.api.model("others"), **MANY)
    assert "updating" in deploy(desk, "many", desk.api.model("others"), **MANY, image="another:1")
    gpu = deploy(desk, "many", desk.api.model("x"), 2, serving_instance_type="ml.g5.xlarge", **MANY)
    assert "serving=multi-model needs instances without a GPU" in gpu


CANARY = {"serving_instances": "2", "canary__percent": "50", "canary__wait_seconds": "3"}


def test_a_canary_goes_over_when_no_alarm_sounds(desk: Quick) -> None:
    deploy(desk, "canary", desk.api.model("old"), serving_instances="2")
    said = deploy(desk, "canary", desk.api.model("new"), **CANARY)
    assert "Updating: 50% of the requests go to the new model" in said
    assert invoke(desk, "canary")["model"] == "new"
    [alarm] = desk.api.client("cloudwatch").describe_alarms(AlarmNames=["canary-5xx"])["MetricAlarms"]
    assert (alarm["MetricName"], alarm["Threshold"]) == ("Invocation5XXErrors", 1)
    assert "needs serving_instances=2" in deploy(desk, "canary", "s3://b/k", 2, canary__percent="10")


def test_an_alarm_rolls_a_canary_back_to_the_old_model(desk: Quick) -> None:
    deploy(desk, "rolled", desk.api.model("old"), serving_instances="2")
    answers: list[str] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.wait(0.05):
            answers.append(_answer(desk, "rolled"))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        said = deploy(desk, "rolled", desk.api.model("fails"), 2, **{**CANARY, "canary__wait_seconds": "60"})
    finally:
        enough.set()
        asking.join()
    assert "The alarm rolled-5xx of AutoRollbackConfiguration sounded" in said
    assert "that means: an alarm sounded while the new model answered" in said
    assert any("ModelError" in answer for answer in answers)
    assert all("old" in answer or "ModelError" in answer for answer in answers)
    assert {invoke(desk, "rolled")["model"] for _ in range(10)} == {"old"}
    record = desk.api.sagemaker.describe_endpoint(EndpointName="rolled")
    assert (record["EndpointStatus"], "PendingDeploymentSummary" in record) == ("InService", False)


def test_a_failed_endpoint_shows_the_containers_last_lines_and_what_they_mean(desk: Quick) -> None:
    said = deploy(desk, "sick", desk.api.model("broken"), 2)
    assert "the container said:\nthe model is broken\n" in said
    assert "that means: `serve` did not become healthy in time" in said
    assert "endpoint sick is Failed" in deploy(desk, "sick", desk.api.model("dogs"), 2)


def test_a_failed_update_shows_the_new_containers_lines_and_not_those_of_the_old_one(desk: Quick) -> None:
    deploy(desk, "mended", desk.api.model("dogs"))
    enough = threading.Event()
    asking = threading.Thread(target=lambda: [invoke(desk, "mended") for _ in iter(lambda: enough.wait(0.05), True)])
    asking.start()
    try:
        said = deploy(desk, "mended", desk.api.model("broken"), 2)
    finally:
        enough.set()
        asking.join()
    assert "the container said:\nthe model is broken\n" in said
    assert invoke(desk, "mended")["model"] == "dogs"
    remove(desk, "mended")


def test_clean_says_what_all_costs_an_hour_and_leaves_what_is_not_the_projects(desk: Quick) -> None:
    other = desk.api.model("dogs")
    desk.run("deploy", "--job", other, settings={"project": "other"})
    desk.api.train(
        f"{PROJECT}-train-1", {"epochs": "10000", "pause": "0.1"}, Tags=[{"Key": "project", "Value": PROJECT}]
    )
    said = desk.run("clean", "--yes", settings={"project": PROJECT})
    assert f"training job {PROJECT}-train-1, runs: 1 x ml.m5.large, 0.115 USD an hour" in said
    assert "endpoint grows, InService: 1 x ml.m5.large, 0.115 USD an hour" in said
    assert "endpoint canary, InService: 2 x ml.m5.large, 0.23 USD an hour" in said
    assert "endpoint serverless, InService: serverless, billed by the request" in said
    assert "endpoint sick, Failed" in said
    assert after(said, "together") == "1.035 USD an hour"
    assert desk.api.ended(f"{PROJECT}-train-1")["TrainingJobStatus"] == "Stopped"
    said = desk.run("clean", "--yes", settings={"project": PROJECT})
    assert f"stays: objects s3://{BUCKET}/{PROJECT}/: " in said
    assert f"nothing else of {PROJECT} is there" in said
    assert (
        desk.api.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")[
            "ScalableTargets"
        ]
        == []
    )
    assert desk.api.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert desk.api.sagemaker.describe_endpoint(EndpointName="other")["EndpointStatus"] == "InService"
    desk.run("clean", "--yes", settings={"project": "other"})
