"""Removes what the project has made and what costs money by the hour; data, models in S3 and logs stay."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from workflow.account import SCREEN, client
from workflow.settings import Settings


@dataclass(frozen=True)
class Thing:
    """Something that can be removed."""

    kind: str
    name: str
    note: str
    remove: Callable[[], object]


def find(settings: Settings) -> list[Thing]:
    """What the project has made and marked with its tag, endpoints first; nothing else is touched."""
    sagemaker = client(settings, "sagemaker")
    return [*_endpoints(settings, sagemaker), *_configs(settings, sagemaker), *_models(settings, sagemaker)]


def clean(settings: Settings, confirmed: Callable[[], bool]) -> None:
    """List, ask, remove."""
    things = find(settings)
    for thing in things:
        SCREEN.print(f"{thing.kind} {thing.name}{thing.note}")
    if not things:
        SCREEN.print(f"nothing of {settings.project} is there")
    elif confirmed():
        for thing in things:
            thing.remove()
        SCREEN.print(f"removed {len(things)}")


def _endpoints(settings: Settings, sagemaker: Any) -> Iterator[Thing]:
    for one in _listed(sagemaker, "list_endpoints", "Endpoints"):  # a user may have named them himself
        if _is_ours(sagemaker, one["EndpointArn"], settings):
            name = one["EndpointName"]
            yield Thing("endpoint", name, _hourly(sagemaker, one), partial(_end_endpoint, sagemaker, name))


def _configs(settings: Settings, sagemaker: Any) -> Iterator[Thing]:
    for one in _listed(sagemaker, "list_endpoint_configs", "EndpointConfigs", NameContains=settings.project):
        if _is_ours(sagemaker, one["EndpointConfigArn"], settings):
            name = one["EndpointConfigName"]
            remove = partial(sagemaker.delete_endpoint_config, EndpointConfigName=name)
            yield Thing("endpoint configuration", name, "", remove)


def _models(settings: Settings, sagemaker: Any) -> Iterator[Thing]:
    for one in _listed(sagemaker, "list_models", "Models", NameContains=settings.project):
        if _is_ours(sagemaker, one["ModelArn"], settings):
            name = one["ModelName"]
            yield Thing("model", name, "", partial(sagemaker.delete_model, ModelName=name))


def _hourly(sagemaker: Any, endpoint: dict[str, Any]) -> str:
    if endpoint["EndpointStatus"] == "Failed":
        return ", Failed"
    record = sagemaker.describe_endpoint(EndpointName=endpoint["EndpointName"])
    config = sagemaker.describe_endpoint_config(EndpointConfigName=record["EndpointConfigName"])
    hosts = [f"{one['InitialInstanceCount']} x {one['InstanceType']}" for one in config["ProductionVariants"]]
    return f", {endpoint['EndpointStatus']}: {', '.join(hosts)}, billed by the hour"


def _end_endpoint(sagemaker: Any, name: str) -> None:
    if sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] != "Deleting":
        sagemaker.delete_endpoint(EndpointName=name)
    patience = {"Delay": 2, "MaxAttempts": 300}
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=patience)


def _listed(sagemaker: Any, operation: str, answer: str, **wanted: str) -> Iterator[dict[str, Any]]:
    pages = sagemaker.get_paginator(operation).paginate(**wanted)
    return (one for page in pages for one in page[answer])


def _is_ours(sagemaker: Any, arn: str, settings: Settings) -> bool:
    return settings.labels[0] in sagemaker.list_tags(ResourceArn=arn)["Tags"]
