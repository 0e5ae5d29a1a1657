"""A model behind an endpoint: a new one, or an update of the one that is there without a gap."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from desk import DeskError
from workflow import endpoint_log, pack, scaling, serving
from workflow.account import LOOK_EVERY, SCREEN, client, new_name, newest
from workflow.settings import Settings

# What makes one multi-model endpoint another one.
_OF_A_MODEL = ("PrimaryContainer", "ExecutionRoleArn", "EnableNetworkIsolation", "VpcConfig")
_OF_HOSTS = ("ProductionVariants", "DataCaptureConfig", "KmsKeyId")
_BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack")


def deploy(settings: Settings, source: str = "", endpoint: str = "") -> None:
    """Put a model behind an endpoint and wait until it answers.

    Args:
        settings: of the desk.
        source: a training job, a tuning job (its best), s3://.../model.tar.gz, or a folder or archive here; empty: the
            last training job.
        endpoint: its name; the project's when empty.
    """
    serving.check(settings)
    name, sagemaker = endpoint or settings.project, client(settings, "sagemaker")
    artifact = find_artifact(settings, source)
    before = _describe(sagemaker, name)
    if settings.serving == "multi-model":
        artifact = _gather(settings, artifact)
    config = new_name(settings, "model")
    model, hosts = serving.model(settings, config, artifact), serving.configuration(settings, config)
    if settings.serving == "multi-model" and before and _serves(sagemaker, before, model, hosts):
        status = before["EndpointStatus"]
        if not settings.autoscales:
            scaling.unscale(settings, name)
    else:
        sagemaker.create_model(**model)
        sagemaker.create_endpoint_config(**hosts)
        _begin(settings, name, config, before is not None)
        SCREEN.print(f"{'updating' if before else 'creating'} endpoint {name} with {artifact}")
        status = _see_it_through(settings, name, config)
    if settings.autoscales:
        SCREEN.print(f"autoscaling: {scaling.scale(settings, name)}")
    SCREEN.print(f"endpoint: {name}, {status}")


def _see_it_through(settings: Settings, name: str, config: str) -> str:
    """Wait until an endpoint answers with a configuration; its status. DeskError when it does not come to that."""
    record = _wait(client(settings, "sagemaker"), name)
    if record["EndpointStatus"] != "InService" or record["EndpointConfigName"] != config:
        raise DeskError(endpoint_log.explain(settings, name, record))
    return str(record["EndpointStatus"])


def _begin(settings: Settings, name: str, config: str, update: bool) -> None:
    sagemaker = client(settings, "sagemaker")
    names: dict[str, Any] = {"EndpointName": name, "EndpointConfigName": config}
    if not update:
        sagemaker.create_endpoint(**names, Tags=settings.labels)
        return
    if not settings.autoscales:
        scaling.unscale(settings, name)
    elif scaling.is_scaled(settings, name):  # as many instances as now, not as at the beginning
        names["RetainAllVariantProperties"] = True
    if settings.canary.percent:
        sagemaker.update_endpoint(**names, DeploymentConfig=serving.deployment(settings, scaling.guard(settings, name)))
    else:
        sagemaker.update_endpoint(**names)


def _gather(settings: Settings, artifact: str) -> str:
    """Lay an artifact beside the others of a multi-model endpoint; the place of all."""
    parts = urlsplit(artifact)
    # Of jobs/NAME/output/model.tar.gz the job's name; a new model under an old name would not be loaded.
    words = parts.path.strip("/").split("/")
    target = f"{words[-3]}.tar.gz" if words[-2:] == ["output", "model.tar.gz"] else words[-1]
    key = urlsplit(settings.below("models", target)).path.lstrip("/")
    source = {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}
    client(settings, "s3").copy_object(Bucket=settings.bucket, Key=key, CopySource=source)
    SCREEN.print(f"model: {target}; make sm-predict MODEL_NAME={target}")
    return settings.below("models") + "/"


def _serves(sagemaker: Any, endpoint: Mapping[str, Any], model: Mapping[str, Any], hosts: Mapping[str, Any]) -> bool:
    """Whether an endpoint serves all models of a place already, on the hosts and with all else that is asked for."""
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    there = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    same_model = all(_holds(there.get(each), model.get(each)) for each in _OF_A_MODEL)
    return same_model and all(_holds(config.get(each), hosts.get(each)) for each in _OF_HOSTS)


def _holds(described: Any, asked: Any) -> bool:
    """Whether a description says what was asked for, and perhaps more; the names of models differ each time."""
    if isinstance(asked, Mapping) and isinstance(described, Mapping):
        return all(name == "ModelName" or _holds(described.get(name), value) for name, value in asked.items())
    if isinstance(asked, list) and isinstance(described, list):
        return len(asked) == len(described) and all(map(_holds, described, asked))
    return bool(described == asked)


def find_artifact(settings: Settings, source: str) -> str:
    """The artifact that a source means; DeskError where there is none."""
    if source.startswith("s3://"):
        return source
    if source and Path(source).exists():
        return pack.send(settings, Path(source))
    sagemaker = client(settings, "sagemaker")
    job = source or newest(settings, StatusEquals="Completed")
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


def _describe(sagemaker: Any, name: str) -> Mapping[str, Any] | None:
    try:
        record: Mapping[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
    except ClientError:
        return None
    if record["EndpointStatus"] == "Failed":
        raise DeskError(f"endpoint {name} is Failed ({record.get('FailureReason')}); remove it with `make sm-clean`")
    return record


def _wait(sagemaker: Any, name: str) -> Mapping[str, Any]:
    """Wait for an endpoint, saying each step of it."""
    told, began = "", time.monotonic()
    while True:
        record: Mapping[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
        if record["EndpointStatus"] not in _BUSY:
            return record
        if (step := _step(record)) != told:
            SCREEN.print(f"  {time.monotonic() - began:4.0f} s  {step}")
            told = step
        time.sleep(LOOK_EVERY)


def _step(record: Mapping[str, Any]) -> str:
    """What happens to an endpoint now; an update's steps are those of its new instances."""
    variants = record.get("PendingDeploymentSummary", {}).get("ProductionVariants", [])
    statuses = [status for one in variants for status in one.get("VariantStatus", [])]
    words = [status.get("StatusMessage") or status["Status"] for status in statuses[-1:]]
    return ": ".join([record["EndpointStatus"], *words])
