"""What the project has stored: objects in its part of the bucket, and logs. They cost by the month, not by the hour."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from workflow import endpoint_log
from workflow.account import client
from workflow.settings import Settings

_JOB_LOGS = ("/aws/sagemaker/TrainingJobs", "/aws/sagemaker/TransformJobs")


@dataclass(frozen=True)
class Stored:
    """Something that is kept until it is asked away."""

    kind: str
    name: str
    note: str
    remove: partial[None]


def find(settings: Settings, endpoints: list[str]) -> Iterator[Stored]:
    """All of it; the logs of endpoints are found by their names, which a user may have chosen."""
    prefix = urlsplit(settings.below()).path.lstrip("/") + "/"
    s3 = client(settings, "s3")
    sizes = {one["Key"]: one["Size"] for one in _objects(s3, settings.bucket, prefix)}
    if sizes:
        note = f": {len(sizes)} objects, {sum(sizes.values()) / 1e9:.3f} GB"
        yield Stored("objects", f"s3://{settings.bucket}/{prefix}", note, partial(_empty, s3, settings.bucket, prefix))
    logs = client(settings, "logs")
    for group in _JOB_LOGS:
        if names := _streams(logs, group, settings.project):
            note = f": the logs of {len(names)} containers"
            yield Stored("logs", f"{group}/{settings.project}-*", note, partial(_forget, logs, group, names))
    for name in sorted({settings.project, *endpoints}):
        group = f"{endpoint_log.GROUP}/{name}"
        found = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        if group in [one["logGroupName"] for one in found]:
            yield Stored("logs", group, "", partial(_forget_all, logs, group))


def _objects(s3: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", [])


def _empty(s3: Any, bucket: str, prefix: str) -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        if keys := [{"Key": one["Key"]} for one in page.get("Contents", [])]:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def _streams(logs: Any, group: str, project: str) -> list[str]:
    """The streams of the project's jobs; another project's name may begin alike."""
    pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=group, logStreamNamePrefix=f"{project}-")
    try:
        names = [one["logStreamName"] for page in pages for one in page["logStreams"]]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [name for name in names if re.match(rf"{re.escape(project)}-(train|tune|batch|book)-\d", name)]


def _forget(logs: Any, group: str, names: list[str]) -> None:
    for name in names:
        logs.delete_log_stream(logGroupName=group, logStreamName=name)


def _forget_all(logs: Any, group: str) -> None:
    logs.delete_log_group(logGroupName=group)
