"""What watches an endpoint: autoscaling, and the alarm that rolls an update back."""

from typing import Any

from botocore.exceptions import ClientError

from workflow.account import client
from workflow.serving import VARIANT
from workflow.settings import Settings

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_TARGET = {"ServiceNamespace": "sagemaker", "ScalableDimension": DIMENSION}


def resource(endpoint: str) -> str:
    """An endpoint's variant as autoscaling calls it."""
    return f"endpoint/{endpoint}/variant/{VARIANT}"


def scale(settings: Settings, endpoint: str) -> str:
    """Let an endpoint grow and shrink with its requests; in words, how far."""
    scaling, target = client(settings, "application-autoscaling"), {**_TARGET, "ResourceId": resource(endpoint)}
    waits = settings.serving == "asynchronous"
    least = 0 if waits else settings.serving_instances
    most = settings.autoscaling.most
    scaling.register_scalable_target(**target, MinCapacity=least, MaxCapacity=most)
    scaling.put_scaling_policy(
        **target,
        PolicyName=f"{endpoint}-load",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=_policy(settings, endpoint, waits),
    )
    if waits:
        _wake(settings, endpoint, target)
    return f"{least} to {most} instances"


def is_scaled(settings: Settings, endpoint: str) -> bool:
    """Whether an endpoint grows and shrinks; who may not look at that has not made it so."""
    scaling = client(settings, "application-autoscaling")
    try:
        found = scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[resource(endpoint)])
    except ClientError:
        return False
    return bool(found["ScalableTargets"])


def unscale(settings: Settings, endpoint: str) -> None:
    """Let an endpoint stay as it is."""
    if is_scaled(settings, endpoint):
        scaling = client(settings, "application-autoscaling")
        scaling.deregister_scalable_target(**_TARGET, ResourceId=resource(endpoint))


def guard(settings: Settings, endpoint: str) -> list[str]:
    """The alarms that roll an update back; the one on the endpoint's own errors is made here."""
    name = alarm(endpoint)
    client(settings, "cloudwatch").put_metric_alarm(
        AlarmName=name,
        AlarmDescription=f"Answers of 5xx by the endpoint {endpoint}; rolls an update back",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=_dimensions(endpoint),
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=settings.canary.errors,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
        Tags=settings.labels,
    )
    return [name, *settings.canary.alarms]


def alarm(endpoint: str) -> str:
    """Name of the alarm on an endpoint's errors."""
    return f"{endpoint}-5xx"


def remove(settings: Settings, endpoint: str) -> None:
    """Take away what watches an endpoint."""
    unscale(settings, endpoint)
    client(settings, "cloudwatch").delete_alarms(AlarmNames=_there(settings, [alarm(endpoint), _waking(endpoint)]))


def _policy(settings: Settings, endpoint: str, waits: bool) -> dict[str, Any]:
    wanted = settings.autoscaling
    pace = {"ScaleOutCooldown": wanted.grow_seconds, "ScaleInCooldown": wanted.shrink_seconds}
    if not waits:
        metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
        return {"TargetValue": wanted.requests_a_minute, "PredefinedMetricSpecification": metric, **pace}
    backlog = {
        "MetricName": "ApproximateBacklogSizePerInstance",
        "Namespace": "AWS/SageMaker",
        "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
        "Statistic": "Average",
    }
    return {"TargetValue": wanted.waiting, "CustomizedMetricSpecification": backlog, **pace}


def _wake(settings: Settings, endpoint: str, target: dict[str, Any]) -> None:
    """From no instance to one: a backlog for each of none is no number, so AWS has a metric of its own for it."""
    step = {"AdjustmentType": "ChangeInCapacity", "MetricAggregationType": "Average", "Cooldown": 300}
    policy = client(settings, "application-autoscaling").put_scaling_policy(
        **target,
        PolicyName=f"{endpoint}-wake",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            **step,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    )
    client(settings, "cloudwatch").put_metric_alarm(
        AlarmName=_waking(endpoint),
        Namespace="AWS/SageMaker",
        MetricName="HasBacklogWithoutCapacity",
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=2,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="missing",
        AlarmActions=[policy["PolicyARN"]],
        Tags=settings.labels,
    )


def _waking(endpoint: str) -> str:
    return f"{endpoint}-waiting"


def _dimensions(endpoint: str) -> list[dict[str, str]]:
    return [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": VARIANT}]


def _there(settings: Settings, names: list[str]) -> list[str]:
    try:
        found = client(settings, "cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    except ClientError:  # who may not look at alarms has made none
        return []
    return [one["AlarmName"] for one in found]
