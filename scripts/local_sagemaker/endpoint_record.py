"""What DescribeEndpoint says of an endpoint's parts."""

import time
from collections.abc import Sequence

from local_sagemaker.store import Record
from local_sagemaker.variant import Variant


def region_of(endpoint: Record) -> str:
    """Where an endpoint was made."""
    return str(endpoint["EndpointArn"].split(":")[3])


def summary_of(variant: Variant) -> Record:
    """ProductionVariantSummary."""
    image = variant.container["Image"]
    count = variant.config.get("InitialInstanceCount", 1)
    weight = variant.config.get("InitialVariantWeight", 1.0)
    return {
        "VariantName": variant.name,
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": time.time()}],
        "CurrentWeight": weight,
        "DesiredWeight": weight,
        "CurrentInstanceCount": 0 if variant.serverless else count,
        "DesiredInstanceCount": 0 if variant.serverless else count,
        **({"CurrentServerlessConfig": variant.serverless} if variant.serverless else {}),
    }


def pending_of(config: str, started: Sequence[Variant], status: str, message: str) -> Record:
    """PendingDeploymentSummary: how far an update to a configuration is."""
    said = {"Status": status, "StatusMessage": message, "StartTime": time.time()}
    variants = [{**summary_of(variant), "VariantStatus": [said]} for variant in started]
    return {"EndpointConfigName": config, "ProductionVariants": variants}


def shown_of(config: Record) -> Record:
    """What an endpoint shows of its configuration."""
    shown: Record = {}
    if config.get("AsyncInferenceConfig"):
        shown["AsyncInferenceConfig"] = config["AsyncInferenceConfig"]
    if capture := config.get("DataCaptureConfig"):
        status = "Started" if capture.get("EnableCapture") else "Stopped"
        kept = {name: capture[name] for name in ("EnableCapture", "DestinationS3Uri", "KmsKeyId") if name in capture}
        sampled = {"CaptureStatus": status, "CurrentSamplingPercentage": capture["InitialSamplingPercentage"]}
        shown["DataCaptureConfig"] = {"EnableCapture": False, "KmsKeyId": "", **kept, **sampled}
    return shown
