"""A model behind an endpoint: a new one, or an update of the one that is there without a gap."""

import time
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from desk import DeskError
from workflow.account import LOOK_EVERY, SCREEN, client, new_name, newest, session
from workflow.settings import Settings

# The driver of SageMaker's default hosts is too old for the image's CUDA 12.8.
_GPU_AMI = "al2-ami-sagemaker-inference-gpu-3-1"
_GPU_FAMILIES = ("ml.g", "ml.p")
_BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack")
_LOG_GROUP = "/aws/sagemaker/Endpoints"


def deploy(settings: Settings, source: str = "", endpoint: str = "") -> None:
    """Put a model behind an endpoint and wait until it answers.

    Args:
        settings: of the desk.
        source: a training job, a tuning job (its best) or s3://.../model.tar.gz; empty: the last training job.
        endpoint: its name; the project's when empty.
    """
    name, made = endpoint or settings.project, new_name(settings, "model")
    artifact = find_artifact(settings, source)
    sdk, sagemaker = session(settings), client(settings, "sagemaker")
    create_model(settings, sdk, made, artifact)
    before = _describe(sagemaker, name)
    variants = [_variant(settings, made)]
    sagemaker.create_endpoint_config(EndpointConfigName=made, ProductionVariants=variants, Tags=settings.labels)
    if before:
        sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=made)
    else:
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=made, Tags=settings.labels)
    SCREEN.print(f"{'updating' if before else 'creating'} endpoint {name} with {artifact}")
    record = _wait(sagemaker, name)
    if record["EndpointStatus"] != "InService" or record["EndpointConfigName"] != made:
        raise DeskError(_why(settings, name, record))
    SCREEN.print(f"endpoint: {name}, {record['EndpointStatus']}")


def create_model(settings: Settings, sdk: Any, name: str, artifact: str) -> None:
    """SageMaker's Model: image and artifact under a name."""
    from sagemaker.model import Model

    model = Model(
        settings.image_uri,
        artifact,
        settings.role,
        name=name,
        sagemaker_session=sdk,
        enable_network_isolation=settings.network_isolation,
    )
    model.create(instance_type=settings.serving_instance_type, tags=settings.labels)


def find_artifact(settings: Settings, source: str) -> str:
    """The artifact that a source means; DeskError where there is none."""
    if source.startswith("s3://"):
        return source
    sagemaker = client(settings, "sagemaker")
    job = source or newest(
        settings, "list_training_jobs", "TrainingJobSummaries", "TrainingJobName", StatusEquals="Completed"
    )
    try:
        return _artifact(sagemaker, job)
    except ClientError:
        return _artifact(sagemaker, _best(sagemaker, job))


def _artifact(sagemaker: Any, job: str) -> str:
    found = sagemaker.describe_training_job(TrainingJobName=job)["ModelArtifacts"]["S3ModelArtifacts"]
    if not found:
        raise DeskError(f"training job {job} has left no model")
    return str(found)


def _best(sagemaker: Any, name: str) -> str:
    try:
        job = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    except ClientError:
        raise DeskError(f"there is no training job or tuning job {name}") from None
    if "BestTrainingJob" not in job:
        raise DeskError(f"tuning job {name} has no best training job: {job['HyperParameterTuningJobStatus']}")
    return str(job["BestTrainingJob"]["TrainingJobName"])


def _variant(settings: Settings, model: str) -> Mapping[str, Any]:
    """ProductionVariant with both time-outs, and on GPUs the host that fits the image."""
    from sagemaker.session import production_variant

    kind = settings.serving_instance_type
    made: Mapping[str, Any] = production_variant(
        model,
        kind,
        settings.serving_instances,
        model_data_download_timeout=settings.startup_seconds,
        container_startup_health_check_timeout=settings.startup_seconds,
        inference_ami_version=_GPU_AMI if kind.startswith(_GPU_FAMILIES) else None,
    )
    return made


def _describe(sagemaker: Any, name: str) -> Mapping[str, Any] | None:
    try:
        record: Mapping[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
    except ClientError:
        return None
    if record["EndpointStatus"] == "Failed":
        raise DeskError(f"endpoint {name} is Failed ({record.get('FailureReason')}); remove it with `make sm-clean`")
    return record


def _wait(sagemaker: Any, name: str) -> Mapping[str, Any]:
    with SCREEN.status(f"waiting for {name}"):
        while True:
            record: Mapping[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
            if record["EndpointStatus"] not in _BUSY:
                return record
            time.sleep(LOOK_EVERY)


def _why(settings: Settings, name: str, record: Mapping[str, Any]) -> str:
    """Why an endpoint is not as it should be, with the container's own last lines."""
    logs = client(settings, "logs")
    try:
        streams = logs.describe_log_streams(
            logGroupName=f"{_LOG_GROUP}/{name}", orderBy="LastEventTime", descending=True
        )
        stream = streams["logStreams"][0]["logStreamName"]
        events = logs.get_log_events(logGroupName=f"{_LOG_GROUP}/{name}", logStreamName=stream)["events"][-10:]
        said = "\n".join(event["message"] for event in events)
    except (ClientError, IndexError):
        said = "nothing: the container did not start; is the image in this region, and does the host's driver fit?"
    reason = f"endpoint {name}: {record.get('FailureReason', 'no reason given')}"
    return f"{reason}\nthe container said:\n{said}" if said else reason
