"""Why an endpoint did not come up: the container's own last lines, and what they mean."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from workflow.account import client
from workflow.settings import Settings

GROUP = "/aws/sagemaker/Endpoints"
_LINES = 10
# What a line says, and what to do; the first that fits is said.
_MEANINGS = {
    r"driver .*(too old|older)|CUDA driver version is insufficient|CannotStartContainer": (
        "the host's GPU driver does not fit the image; set serving_host to an InferenceAmiVersion with a newer one"
    ),
    r"exec format error": "the image is built for another processor; build it with PLATFORM=linux/amd64",
    r"No space left on device": "image and model do not fit the instance's disk; take a larger instance",
    r"out of memory|OutOfMemory|MemoryError|Killed|exit code:? 137": (
        "the model does not fit into memory; take a larger instance, or more of serverless.memory_mb"
    ),
    r"Could not find model data|NoSuchKey|Access ?Denied": (
        "the model's artifact cannot be read; look whether it is there, and whether the role may read it"
    ),
    r"cannot be unpacked|not in gzip format|The model in .* cannot be loaded|is no model of this image": (
        "the artifact is no model of this image; train it with this image, or name another with JOB="
    ),
    r"manifest|ImagePull|image .*not found|CannotPullContainer|\bECR\b": (
        "the image cannot be fetched; push it to ECR in this region with `make push`"
    ),
    r"AlarmName|alarm": "an alarm sounded while the new model answered, so the old one has all requests again",
    r"ping health check": "`serve` did not become healthy in time; raise startup_seconds, or ask `make doctor MODEL=…`",
}


def explain(settings: Settings, endpoint: str, record: Mapping[str, Any]) -> str:
    """One sentence with the reason, the container's last lines and what they mean."""
    reason = str(record.get("FailureReason") or "no reason given")
    lines = _last_lines(settings, endpoint)
    said = "\n".join(lines) if lines else "nothing: it did not start"
    words = [f"endpoint {endpoint}: {reason}", f"the container said:\n{said}"]
    if meaning := meaning_of([*lines, reason]):
        words.append(f"that means: {meaning}")
    return "\n".join(words)


def meaning_of(lines: Sequence[str]) -> str:
    """What lines of a log mean; empty when nobody knows."""
    text = "\n".join(lines)
    found = (meaning for pattern, meaning in _MEANINGS.items() if re.search(pattern, text, re.IGNORECASE))
    return next(found, "")


def _last_lines(settings: Settings, endpoint: str) -> list[str]:
    logs, group = client(settings, "logs"), f"{GROUP}/{endpoint}"
    try:
        streams = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"]
        newest = max(streams, key=lambda stream: stream["creationTime"])  # in an update the old one still writes
        events = logs.get_log_events(logGroupName=group, logStreamName=newest["logStreamName"])["events"]
    except (ClientError, ValueError):
        return []
    return [event["message"] for event in events[-_LINES:]]
