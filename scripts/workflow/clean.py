"""Removes what the project has made and what costs money by the hour; what it has stored only when that is said."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from botocore.exceptions import ClientError

from workflow import instances, scaling, stored
from workflow.account import SCREEN, client
from workflow.settings import Settings

_AT_A_TIME = 4


@dataclass(frozen=True)
class Thing:
    """Something that can be removed, or stopped."""

    kind: str
    name: str
    note: str
    remove: Callable[[], object]
    cost: float | None = 0  # USD an hour; None when no price is known


def find(settings: Settings) -> list[Thing]:
    """What the project has made and marked with its tag, what costs most first; nothing else is touched."""
    found = Finder(settings, client(settings, "sagemaker"))
    return [*found.jobs(), *found.endpoints(), *found.configs(), *found.models()]


def clean(settings: Settings, confirmed: Callable[[], bool], data: bool = False) -> None:
    """List, ask, remove; with `data` also what is stored: pictures, models, reports, answers, logs."""
    things = find(settings)
    kept = list(stored.find(settings, [thing.name for thing in things if thing.kind == "endpoint"]))
    if data:
        things += [Thing(one.kind, one.name, one.note, one.remove) for one in kept]
    for thing in things:
        SCREEN.print(f"{thing.kind} {thing.name}{thing.note}", markup=False)
    for one in () if data else kept:
        SCREEN.print(f"stays: {one.kind} {one.name}{one.note}", markup=False)
    if kept and not data:
        SCREEN.print("what stays costs by the month; --data (make sm-clean ARGS=--data) removes it, too")
    if not things:
        SCREEN.print(f"nothing {'else ' if kept else ''}of {settings.project} is there")
        return
    known = sum(thing.cost or 0 for thing in things)
    more = ", and what has no price" if any(thing.cost is None for thing in things) else ""
    SCREEN.print(f"together {known:.4g} USD an hour{more}")
    if confirmed():
        with ThreadPoolExecutor(_AT_A_TIME) as workers:
            for _, alike in groupby(things, lambda thing: thing.kind):  # endpoints before what they are made of
                list(workers.map(lambda thing: thing.remove(), alike))
        SCREEN.print(f"removed {len(things)}")


@dataclass(frozen=True)
class Finder:
    """Looks for what bears the project's tag."""

    settings: Settings
    sagemaker: Any

    def jobs(self) -> Iterator[Thing]:
        """What runs now; trials end with their tuning job."""
        sagemaker = self.sagemaker
        running = {"NameContains": self.settings.project, "StatusEquals": "InProgress"}
        for one in self._ours("HyperParameterTuningJob", "list_hyper_parameter_tuning_jobs", **running):
            name = one["HyperParameterTuningJobName"]
            stop = partial(sagemaker.stop_hyper_parameter_tuning_job, HyperParameterTuningJobName=name)
            yield self._running("tuning job", name, self._trials(name), stop)
        for one in self._ours("TrainingJob", "list_training_jobs", **running):
            name = one["TrainingJobName"]
            job = sagemaker.describe_training_job(TrainingJobName=name)
            if "TuningJobArn" not in job:
                stop = partial(sagemaker.stop_training_job, TrainingJobName=name)
                yield self._running("training job", name, [job["ResourceConfig"]], stop)
        for one in self._ours("TransformJob", "list_transform_jobs", **running):
            name = one["TransformJobName"]
            job = sagemaker.describe_transform_job(TransformJobName=name)
            stop = partial(sagemaker.stop_transform_job, TransformJobName=name)
            yield self._running("transform job", name, [job["TransformResources"]], stop)

    def endpoints(self) -> Iterator[Thing]:
        """Endpoints, with what watches them; a user may have named them himself."""
        for one in self._ours("Endpoint", "list_endpoints"):
            name = one["EndpointName"]
            note, cost = self._hourly(one)
            yield Thing("endpoint", name, note, partial(self._end_endpoint, name), cost)

    def configs(self) -> Iterator[Thing]:
        """Endpoint configurations; they cost nothing."""
        for one in self._ours("EndpointConfig", "list_endpoint_configs", NameContains=self.settings.project):
            name = one["EndpointConfigName"]
            remove = partial(self.sagemaker.delete_endpoint_config, EndpointConfigName=name)
            yield Thing("endpoint configuration", name, "", remove)

    def models(self) -> Iterator[Thing]:
        """Models; they cost nothing."""
        for one in self._ours("Model", "list_models", NameContains=self.settings.project):
            name = one["ModelName"]
            yield Thing("model", name, "", partial(self.sagemaker.delete_model, ModelName=name))

    def _ours(self, kind: str, operation: str, **wanted: str) -> Iterator[dict[str, Any]]:
        """All of a kind that bear the project's tag."""
        tag = self.settings.labels[0]
        for page in self.sagemaker.get_paginator(operation).paginate(**wanted):
            [listed] = [value for value in page.values() if isinstance(value, list)]
            for one in listed:
                if tag in self.sagemaker.list_tags(ResourceArn=one[f"{kind}Arn"])["Tags"]:
                    yield one

    def _trials(self, name: str) -> list[Mapping[str, Any]]:
        found = self.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name, StatusEquals="InProgress"
        )["TrainingJobSummaries"]
        names = [one["TrainingJobName"] for one in found]
        return [self.sagemaker.describe_training_job(TrainingJobName=one)["ResourceConfig"] for one in names]

    def _running(self, kind: str, name: str, hosts: list[Mapping[str, Any]], stop: Callable[[], object]) -> Thing:
        note, cost = self._price([(one["InstanceType"], one["InstanceCount"]) for one in hosts])
        return Thing(kind, name, f", runs: {note}", partial(_stop, stop), cost)

    def _hourly(self, endpoint: Mapping[str, Any]) -> tuple[str, float | None]:
        if endpoint["EndpointStatus"] == "Failed":
            return ", Failed", 0
        record = self.sagemaker.describe_endpoint(EndpointName=endpoint["EndpointName"])
        config = self.sagemaker.describe_endpoint_config(EndpointConfigName=record["EndpointConfigName"])
        counts = {
            one["VariantName"]: one.get("CurrentInstanceCount", 0) for one in record.get("ProductionVariants", [])
        }
        variants = [one for one in config["ProductionVariants"] if "InstanceType" in one]
        if not variants:
            return f", {endpoint['EndpointStatus']}: serverless, billed by the request", 0
        hosts = [(one["InstanceType"], counts.get(one["VariantName"], one["InitialInstanceCount"])) for one in variants]
        note, cost = self._price(hosts)
        return f", {endpoint['EndpointStatus']}: {note}", cost

    def _price(self, hosts: list[tuple[str, int]]) -> tuple[str, float | None]:
        """Instances and what they cost an hour, in words and in USD."""
        words = [f"{count} x {kind}, {instances.hourly(self.settings, kind, count)}" for kind, count in hosts]
        prices = [(instances.price(self.settings, kind), count) for kind, count in hosts]
        known = [price * count for price, count in prices if price is not None]
        return "; ".join(words) or "no instance now", sum(known) if len(known) == len(prices) else None

    def _end_endpoint(self, name: str) -> None:
        scaling.remove(self.settings, name)
        if self.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] != "Deleting":
            self.sagemaker.delete_endpoint(EndpointName=name)
        patience = {"Delay": 2, "MaxAttempts": 300}
        self.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=patience)


def _stop(stop: Callable[[], object]) -> None:
    """Stop a job; one that has ended meanwhile is as good."""
    try:
        stop()
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
