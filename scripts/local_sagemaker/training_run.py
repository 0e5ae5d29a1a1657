"""One training job, from its request to its artifacts: what SageMaker does around `train`."""

import time
import traceback
from enum import StrEnum
from pathlib import Path

from local_sagemaker import archive, layout, rules
from local_sagemaker.aws import LogStream, Uri, put_metric
from local_sagemaker.checkpoints import Mirror
from local_sagemaker.errors import ApiError
from local_sagemaker.follower import Follower
from local_sagemaker.machines import Machine
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
        self._base = self._place / "ml"
        self._region = self._request["TrainingJobArn"].split(":")[3]
        self._follower = self._follow()
        uri = (self._request.get("CheckpointConfig") or {}).get("S3Uri")
        folder = layout.checkpoints(self._base, self._request)
        self._mirror = Mirror(platform.objects, folder, Uri.parse(uri)) if uri else None
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
            machine = self._start()
            ending = self._attend(machine)
            if ending is not Ending.INTERRUPTED:
                return ending, machine.exit_code
            self._enter("Interrupted", _Interrupt=False)

    def _prepare(self) -> None:
        self._enter("Downloading")
        way = self._platform.machines.way
        layout.lay_out(self._base, self._request, way.host, movable=not self._platform.machines.in_image)
        layout.download(self._platform.objects, self._base, self._request)
        if self._mirror:
            self._mirror.restore()

    def _start(self) -> Machine:
        self._started = self._started or time.time()
        self._enter("Training", TrainingStartTime=self._started)
        variables = layout.environment(self._request, self._name, self._region, self._request["TrainingJobArn"])
        image = self._request["AlgorithmSpecification"]["TrainingImage"]
        return self._platform.machines.train(image, self._base, variables, self._place / "log")

    def _attend(self, machine: Machine) -> Ending:
        """Watch over `train` until it has ended."""
        ending, synced = Ending.EXITED, time.monotonic()
        while not machine.ended():
            self._follower.read()
            if ending is Ending.EXITED and (wanted := self._wanted()):
                ending = wanted
                machine.tell()
            if self._mirror and time.monotonic() - synced > _SYNC_EVERY:
                self._mirror.sync()
                synced = time.monotonic()
            time.sleep(_LOOK_EVERY)
        self._follower.read(ended=True)
        if self._mirror:
            self._mirror.sync()
        return ending

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
        return rules.statuses(configured, self._base / "output" / "data", self._request["TrainingJobArn"])

    def _upload(self, folder: str, archive_name: str) -> Uri | None:
        source = self._base / folder
        if not any(source.iterdir()):
            return None
        output = self._request["OutputDataConfig"]
        place = Uri.parse(output["S3OutputPath"]).below(self._name, "output")
        if output.get("CompressionType") == "NONE":
            for path in filter(Path.is_file, source.rglob("*")):
                self._write(place.below(Path(folder).name, str(path.relative_to(source))), path.read_bytes())
            return place.below(Path(folder).name + "/")
        self._write(place.below(archive_name), archive.pack(source))
        return place.below(archive_name)

    def _write(self, place: Uri, content: bytes) -> None:
        try:
            self._platform.objects.write(place, content)
        except KeyError:
            raise ApiError("ClientError", f"Upload failed: the bucket of {place} does not exist; make it.") from None

    def _failure(self, code: int) -> str:
        """The reason as SageMaker gives it."""
        file = self._base / "output" / "failure"
        if file.exists():
            said = file.read_text(errors="replace")
        else:
            said = "the last lines of its log: " + " | ".join(self._tail())
        ending = f", exit code: {code}"
        return f"AlgorithmError: {said}"[: _FAILURE_CHARACTERS - len(ending)] + ending

    def _tail(self) -> list[str]:
        return (self._place / "log").read_text(errors="replace").splitlines()[-5:]

    def _end(self, status: str, reason: str = "", secondary: str = "") -> None:
        now = time.time()
        seconds = int(now - self._started) if self._started else 0

        def change(record: Record) -> None:
            record.update(
                TrainingJobStatus=status,
                TrainingEndTime=record.get("TrainingEndTime", now),
                TrainingTimeInSeconds=seconds,
                BillableTimeInSeconds=seconds,
                FinalMetricDataList=list(self._follower.final.values()),
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

    def _follow(self) -> Follower:
        stream = LogStream(self._region, LOG_GROUP, f"{self._name}/algo-1-{int(time.time())}")
        definitions = self._request["AlgorithmSpecification"].get("MetricDefinitions") or []
        (self._place / "log").parent.mkdir(parents=True, exist_ok=True)
        (self._place / "log").touch()
        return Follower(self._place / "log", stream, definitions, self._measured)

    def _measured(self, name: str, value: float) -> None:
        put_metric(self._region, LOG_GROUP, self._name, name, value)
        row = [time.time(), value]
        self._platform.store.change(
            KIND, self._name, lambda record: record.setdefault("_Metrics", {}).setdefault(name, []).append(row)
        )
