"""Training jobs: what `train` finds, what becomes of what it leaves, and how a job ends."""

import json
import tarfile
import time
from io import BytesIO
from typing import Any

import pytest
from botocore.exceptions import ClientError
from started import BUCKET, ROLE, Api, channel, wait

GROUP = "/aws/sagemaker/TrainingJobs"
SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600},
}


def seen(api: Api, name: str) -> Any:
    """What the stand-in of `train` wrote into the model."""
    archive = api.s3.get_object(Bucket=BUCKET, Key=f"jobs/{name}/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        return json.load(tar.extractfile("seen.json"))  # type: ignore[arg-type]


def words(job: Any) -> list[str]:
    return [each["Status"] for each in job["SecondaryStatusTransitions"]]


def test_train_finds_the_platforms_files_and_its_results_are_uploaded(api: Api) -> None:
    api.put("data/train/a/1.png", b"1")
    api.put("data/valid/a/2.png", b"2")
    api.put("weights/resnet18.pth", b"3")
    channels = [channel("training", "data"), channel("pretrained", "weights/resnet18.pth")]
    rule = {
        "RuleConfigurationName": "Overfit",
        "RuleEvaluatorImage": "image",
        "RuleParameters": {"rule_to_invoke": "Overfit"},
    }
    verdicts = [{"rule": "Overfit", "status": "issue", "reason": "the gap is 0.4"}]
    api.train(
        "whole",
        {"epochs": "3", "rules": json.dumps(verdicts)},
        InputDataConfig=channels,
        Environment={"MINE": "yes"},
        DebugHookConfig={"S3OutputPath": f"s3://{BUCKET}/debug", "LocalPath": "/opt/ml/output/tensors"},
        DebugRuleConfigurations=[rule],
    )
    job = api.ended("whole")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed")
    assert words(job) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert job["ModelArtifacts"] == {"S3ModelArtifacts": f"s3://{BUCKET}/jobs/whole/output/model.tar.gz"}
    assert job["DebugRuleEvaluationStatuses"][0]["RuleEvaluationStatus"] == "IssuesFound"
    assert "jobs/whole/output/output.tar.gz" in api.keys("jobs/whole")
    found = seen(api, "whole")
    assert found["data"] == ["pretrained/resnet18.pth", "training/train/a/1.png", "training/valid/a/2.png"]
    files = {name: json.loads(text) for name, text in found["files"].items()}
    assert files["hyperparameters.json"]["epochs"] == "3"
    assert files["inputdataconfig.json"]["training"]["TrainingInputMode"] == "File"
    assert files["resourceconfig.json"]["current_instance_type"] == "ml.m5.large"
    assert files["debughookconfig.json"]["LocalPath"].endswith("/output/tensors")
    assert {"MINE": "yes", "TRAINING_JOB_NAME": "whole", "AWS_REGION": "eu-west-1"}.items() <= found[
        "environment"
    ].items()


def test_logs_and_metrics_are_where_the_sdk_looks_for_them(api: Api) -> None:
    api.train("measured", {"epochs": "4", "learning_rate": "0.03"})
    job = api.ended("measured")
    final = {one["MetricName"]: one["Value"] for one in job["FinalMetricDataList"]}
    assert final == pytest.approx({"val_loss": 0.25})
    lines = api.log_lines(GROUP, "measured/")
    assert len([line for line in lines if line.startswith("epoch=")]) == 4
    values = api.client("cloudwatch").get_metric_statistics(
        Namespace=GROUP,
        MetricName="val_loss",
        Dimensions=[{"Name": "TrainingJobName", "Value": "measured"}],
        StartTime=time.time() - 600,
        EndTime=time.time() + 600,
        Period=3600,
        Statistics=["SampleCount", "Maximum"],
    )["Datapoints"]
    assert (sum(one["SampleCount"] for one in values), values[0]["Maximum"]) == (4, 1)


def test_a_failure_is_the_jobs_reason(api: Api) -> None:
    api.train("failed", {"fail": "UserError: no pictures in train/."})
    job = api.ended("failed")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: UserError: no pictures in train/., exit code: 3"
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == ""


def test_data_that_is_not_there_is_named(api: Api) -> None:
    api.train("hungry", InputDataConfig=[channel("training", "nothing/here")])
    assert f"s3://{BUCKET}/nothing/here" in api.ended("hungry")["FailureReason"]


def test_a_stop_is_a_sigterm_and_the_model_so_far_is_kept(api: Api) -> None:
    api.train("endless", {"epochs": "10000", "pause": "0.05"})
    wait(lambda: api.log_lines(GROUP, "endless/"), lambda lines: len(lines) > 2)
    api.sagemaker.stop_training_job(TrainingJobName="endless")
    job = api.ended("endless")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert seen(api, "endless")["told"] == ["SIGTERM"]
    with pytest.raises(ClientError, match="cannot be stopped"):
        api.sagemaker.stop_training_job(TrainingJobName="endless")


def test_a_job_ends_with_its_time(api: Api) -> None:
    api.train("late", {"epochs": "10000", "pause": "0.05"}, StoppingCondition={"MaxRuntimeInSeconds": 1})
    job = api.ended("late")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_an_interrupted_spot_job_goes_on_from_its_checkpoint(api: Api) -> None:
    place = {"S3Uri": f"s3://{BUCKET}/checkpoints/spot"}
    api.train("spot", {"epochs": "40", "pause": "0.1"}, CheckpointConfig=place, **SPOT)
    wait(lambda: api.keys("checkpoints/spot"), lambda keys: "checkpoints/spot/epoch" in keys)
    interrupt(api, "spot")
    job = api.ended("spot")
    assert words(job) == [
        *("Starting", "Downloading", "Training", "Interrupted", "Downloading", "Training", "Uploading", "Completed")
    ]
    begins = [line for line in api.log_lines(GROUP, "spot/") if line.startswith("begins")]
    assert begins[0] == "begins after epoch 0"
    assert int(begins[1].split()[-1]) > 0
    assert [key for key in api.keys("checkpoints/spot") if "old-" in key] == ["checkpoints/spot/old-40"]


def test_only_a_spot_job_that_trains_can_be_interrupted(api: Api) -> None:
    api.train("steady")
    api.ended("steady")
    with pytest.raises(ClientError, match="not a spot job"):
        interrupt(api, "steady")


def interrupt(api: Api, name: str) -> None:
    """What local_sagemaker can do and AWS's API cannot."""
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"{api.url}/local/interrupt/{name}", method="POST")
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        answer = json.loads(error.read())
        raise ClientError({"Error": {"Code": answer["__type"], "Message": answer["message"]}}, "Interrupt") from None


