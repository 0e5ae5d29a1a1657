"""One training job, from its request to its artifacts: what SageMaker does around `train`."""

import time
import traceback
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from local_sagemaker import archive, layout, rules
from local_sagemaker.aws import LogStream, Uri, put_metric
from local_sagemaker.checkpoints import Mirror
from local_sagemaker.errors import ApiError
from local_sagemaker.follower import Follower
from local_sagemaker.hosts import Host
from local_sagemaker.machines import joining
from local_sagemaker.platform import Platform
from local_sagemaker.store import Record

KIND = "TrainingJob"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_FAILURE_CHARACTERS = 1024
_LOOK_EVERY = 0.2
_SYNC_EVERY = 1.0
_MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "Interrupted": "Training job interrupted; it starts again when there is capacity",
}


class Ending(StrEnum):
    """Why `train` is over, in the word of the last secondary status."""

    EXITED = "Completed"
    STOPPED = "Stopped"
    LATE = "MaxRuntimeExceeded"
    INTERRUPTED = "Interrupted"


def enter(record: Record, status: str, message: str = "") -> None:
    """Add a secondary status to a job's record."""
    now = time.time()
    transitions = record.setdefault("SecondaryStatusTransitions", [])
    if transitions:
        transitions[-1].setdefault("EndTime", now)
    text = message or _MESSAGES.get(status, status)
    transitions.append({"Status": status, "StartTime": now, "StatusMessage": text})
    record["SecondaryStatus"] = status


