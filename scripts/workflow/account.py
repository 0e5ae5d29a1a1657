"""The SDK's session and the names of what this project has made."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from desk import DeskError
from workflow.settings import Settings

_CONFIG = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
SCREEN = Console(highlight=False, soft_wrap=True)
ENDED = ("Completed", "Failed", "Stopped")
LOOK_EVERY = 2.0  # seconds between two questions about what AWS is at work on


def session(settings: Settings) -> Any:
    """The SDK's Session, in the settings' region and bucket."""
    import sagemaker

    keys = boto3.Session(region_name=settings.region)
    return sagemaker.Session(keys, default_bucket=settings.bucket, sagemaker_config=_CONFIG)


def client(settings: Settings, service: str) -> Any:
    """A client of one of AWS's services."""
    return boto3.client(service, region_name=settings.region)


def new_name(settings: Settings, kind: str) -> str:
    """A name that nothing has yet; a tuning job's has 32 characters at most, and so no thousandths of a second."""
    thousandths = "" if kind == "tune" else f"-{time.time_ns() // 10**6 % 1000:03d}"
    return f"{settings.project}-{kind}-{time.strftime('%m%d%H%M%S')}{thousandths}"


def newest(settings: Settings, **wanted: str) -> str:
    """The training job that this project has begun last, trials of tuning jobs apart; DeskError when there is none."""
    sagemaker = client(settings, "sagemaker")
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains=settings.project, SortBy="CreationTime", SortOrder="Descending", **wanted
    )
    for one in (job for page in pages for job in page["TrainingJobSummaries"]):
        if one["TrainingJobName"].startswith(f"{settings.project}-tune-"):
            continue
        is_ours = settings.labels[0] in sagemaker.list_tags(ResourceArn=one["TrainingJobArn"])["Tags"]
        name = str(one["TrainingJobName"])
        if is_ours and "TuningJobArn" not in sagemaker.describe_training_job(TrainingJobName=name):
            return name
    raise DeskError(f"there is no TrainingJob of {settings.project} yet; make one, or name one")


def uploaded(settings: Settings) -> str:
    """Where the pictures lie; DeskError when none are there."""
    if not holds(settings, settings.data_uri):
        raise DeskError(f"nothing is at {settings.data_uri} yet; send your pictures: make sm-upload DATA=folder")
    return settings.data_uri


def holds(settings: Settings, place: str) -> bool:
    """Whether anything lies below a place in S3."""
    bucket, _, key = place.removeprefix("s3://").partition("/")
    prefix = f"{key.rstrip('/')}/"
    return bool(client(settings, "s3").list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)["KeyCount"])


def digest(file: Path) -> str:
    """A short name of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def send_once(settings: Settings, file: Path, uri: str) -> bool:
    """Send a file to a place of the bucket that is named after its content; whether it was not there yet."""
    s3, key = client(settings, "s3"), urlsplit(uri).path.lstrip("/")
    try:
        s3.head_object(Bucket=settings.bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        s3.upload_file(str(file), settings.bucket, key)
        return True
    return False


def explained(work: Callable[[], None]) -> None:
    """Do it; what AWS refuses becomes one sentence."""
    try:
        work()
    except ClientError as error:
        said = error.response["Error"]
        if said["Code"] == "NoSuchBucket":
            raise DeskError(f"there is no bucket {said.get('BucketName', '')}; `make infra` makes one") from None
        raise DeskError(f"{error.operation_name} was refused: {said['Code']}: {said['Message']}") from None
    except BotoCoreError as error:
        raise DeskError(f"AWS cannot be asked: {error}") from None
