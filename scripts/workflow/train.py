"""A training job through the SDK's generic Estimator."""

import json
import time
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from desk import DeskError
from ways import ROOT
from workflow import debugging, features, instances
from workflow.account import ENDED, LOOK_EVERY, SCREEN, client, new_name, session, uploaded
from workflow.report import fetch
from workflow.settings import Settings
from workflow.weights import pretrained

# What the image prints and by which expressions it is read: the image's own file.
DEFINITIONS = ROOT / "container" / "image_classifier" / "training" / "metric_definitions.json"

_LOOKS_AFTER_THE_END = 2  # CloudWatch gets a job's last lines a little after its end


def estimator(settings: Settings, debugger: Mapping[str, Any] = debugging.WITHOUT) -> Any:
    """The SDK's Estimator for the image, by the settings, with or without AWS's Debugger."""
    from sagemaker.estimator import Estimator

    spot = {"use_spot_instances": True, "max_wait": settings.max_seconds} if settings.spot else {}
    return Estimator(
        settings.image_uri,
        settings.role,
        instance_count=settings.instances,
        instance_type=settings.instance_type,
        volume_size=settings.volume_gb,
        max_run=settings.max_seconds,
        output_path=settings.below("jobs"),
        sagemaker_session=session(settings),
        hyperparameters={name: str(value) for name, value in settings.hyperparameters.items()},
        metric_definitions=json.loads(DEFINITIONS.read_text()),
        enable_sagemaker_metrics=True,  # off for images that are not AWS's own: no curves on the job's page
        enable_network_isolation=settings.network_isolation,
        volume_kms_key=instances.volume_key(settings, settings.instance_type),
        output_kms_key=settings.kms_key or None,
        tags=settings.labels,
        **_network(settings),
        **debugger,
        **spot,
    )


def _network(settings: Settings) -> dict[str, Any]:
    return {
        "subnets": settings.vpc.subnets or None,
        "security_group_ids": settings.vpc.security_groups or None,
        "encrypt_inter_container_traffic": settings.encrypt_traffic,
    }


def train(settings: Settings, wait: bool = True) -> None:
    """Begin a job; show its log until it ends, and then what came of it."""
    name = new_name(settings, "train")
    _begin(settings, name, channels(settings))
    SCREEN.print(f"job: {name}")
    if wait:
        show(settings, name)


def channels(settings: Settings) -> dict[str, str]:
    """What a job reads, name by name: the uploaded pictures, and the weights and features that it begins with."""
    return {"training": uploaded(settings), **pretrained(settings), **features.kept(settings)}


def _begin(settings: Settings, name: str, data: Mapping[str, str]) -> None:
    """Begin the job with AWS's Debugger, and without it where the account has none."""
    if debugging.is_wanted(settings):
        try:
            return _fit(settings, name, data, debugging.arguments(settings))
        except ClientError as error:
            if not debugging.is_refused(error, settings.debugger):
                raise
            SCREEN.print(debugging.NOTE)
    return _fit(settings, name, data, debugging.WITHOUT)


def _fit(settings: Settings, name: str, data: Mapping[str, str], debugger: Mapping[str, Any]) -> None:
    made = estimator(settings, debugger)
    if settings.spot:
        made.checkpoint_s3_uri = settings.below("checkpoints", name)
    made.fit(dict(data), job_name=name, wait=False, logs=False)


def show(settings: Settings, name: str) -> None:
    """Follow a job's log, then say how it went; DeskError when it failed."""
    sagemaker = client(settings, "sagemaker")
    log = Log(settings, name)
    while (job := sagemaker.describe_training_job(TrainingJobName=name))["TrainingJobStatus"] not in ENDED:
        log.show()
        time.sleep(LOOK_EVERY)
    for _ in range(_LOOKS_AFTER_THE_END):
        log.show()
        time.sleep(LOOK_EVERY)
    _tell(settings, job)
    if job["TrainingJobStatus"] == "Failed":
        raise DeskError(f"job {name} failed: {job['FailureReason']}")
    SCREEN.print(f"model: {job['ModelArtifacts']['S3ModelArtifacts']}")


def _tell(settings: Settings, job: Mapping[str, Any]) -> None:
    """Metrics, verdicts, cost and report of a job that has ended, well or not."""
    for metric in job.get("FinalMetricDataList", []):
        SCREEN.print(f"  {metric['MetricName']:<18} {metric['Value']:.4g}")
    for line in debugging.verdicts(job):
        SCREEN.print(line, markup=False)
    SCREEN.print(f"{job['TrainingJobStatus'].lower()}: {instances.bill(settings, job)}")
    fetch(settings, job["TrainingJobName"])


class Log:
    """A training job's lines in CloudWatch Logs."""

    group = "/aws/sagemaker/TrainingJobs"

    def __init__(self, settings: Settings, job: str) -> None:
        self._logs, self._job = client(settings, "logs"), job
        self._tokens: dict[str, str] = {}

    def show(self) -> None:
        """Print what is new."""
        try:
            streams = self._logs.describe_log_streams(logGroupName=self.group, logStreamNamePrefix=f"{self._job}/")
        except self._logs.exceptions.ResourceNotFoundException:  # no job has ever said anything here
            return
        for stream in streams["logStreams"]:
            self._show_stream(stream["logStreamName"])

    def _show_stream(self, name: str) -> None:
        token = self._tokens.get(name, "")
        while True:
            more = {"nextToken": token} if token else {}
            answer = self._logs.get_log_events(logGroupName=self.group, logStreamName=name, startFromHead=True, **more)
            for event in answer["events"]:
                SCREEN.print(event["message"], markup=False)
            before, token = token, answer["nextForwardToken"]
            if token == before:  # the end for now; a page without events is none
                break
        self._tokens[name] = token
