"""The base directory of a training job, as SageMaker lays it out in /opt/ml before it starts `train`.

Source: SageMaker Developer Guide, "How Amazon SageMaker provides training information".
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local_sagemaker.aws import Objects, Uri
from local_sagemaker.errors import ApiError
from local_sagemaker.store import Record

FOLDERS = ("input/config", "input/data", "model", "output/data", "checkpoints")
_OPT_ML = "/opt/ml"
# Parts of the request that have a file of their own.
_CONFIGS = {
    "CheckpointConfig": "checkpointconfig",
    "DebugHookConfig": "debughookconfig",
    "ProfilerConfig": "profilerconfig",
    "TensorBoardOutputConfig": "tensorboardoutputconfig",
}


def lay_out(base: Path, request: Record, host: str, hosts: Sequence[str], movable: bool) -> None:
    """Write a fresh base directory, without the data.

    Args:
        base: in the place of /opt/ml; removed first.
        request: CreateTrainingJob's.
        host: name of this host.
        hosts: names of all; they resolve where `train` runs.
        movable: whether `train` sees `base` itself, and not /opt/ml.
    """
    if base.exists():
        shutil.rmtree(base)
    for folder in FOLDERS:
        (base / folder).mkdir(parents=True)
    content: dict[str, Any] = {
        "hyperparameters": request.get("HyperParameters", {}),
        "inputdataconfig": {channel["ChannelName"]: _channel(channel) for channel in channels(request)},
        "resourceconfig": _resources(request, host, hosts, "lo" if movable and len(hosts) > 1 else "eth0"),
    }
    for member, name in _CONFIGS.items():
        if request.get(member):
            content[name] = request[member]
    for name, value in content.items():
        text = json.dumps(value, indent=2)
        moved = text.replace(f'"{_OPT_ML}/', f'"{base}/') if movable and name != "hyperparameters" else text
        (base / "input" / "config" / f"{name}.json").write_text(moved)


def channels(request: Record) -> list[Record]:
    """The channels of a request."""
    return list(request.get("InputDataConfig") or [])


def checkpoints(base: Path, request: Record) -> Path:
    """Where the job writes its checkpoints, as seen from here."""
    path = (request.get("CheckpointConfig") or {}).get("LocalPath") or f"{_OPT_ML}/checkpoints"
    return base / Path(path).relative_to(_OPT_ML)


def download(objects: Objects, base: Path, request: Record) -> None:
    """Fetch every channel in File mode.

    Raises:
        ApiError: nothing lies where a channel points to.
    """
    for channel in channels(request):
        source = channel["DataSource"]["S3DataSource"]["S3Uri"]
        if not objects.download(Uri.parse(source), base / "input" / "data" / channel["ChannelName"]):
            raise ApiError(
                "ClientError",
                f"Data download failed: no S3 objects found under S3 URL {source!r} given in channel "
                f"{channel['ChannelName']!r}; check that the bucket exists and that objects have that prefix.",
            )


def environment(request: Record, name: str, region: str, job_arn: str) -> Mapping[str, str]:
    """What the platform and the user set in the environment of `train`."""
    platform = {"TRAINING_JOB_NAME": name, "TRAINING_JOB_ARN": job_arn, "AWS_REGION": region}
    return {**platform, "AWS_DEFAULT_REGION": region, **(request.get("Environment") or {})}


def _channel(channel: Record) -> Record:
    source = channel["DataSource"]["S3DataSource"]
    written = {
        "TrainingInputMode": channel.get("InputMode", "File"),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    return {"ContentType": channel["ContentType"], **written} if channel.get("ContentType") else written


def _resources(request: Record, host: str, hosts: Sequence[str], interface: str) -> Record:
    instance = request["ResourceConfig"].get("InstanceType", "ml.m5.large")
    group = {"instance_group_name": "homogeneousCluster", "instance_type": instance, "hosts": list(hosts)}
    return {
        "current_host": host,
        "current_instance_type": instance,
        "current_group_name": "homogeneousCluster",
        "hosts": sorted(hosts),
        "instance_groups": [group],
        "network_interface_name": interface,
    }
