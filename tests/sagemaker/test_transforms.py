"""Batch transforms: every object of a prefix is answered, refused or left when the job is stopped."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from started import BUCKET, ROLE, Api, wait


def begin_transform(api: Api, name: str, prefix: str, model: str) -> None:
    """Begin a transform job, its model named as it is."""
    container = {"Image": "image", "ModelDataUrl": api.model(model)}
    api.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}"}
    api.sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=name,
        TransformInput={"DataSource": {"S3DataSource": source}, "ContentType": "image/png"},
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/{name}-out", "Accept": "application/json"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        MaxConcurrentTransforms=2,
    )


def transform(api: Api, name: str, prefix: str, model: str) -> Any:
    """A transform job when it has ended."""
    begin_transform(api, name, prefix, model)
    read = lambda: api.sagemaker.describe_transform_job(TransformJobName=name)  # noqa: E731
    return wait(read, lambda job: job["TransformJobStatus"] in ("Completed", "Failed", "Stopped"))


def test_a_transform_answers_every_object_of_a_prefix(api: Api) -> None:
    for name in ("a.png", "b/c.png"):
        api.put(f"batch/{name}", name.encode())
    assert transform(api, "all", "batch", "batch")["TransformJobStatus"] == "Completed"
    assert api.keys("all-out/") == ["all-out/a.png.out", "all-out/b/c.png.out"]
    answer = json.loads(api.s3.get_object(Bucket=BUCKET, Key="all-out/b/c.png.out")["Body"].read())
    assert (answer["model"], answer["body"], answer["batch"]) == ("batch", "b/c.png", "true")


def test_a_transform_that_is_refused_says_why(api: Api) -> None:
    api.put("bad-batch/a.png", b"a")
    job = transform(api, "refused", "bad-batch", "refuses")
    assert (job["TransformJobStatus"], "no picture" in job["FailureReason"]) == ("Failed", True)


def test_a_transform_that_is_stopped_answers_no_more_objects(api: Api) -> None:
    for number in range(40):
        api.put(f"long-batch/{number}.png", b"picture")
    begin_transform(api, "halted", "long-batch", "slow")
    wait(lambda: api.keys("halted-out/"), bool)
    api.sagemaker.stop_transform_job(TransformJobName="halted")
    read = lambda: api.sagemaker.describe_transform_job(TransformJobName="halted")["TransformJobStatus"]  # noqa: E731
    wait(read, lambda status: status == "Stopped")
    assert 0 < len(api.keys("halted-out/")) < 40
    with pytest.raises(ClientError, match="cannot be stopped"):
        api.sagemaker.stop_transform_job(TransformJobName="halted")
