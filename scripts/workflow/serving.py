"""What is asked of SageMaker for each way to serve: real-time, serverless, asynchronous, multi-model."""

from collections.abc import Mapping
from typing import Any

from desk import DeskError
from workflow import instances
from workflow.settings import Settings

VARIANT = "AllTraffic"
# A serverless host gives one request at a time to a container, and its memory is small.
_ONE_WORKER = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
_TO_ANSWER = 5  # seconds that the image keeps for its own 504, before SageMaker gives up
_AT_ONCE = 4  # requests of the queue that one asynchronous instance works on


def check(settings: Settings) -> None:
    """Raise DeskError for what AWS would refuse, or would accept and then fail with."""
    if settings.serving == "multi-model" and instances.is_gpu(settings.serving_instance_type):
        raise DeskError(
            "serving=multi-model needs instances without a GPU; AWS hosts many models on GPUs with Triton only: "
            'SET="serving_instance_type=ml.m5.xlarge", or give each model an endpoint or an inference component'
        )
    if settings.serving == "serverless" and settings.capture.percent:
        raise DeskError("capture.percent must be 0 with serving=serverless; AWS keeps no requests of those")
    if settings.canary.percent and (settings.serving == "serverless" or settings.serving_instances < 2):
        raise DeskError("canary.percent needs serving_instances=2 or more, so that some can go first")


def model(settings: Settings, name: str, artifact: str, serving: str = "") -> dict[str, Any]:
    """CreateModel's request.

    Args:
        settings: of the desk.
        name: of the model.
        artifact: model.tar.gz; for multi-model the prefix of all.
        serving: as the setting of that name, which it overrides.
    """
    way = serving or settings.serving
    container: dict[str, Any] = {"Image": settings.image_uri, "ModelDataUrl": artifact}
    if way == "multi-model":
        container["Mode"] = "MultiModel"
    if way == "asynchronous":
        container["Environment"] = _for_large_requests(settings)
    if way == "serverless":  # knows neither isolation nor VPC
        request: dict[str, Any] = {"PrimaryContainer": {**container, "Environment": _ONE_WORKER}}
    else:
        request = {"PrimaryContainer": container, "EnableNetworkIsolation": settings.network_isolation}
        request.update({"VpcConfig": settings.network} if settings.network else {})
    return {**request, "ModelName": name, "ExecutionRoleArn": settings.role, "Tags": settings.labels}


def configuration(settings: Settings, name: str) -> dict[str, Any]:
    """CreateEndpointConfig's request, for the model of the same name."""
    request: dict[str, Any] = {
        "EndpointConfigName": name,
        "ProductionVariants": [{"VariantName": VARIANT, "ModelName": name, **_hosts(settings)}],
        "Tags": settings.labels,
    }
    key = instances.volume_key(settings, settings.serving_instance_type)
    if key and settings.serving != "serverless":
        request["KmsKeyId"] = key
    if settings.serving == "asynchronous":
        request["AsyncInferenceConfig"] = _queue(settings)
    if settings.capture.percent:
        request["DataCaptureConfig"] = _capture(settings)
    return request


def deployment(settings: Settings, alarms: list[str]) -> Mapping[str, Any]:
    """UpdateEndpoint's DeploymentConfig: a share first, the others later, all back when an alarm sounds."""
    size = {"Type": "CAPACITY_PERCENT", "Value": settings.canary.percent}
    wait = settings.canary.wait_seconds
    routing = {"Type": "CANARY", "CanarySize": size, "WaitIntervalInSeconds": wait}
    limit = max(600, 2 * (wait + settings.startup_seconds))
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": 0,
            "MaximumExecutionTimeoutInSeconds": limit,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]},
    }


def _hosts(settings: Settings) -> dict[str, Any]:
    if settings.serving == "serverless":
        wanted = settings.serverless
        return {"ServerlessConfig": {"MemorySizeInMB": wanted.memory_mb, "MaxConcurrency": wanted.concurrency}}
    ami = instances.host(settings)
    return {
        "InstanceType": settings.serving_instance_type,
        "InitialInstanceCount": settings.serving_instances,
        "ModelDataDownloadTimeoutInSeconds": settings.startup_seconds,
        "ContainerStartupHealthCheckTimeoutInSeconds": settings.startup_seconds,
        **({"InferenceAmiVersion": ami} if ami else {}),
    }


def _for_large_requests(settings: Settings) -> dict[str, str]:
    """The image's limits are those of real-time endpoints, unless it is told otherwise."""
    wanted = settings.asynchronous
    return {
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(wanted.payload_mb),
        "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": str(wanted.seconds - _TO_ANSWER),
    }


def _queue(settings: Settings) -> dict[str, Any]:
    place = {"S3OutputPath": settings.below("answers"), "S3FailurePath": settings.below("failures")}
    key = {"KmsKeyId": settings.kms_key} if settings.kms_key else {}
    return {"OutputConfig": {**place, **key}, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": _AT_ONCE}}


def _capture(settings: Settings) -> dict[str, Any]:
    key = {"KmsKeyId": settings.kms_key} if settings.kms_key else {}
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": settings.capture.percent,
        "DestinationS3Uri": settings.below("captured"),
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        **key,
    }
