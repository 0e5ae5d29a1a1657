"""What jobs have left: the report of a training job, the answers of a transform."""

import json
import tarfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from desk import DeskError
from ways import OUT
from workflow.account import SCREEN, client, new_name, newest, session
from workflow.deploy import create_model, find_artifact
from workflow.settings import Settings
from workflow.train import ENDED

_LOOK_EVERY = 2.0


def report(settings: Settings, job: str = "") -> Path:
    """Fetch what a training job has written beside its model; the folder."""
    name = job or newest(settings, "list_training_jobs", "TrainingJobSummaries", "TrainingJobName")
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    key = urlsplit(settings.below("jobs", name, "output", "output.tar.gz")).path.lstrip("/")
    archive = folder / "output.tar.gz"
    client(settings, "s3").download_file(settings.bucket, key, str(archive))
    _unpack(archive, folder)
    SCREEN.print(f"output of {name}: {folder}")
    for page in sorted(folder.rglob("report.html")):
        SCREEN.print(f"report: {page}")
    return folder


def transform(settings: Settings, source: str, model_source: str = "") -> Path:
    """Classify every picture below a place in S3; a file with one line a picture.

    Args:
        settings: of the desk.
        source: s3://bucket/prefix of pictures.
        model_source: as `deploy` takes it.
    """
    from sagemaker.transformer import Transformer

    name, sdk = new_name(settings, "batch"), session(settings)
    create_model(settings, sdk, name, find_artifact(settings, model_source))
    place = settings.below("transforms", name)
    made = Transformer(
        name,
        1,
        settings.serving_instance_type,
        strategy="SingleRecord",
        output_path=place,
        accept="application/json",
        max_concurrent_transforms=4,
        max_payload=6,
        tags=settings.tags,
        sagemaker_session=sdk,
    )
    made.transform(source, content_type="application/octet-stream", job_name=name, wait=False, logs=False)
    SCREEN.print(f"transform job: {name}")
    _wait(settings, name)
    return _join(settings, name, place)


def _wait(settings: Settings, name: str) -> None:
    sagemaker = client(settings, "sagemaker")
    with SCREEN.status(f"waiting for {name}"):
        while (job := sagemaker.describe_transform_job(TransformJobName=name))["TransformJobStatus"] not in ENDED:
            time.sleep(_LOOK_EVERY)
    if job["TransformJobStatus"] != "Completed":
        raise DeskError(
            f"transform job {name}: {job['TransformJobStatus']}, {job.get('FailureReason', 'no reason given')}"
        )


def _join(settings: Settings, name: str, place: str) -> Path:
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
    return file


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            place = folder / member.name
            if member.isfile() and place.resolve().is_relative_to(folder.resolve()):
                place.parent.mkdir(parents=True, exist_ok=True)
                stream = tar.extractfile(member)
                place.write_bytes(stream.read() if stream else b"")
