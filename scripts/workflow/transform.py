"""Every picture below a place in S3 through a model; the answers joined to the pictures' names."""

import json
import time
from typing import Any
from urllib.parse import urlsplit

from desk import DeskError
from ways import OUT
from workflow import instances, serving
from workflow.account import ENDED, LOOK_EVERY, SCREEN, client, new_name
from workflow.deploy import find_artifact
from workflow.settings import Settings


def transform(settings: Settings, source: str, model_source: str = "") -> None:
    """Classify every picture below a place in S3, and write a file with one line a picture.

    Args:
        settings: of the desk.
        source: s3://bucket/prefix of pictures.
        model_source: as `deploy` takes it.
    """
    if not source.startswith("s3://"):
        raise DeskError(f"{source} is no place in S3; write s3://bucket/prefix, for example {settings.data_uri}/test")
    name, sagemaker = new_name(settings, "batch"), client(settings, "sagemaker")
    sagemaker.create_model(**serving.model(settings, name, find_artifact(settings, model_source), "real-time"))
    place = settings.below("transforms", name)
    sagemaker.create_transform_job(**_request(settings, name, source, place))
    SCREEN.print(f"transform job: {name}")
    _wait(settings, name)
    _join(settings, name, place)


def _request(settings: Settings, name: str, source: str, place: str) -> dict[str, Any]:
    """CreateTransformJob's request; the SDK's Transformer does not know of the host that fits a GPU."""
    kind = settings.serving_instance_type
    volume = instances.volume_key(settings, kind)
    return {
        "TransformJobName": name,
        "ModelName": name,
        "BatchStrategy": "SingleRecord",
        "MaxConcurrentTransforms": 4,
        "MaxPayloadInMB": 6,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source}},
            "ContentType": "application/octet-stream",
        },
        "TransformOutput": {
            "S3OutputPath": place,
            "Accept": "application/json",
            **({"KmsKeyId": settings.kms_key} if settings.kms_key else {}),
        },
        "TransformResources": {
            "InstanceType": kind,
            "InstanceCount": 1,
            **({"TransformAmiVersion": instances.TRANSFORM_HOST} if instances.is_gpu(kind) else {}),
            **({"VolumeKmsKeyId": volume} if volume else {}),
        },
        "Tags": settings.labels,
    }


def _wait(settings: Settings, name: str) -> None:
    sagemaker = client(settings, "sagemaker")
    with SCREEN.status(f"waiting for {name}"):
        while (job := sagemaker.describe_transform_job(TransformJobName=name))["TransformJobStatus"] not in ENDED:
            time.sleep(LOOK_EVERY)
    if job["TransformJobStatus"] != "Completed":
        raise DeskError(
            f"transform job {name}: {job['TransformJobStatus']}, {job.get('FailureReason', 'no reason given')}"
        )


def _join(settings: Settings, name: str, place: str) -> None:
    """One JSON line for each picture, with its name."""
    s3, prefix = client(settings, "s3"), urlsplit(place).path.lstrip("/") + "/"
    file = OUT / f"{name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=settings.bucket, Prefix=prefix)
    with file.open("w") as stream:
        for key in (one["Key"] for page in pages for one in page.get("Contents", [])):
            answer = json.loads(s3.get_object(Bucket=settings.bucket, Key=key)["Body"].read())
            picture = key.removeprefix(prefix).removesuffix(".out")
            stream.write(json.dumps({"picture": picture, **answer}) + "\n")
    SCREEN.print(f"answers: {file}")