class TrainingRun:
    """Runs in a thread of its own; everything that others may know is in the record."""

    def __init__(self, platform: Platform, name: str) -> None:
        self._platform, self._name = platform, name
        self._request = platform.store.get(KIND, name)
        self._place = platform.place("training-jobs", name)
        self._region = self._request["TrainingJobArn"].split(":")[3]
        self._names = platform.machines.names(self._request["ResourceConfig"].get("InstanceCount", 1))
        self._hosts = [self._host(number, name) for number, name in enumerate(self._names, 1)]
        self._started = 0.0

    def run(self) -> None:
        """From Starting to the end; whatever happens, the job has an end and a reason."""
        try:
            ending, code = self._attempts()
            self._finish(ending, code)
        except ApiError as error:
            self._end("Failed", f"{error.code}: {error.message}")
        except Exception as error:
            traceback.print_exc()
            self._end("Failed", f"InternalServerError: {type(error).__name__}: {error}")

    def _attempts(self) -> tuple[Ending, int]:
        while True:
            self._prepare()
            if self._record()["TrainingJobStatus"] == "Stopping":
                return Ending.STOPPED, 0
            isolated = bool(self._request.get("EnableNetworkIsolation"))
            with self._platform.machines.network(len(self._hosts), isolated) as network:
                self._start(network)
                ending = self._attend()
            if ending is not Ending.INTERRUPTED:
                return ending, next((host.exit_code for host in self._hosts if host.exit_code), 0)
            self._enter("Interrupted", _Interrupt=False)

    def _prepare(self) -> None:
        self._enter("Downloading")
        for host in self._hosts:
            host.prepare(self._platform, self._request, self._names)

    def _start(self, network: str) -> None:
        self._started = self._started or time.time()
        self._enter("Training", TrainingStartTime=self._started)
        variables = layout.environment(self._request, self._name, self._region, self._request["TrainingJobArn"])
        image = self._request["AlgorithmSpecification"]["TrainingImage"]
        machines, kind = self._platform.machines, self._request["ResourceConfig"].get("InstanceType", "")
        for host in self._hosts:
            log = host.follower.log
            flags = (*machines.limits(kind, log), *joining(network, host.name))
            host.machine = machines.train(image, host.base, variables, log, flags)

    def _attend(self) -> Ending:
        """Watch over `train` until it has ended on every host; where it fails on one, all are told to stop."""
        ending, synced = Ending.EXITED, time.monotonic()
        while not all([host.ended for host in self._hosts]):
            if ending is Ending.EXITED and (wanted := self._wanted()):
                ending = wanted
            if ending is not Ending.EXITED or any(host.exit_code for host in self._hosts):
                self._each(Host.tell)
            self._each(Host.read)
            if time.monotonic() - synced > _SYNC_EVERY:
                self._each(Host.sync)
                synced = time.monotonic()
            time.sleep(_LOOK_EVERY)
        self._each(lambda host: host.read(ended=True))
        self._each(Host.sync)
        return ending

    def _each(self, work: Callable[[Host], None]) -> None:
        for host in self._hosts:
            work(host)

    def _wanted(self) -> Ending | None:
        """Whether somebody or something wants this job to end."""
        record = self._record()
        limit = record["StoppingCondition"].get("MaxRuntimeInSeconds", 86400)
        if record["TrainingJobStatus"] == "Stopping":
            return Ending.STOPPED
        if time.time() - self._started > limit:
            return Ending.LATE
        return Ending.INTERRUPTED if record.get("_Interrupt") else None

    def _finish(self, ending: Ending, code: int) -> None:
        """Upload what is there and say how it went."""
        self._enter("Uploading", TrainingEndTime=time.time(), DebugRuleEvaluationStatuses=self._verdicts())
        self._upload("output/data", "output.tar.gz")
        if ending is Ending.EXITED and code:
            self._end("Failed", self._failure(code))
            return
        if model := self._upload("model", "model.tar.gz"):
            self._platform.store.update(KIND, self._name, ModelArtifacts={"S3ModelArtifacts": str(model)})
        self._end("Completed" if ending is Ending.EXITED else "Stopped", secondary=ending.value)

    def _verdicts(self) -> list[Record]:
        configured = self._request.get("DebugRuleConfigurations") or []
        return rules.statuses(configured, self._hosts[0].base / "output" / "data", self._request["TrainingJobArn"])

    def _upload(self, folder: str, archive_name: str) -> Uri | None:
        sources = [host.base / folder for host in self._hosts]
        if not any(path for source in sources for path in source.iterdir()):
            return None
        output = self._request["OutputDataConfig"]
        place = Uri.parse(output["S3OutputPath"]).below(self._name, "output")
        if output.get("CompressionType") == "NONE":
            for source in sources:
                for path in filter(Path.is_file, source.rglob("*")):
                    self._write(place.below(Path(folder).name, str(path.relative_to(source))), path.read_bytes())
            return place.below(Path(folder).name + "/")
        self._write(place.below(archive_name), archive.pack(sources))
        return place.below(archive_name)

    def _write(self, place: Uri, content: bytes) -> None:
        try:
            self._platform.objects.write(place, content)
        except KeyError:
            raise ApiError("ClientError", f"Upload failed: the bucket of {place} does not exist; make it.") from None

    def _failure(self, code: int) -> str:
        """The reason as SageMaker gives it."""
        failed = [host for host in self._hosts if host.exit_code]
        said = max(failed, key=lambda host: host.has_reason).said()
        ending = f", exit code: {code}"
        return f"AlgorithmError: {said}"[: _FAILURE_CHARACTERS - len(ending)] + ending

    def _end(self, status: str, reason: str = "", secondary: str = "") -> None:
        now = time.time()
        seconds = int(now - self._started) if self._started else 0

        def change(record: Record) -> None:
            record.update(
                TrainingJobStatus=status,
                TrainingEndTime=record.get("TrainingEndTime", now),
                TrainingTimeInSeconds=seconds,
                BillableTimeInSeconds=seconds,
                FinalMetricDataList=[one for host in self._hosts for one in host.follower.final.values()],
            )
            if reason:
                record["FailureReason"] = reason[:_FAILURE_CHARACTERS]
            enter(record, secondary or status, reason[:_FAILURE_CHARACTERS])

        self._platform.store.change(KIND, self._name, change)

    def _record(self) -> Record:
        return self._platform.store.get(KIND, self._name)

    def _enter(self, status: str, **values: object) -> None:
        def change(record: Record) -> None:
            record.update(values)
            enter(record, status)

        self._platform.store.change(KIND, self._name, change)

    def _host(self, number: int, name: str) -> Host:
        more = f"-{number}" if number > 1 else ""
        log, base = self._place / f"log{more}", self._place / f"ml{more}"
        stream = LogStream(self._region, LOG_GROUP, f"{self._name}/algo-{number}-{int(time.time())}")
        definitions = self._request["AlgorithmSpecification"].get("MetricDefinitions") or []
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        uri = (self._request.get("CheckpointConfig") or {}).get("S3Uri")
        folder = layout.checkpoints(base, self._request)
        mirror = Mirror(self._platform.objects, folder, Uri.parse(uri)) if uri else None
        return Host(name, base, Follower(log, stream, definitions, self._measured), mirror)

    def _measured(self, name: str, value: float) -> None:
        put_metric(self._region, LOG_GROUP, {"TrainingJobName": self._name}, name, value)
        row = [time.time(), value]
        self._platform.store.change(
            KIND, self._name, lambda record: record.setdefault("_Metrics", {}).setdefault(name, []).append(row)
        )