def test_a_name_is_given_once_and_jobs_are_listed(api: Api) -> None:
    api.train("unique")
    with pytest.raises(ClientError, match="ResourceInUse"):
        api.train("unique")
    api.ended("unique")
    listed = api.sagemaker.list_training_jobs(NameContains="uniq", StatusEquals="Completed")["TrainingJobSummaries"]
    assert [one["TrainingJobName"] for one in listed] == ["unique"]
    with pytest.raises(ClientError, match="Could not find"):
        api.sagemaker.describe_training_job(TrainingJobName="nobody")


WRONG = {
    "a name with a line": ({"TrainingJobName": "a_b"}, "'TrainingJobName' failed .* regular expression"),
    "no instance type of AWS": (
        {"ResourceConfig": {"InstanceType": "ml.desk", "InstanceCount": 1, "VolumeSizeInGB": 1}},
        "'ResourceConfig.InstanceType' failed .* enum value set",
    ),
    "too long": ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "greater than or equal to 1"),
    "text for a number": ({"StoppingCondition": {"MaxRuntimeInSeconds": "60"}}, "must be a integer"),
    "a hyperparameter that is no text": ({"HyperParameters": {"epochs": 3}}, "'HyperParameters.epochs' failed"),
    "no role": ({"RoleArn": "me"}, "length greater than or equal to 20"),
    "spot without a longest wait": ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds must be specified"),
    "nine instances": (
        {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 9, "VolumeSizeInGB": 1}},
        "on 1 to 8 instances",
    ),
    "an expression that is none": (
        {
            "AlgorithmSpecification": {
                "TrainingImage": "image",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "x", "Regex": "("}],
            }
        },
        "regular expression of metric 'x'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_refused_and_says_where(api: Api, case: str) -> None:
    change, message = WRONG[case]
    with pytest.raises(ClientError, match=message) as caught:
        api.train("wrong", **change)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_what_is_missing_is_named(api: Api) -> None:
    with pytest.raises(ClientError, match=r"'OutputDataConfig' failed .* must not be null"):
        api.sagemaker.create_training_job(TrainingJobName="x", RoleArn=ROLE)
