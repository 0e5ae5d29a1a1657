"""CreateTrainingJob and its sisters."""

import re
import threading
import time
from collections.abc import Callable, Mapping

from local_sagemaker.aws import Uri, arn
from local_sagemaker.errors import invalid
from local_sagemaker.listing import page
from local_sagemaker.platform import Platform
from local_sagemaker.replay import replay
from local_sagemaker.store import Record, public
from local_sagemaker.training_run import KIND, TrainingRun, enter

Operation = Callable[[Record, str], Record]
ENDED = ("Completed", "Failed", "Stopped")
_MOST_HOSTS = 8
_DEBUGGER = ("DebugHookConfig", "DebugRuleConfigurations", "ProfilerRuleConfigurations")
_SUMMARY = [
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingEndTime",
    "LastModifiedTime",
    "TrainingJobStatus",
    "SecondaryStatus",
]


class TrainingJobs:
    """Training jobs: begun here, run by TrainingRun."""

    def __init__(self, platform: Platform, debugger: bool = True) -> None:
        self._platform, self._store, self._debugger = platform, platform.store, debugger
        self.operations: Mapping[str, Operation] = {
            "CreateTrainingJob": self.create,
            "DescribeTrainingJob": self.describe,
            "StopTrainingJob": self.stop,
            "ListTrainingJobs": self.listed,
        }

    def create(self, request: Record, region: str) -> Record:
        """Begin a job."""
        check(request)
        if not self._debugger and any(request.get(member) for member in _DEBUGGER):
            raise invalid("SageMaker Debugger is not available in this account: it is closed to new customers.")
        name = request["TrainingJobName"]
        record = {**request, "TrainingJobArn": arn(region, "training-job", name), "TrainingJobStatus": "InProgress"}
        record["ModelArtifacts"] = {"S3ModelArtifacts": ""}
        # AWS answers so, and the SDK's Estimator.attach reads it.
        record["OutputDataConfig"] = {"KmsKeyId": "", "CompressionType": "GZIP", **request["OutputDataConfig"]}
        enter(record, "Starting")
        self._store.create(KIND, name, record)
        threading.Thread(target=TrainingRun(self._platform, name).run, daemon=True).start()
        return {"TrainingJobArn": record["TrainingJobArn"]}

    def describe(self, request: Record, _region: str) -> Record:
        """All about a job."""
        return public(self._store.get(KIND, request["TrainingJobName"]))

    def stop(self, request: Record, _region: str) -> Record:
        """Ask a job to stop: SIGTERM, and SIGKILL 120 s later."""

        def change(record: Record) -> None:
            if record["TrainingJobStatus"] in ENDED:
                raise invalid(f"The training job is {record['TrainingJobStatus']} and cannot be stopped.")
            record["TrainingJobStatus"] = "Stopping"
            enter(record, "Stopping")

        self._store.change(KIND, request["TrainingJobName"], change)
        return {}

    def interrupt(self, name: str) -> Record:
        """Take a spot job's instance away; it starts again on another with its checkpoints."""

        def change(record: Record) -> None:
            if not record.get("EnableManagedSpotTraining") or record["SecondaryStatus"] != "Training":
                raise invalid(f"{name!r} is not a spot job that trains now, so it cannot be interrupted.")
            record["_Interrupt"] = True

        self._store.change(KIND, name, change)
        return {}

    def listed(self, request: Record, _region: str) -> Record:
        """Jobs by status and by part of the name."""
        wanted = request.get("StatusEquals")
        found = [job for job in self._store.all(KIND) if wanted in (None, job["TrainingJobStatus"])]
        named = [job for job in found if request.get("NameContains", "") in job["TrainingJobName"]]
        summaries = [{key: job[key] for key in _SUMMARY if key in job} for job in named]
        return page(request, "TrainingJobSummaries", summaries)

    def recover(self) -> None:
        """After a restart: what ran then has ended without a result; what jobs have said is told again."""
        reason = "InternalServerError: local_sagemaker ended while the job ran; start the job again."

        def change(record: Record) -> None:
            record.update(TrainingJobStatus="Failed", FailureReason=reason, TrainingEndTime=time.time())
            enter(record, "Failed", reason)

        for job in self._store.all(KIND):
            if job["TrainingJobStatus"] not in ENDED:
                self._store.change(KIND, job["TrainingJobName"], change)
            replay(self._platform, job)


def check(request: Record) -> None:
    """What the model of the service cannot say, and what this desk cannot do; ApiError says which."""
    if not request.get("AlgorithmSpecification", {}).get("TrainingImage"):
        raise invalid("local_sagemaker needs AlgorithmSpecification.TrainingImage; it runs images, no AlgorithmName.")
    count = request["ResourceConfig"].get("InstanceCount", 1)
    if not 1 <= count <= _MOST_HOSTS:
        raise invalid(f"local_sagemaker runs a job on 1 to {_MOST_HOSTS} instances; say so with InstanceCount.")
    for channel in request.get("InputDataConfig") or []:
        _check_channel(channel, count)
    Uri.parse(request["OutputDataConfig"]["S3OutputPath"])
    stopping = request["StoppingCondition"]
    if request.get("EnableManagedSpotTraining") and "MaxWaitTimeInSeconds" not in stopping:
        raise invalid("MaxWaitTimeInSeconds must be specified if EnableManagedSpotTraining is true.")
    if stopping.get("MaxWaitTimeInSeconds", 10**9) < stopping.get("MaxRuntimeInSeconds", 86400):
        raise invalid("MaxWaitTimeInSeconds must be at least MaxRuntimeInSeconds.")
    for definition in request["AlgorithmSpecification"].get("MetricDefinitions") or []:
        try:
            re.compile(definition["Regex"])
        except re.error as error:
            raise invalid(f"The regular expression of metric {definition['Name']!r} is none: {error}.") from None


def _check_channel(channel: Record, count: int) -> None:
    source = channel["DataSource"].get("S3DataSource")
    if not source or source["S3DataType"] != "S3Prefix" or channel.get("InputMode", "File") == "Pipe":
        raise invalid(
            f"Channel {channel['ChannelName']!r}: local_sagemaker reads an S3Prefix in File or FastFile mode only."
        )
    if count > 1 and source.get("S3DataDistributionType") == "ShardedByS3Key":
        raise invalid(
            f"Channel {channel['ChannelName']!r}: local_sagemaker gives every host all data; say FullyReplicated."
        )
    Uri.parse(source["S3Uri"])
