"""CreateHyperParameterTuningJob and its sisters."""

import threading
import time
from collections.abc import Callable, Mapping

from local_sagemaker.aws import arn
from local_sagemaker.errors import invalid
from local_sagemaker.listing import page
from local_sagemaker.platform import Platform
from local_sagemaker.search import Search
from local_sagemaker.store import Record, public
from local_sagemaker.training_jobs import ENDED, TrainingJobs
from local_sagemaker.tuning_run import KIND, TuningRun, resources, summary, trials

Operation = Callable[[Record, str], Record]
_SUMMARY = [
    "HyperParameterTuningJobName",
    "HyperParameterTuningJobArn",
    "HyperParameterTuningJobStatus",
    "CreationTime",
    "LastModifiedTime",
    "HyperParameterTuningEndTime",
    "TrainingJobStatusCounters",
    "ObjectiveStatusCounters",
]


class TuningJobs:
    """Tuning jobs: begun here, run by TuningRun."""

    def __init__(self, platform: Platform, training: TrainingJobs) -> None:
        self._platform, self._store, self._training = platform, platform.store, training
        self.operations: Mapping[str, Operation] = {
            "CreateHyperParameterTuningJob": self.create,
            "DescribeHyperParameterTuningJob": self.describe,
            "StopHyperParameterTuningJob": self.stop,
            "ListHyperParameterTuningJobs": self.listed,
            "ListTrainingJobsForHyperParameterTuningJob": self.list_trials,
        }

    def create(self, request: Record, region: str) -> Record:
        """Begin a tuning job."""
        check(request)
        for parent in (request.get("WarmStartConfig") or {}).get("ParentHyperParameterTuningJobs") or []:
            self._store.get(KIND, parent["HyperParameterTuningJobName"])
        name = request["HyperParameterTuningJobName"]
        zero = dict.fromkeys(("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0)
        record = {
            **request,
            "HyperParameterTuningJobArn": arn(region, "hyper-parameter-tuning-job", name),
            "HyperParameterTuningJobStatus": "InProgress",
            "TrainingJobStatusCounters": zero,
            "ObjectiveStatusCounters": {"Succeeded": 0, "Pending": 0, "Failed": 0},
        }
        self._store.create(KIND, name, record)
        threading.Thread(target=TuningRun(self._platform, self._training, name).run, daemon=True).start()
        return {"HyperParameterTuningJobArn": record["HyperParameterTuningJobArn"]}

    def describe(self, request: Record, _region: str) -> Record:
        """All about a tuning job."""
        return public(self._store.get(KIND, request["HyperParameterTuningJobName"]))

    def stop(self, request: Record, _region: str) -> Record:
        """Begin no more trials and stop those that run."""

        def change(record: Record) -> None:
            if record["HyperParameterTuningJobStatus"] != "InProgress":
                raise invalid(f"The tuning job is {record['HyperParameterTuningJobStatus']} and cannot be stopped.")
            record["HyperParameterTuningJobStatus"] = "Stopping"

        self._store.change(KIND, request["HyperParameterTuningJobName"], change)
        return {}

    def listed(self, request: Record, _region: str) -> Record:
        """Tuning jobs by status and by part of the name."""
        wanted = request.get("StatusEquals")
        found = [
            {**{key: job[key] for key in _SUMMARY if key in job}, "Strategy": _strategy(job)}
            for job in self._store.all(KIND)
            if request.get("NameContains", "") in job["HyperParameterTuningJobName"]
            and wanted in (None, job["HyperParameterTuningJobStatus"])
        ]
        return page(request, "HyperParameterTuningJobSummaries", found)

    def list_trials(self, request: Record, _region: str) -> Record:
        """The training jobs of a tuning job, the best first when asked for so."""
        name, wanted = request["HyperParameterTuningJobName"], request.get("StatusEquals")
        tuning = self._store.get(KIND, name)
        found = [job for job in trials(self._platform, name) if wanted in (None, job["TrainingJobStatus"])]
        summaries = [summary(job) for job in found]
        if request.get("SortBy") == "FinalObjectiveMetricValue":
            member = "FinalHyperParameterTuningJobObjectiveMetric"
            summaries = [one for one in summaries if member in one]
            objective = tuning["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
            summaries.sort(key=lambda one: one[member]["Value"], reverse=objective["Type"] == "Maximize")
        return page(request, "TrainingJobSummaries", summaries)

    def recover(self) -> None:
        """After a restart: what ran then has ended without a result; its finished trials are there."""
        reason = (
            "InternalServerError: local_sagemaker ended while the job ran; start another with a warm start from it."
        )
        for job in self._store.all(KIND):
            if job["HyperParameterTuningJobStatus"] not in ENDED:
                self._store.update(
                    KIND,
                    job["HyperParameterTuningJobName"],
                    HyperParameterTuningJobStatus="Failed",
                    FailureReason=reason,
                    HyperParameterTuningEndTime=time.time(),
                )


def check(request: Record) -> None:
    """What the model of the service cannot say, and what this desk cannot do; ApiError says which."""
    config, definition = request["HyperParameterTuningJobConfig"], request.get("TrainingJobDefinition")
    if not definition:
        raise invalid("local_sagemaker runs one TrainingJobDefinition a tuning job; give that.")
    objective = config.get("HyperParameterTuningJobObjective")
    if not objective:
        raise invalid("HyperParameterTuningJobConfig.HyperParameterTuningJobObjective must be given.")
    defined = [one["Name"] for one in definition["AlgorithmSpecification"].get("MetricDefinitions") or []]
    if objective["MetricName"] not in defined:
        raise invalid(
            f"The objective {objective['MetricName']!r} has no metric definition; defined are "
            f"{', '.join(defined) or 'none'}. Give metric_definitions to the tuner."
        )
    if config["Strategy"] == "Hyperband" and config.get("TrainingJobEarlyStoppingType") == "Auto":
        raise invalid("Hyperband stops trials itself; say TrainingJobEarlyStoppingType=Off.")
    resources(definition)
    combinations = Search(config, definition.get("StaticHyperParameters")).combinations
    asked = config["ResourceLimits"].get("MaxNumberOfTrainingJobs", combinations)
    if combinations and asked != combinations:
        raise invalid(
            f"The strategy Grid tries all {combinations} combinations of its ranges; leave MaxNumberOfTrainingJobs out "
            f"or say {combinations}, not {asked}."
        )


def _strategy(job: Record) -> str:
    return str(job["HyperParameterTuningJobConfig"]["Strategy"])
