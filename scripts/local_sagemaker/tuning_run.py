"""One tuning job: trials are training jobs, drawn by a Search that learns from what they measured."""

import time
import traceback
import uuid
from dataclasses import dataclass, field

from optuna.trial import Trial

from local_sagemaker.errors import ApiError, invalid
from local_sagemaker.platform import Platform
from local_sagemaker.search import Search
from local_sagemaker.store import Record
from local_sagemaker.training_jobs import ENDED, TrainingJobs
from local_sagemaker.training_run import KIND as TRAINING_JOB

KIND = "HyperParameterTuningJob"
_LOOK_EVERY = 0.3
# Parts of the definition that a trial's own request takes over as they are.
_TAKEN = [
    "RoleArn",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "EnableManagedSpotTraining",
    "Environment",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "VpcConfig",
    "RetryStrategy",
]


@dataclass
class TuningRun:
    """Runs in a thread of its own."""

    platform: Platform
    training: TrainingJobs
    name: str
    running: dict[str, Trial] = field(default_factory=dict)
    begun: int = 0

    def __post_init__(self) -> None:
        self.request = self.platform.store.get(KIND, self.name)
        self.config = self.request["HyperParameterTuningJobConfig"]
        self.definition = self.request["TrainingJobDefinition"]
        self.objective = self.config["HyperParameterTuningJobObjective"]
        static = self.definition.get("StaticHyperParameters")
        self.search = Search(self.config, static, self.config.get("RandomSeed"))
        self.region = self.request["HyperParameterTuningJobArn"].split(":")[3]
        self.deadline = time.time() + self.config["ResourceLimits"].get("MaxRuntimeInSeconds", 10**9)

    def run(self) -> None:
        """Begin trials while there are any left, and learn from each that ends."""
        try:
            self._learn_from_parents()
            while self._begin_trials() or self.running:
                self._look()
                time.sleep(_LOOK_EVERY)
            self._end()
        except ApiError as error:
            self._fail(error.message)
        except Exception as error:
            traceback.print_exc()
            self._fail(f"InternalServerError: {type(error).__name__}: {error}")

    def _begin_trials(self) -> bool:
        """Begin as many as may run now; whether more will follow."""
        limits = self.config["ResourceLimits"]
        total = limits.get("MaxNumberOfTrainingJobs") or self.search.combinations or 1
        total = min(total, self.search.combinations or total)
        stopping = self._record()["HyperParameterTuningJobStatus"] == "Stopping" or time.time() > self.deadline
        if stopping:
            self._stop_trials()
            return False
        while self.begun < total and len(self.running) < limits["MaxParallelTrainingJobs"]:
            self._begin()
        return self.begun < total

    def _begin(self) -> None:
        trial, drawn = self.search.ask()
        self.begun += 1
        name = f"{self.name}-{self.begun:03d}-{uuid.uuid4().hex[:8]}"
        self.training.create(self._trial_request(name, drawn), self.region)
        self.platform.store.update(
            TRAINING_JOB,
            name,
            TuningJobArn=self.request["HyperParameterTuningJobArn"],
            _TuningJob=self.name,
            _Tuned=drawn,
        )
        self.running[name] = trial
        self._count()

    def _trial_request(self, name: str, drawn: dict[str, str]) -> Record:
        algorithm = self.definition["AlgorithmSpecification"]
        static = self.definition.get("StaticHyperParameters") or {}
        request = {key: self.definition[key] for key in _TAKEN if self.definition.get(key) is not None}
        request.setdefault("ResourceConfig", resources(self.definition))
        if self.definition.get("CheckpointConfig"):  # each trial has its own, below the given place
            config = self.definition["CheckpointConfig"]
            request["CheckpointConfig"] = {**config, "S3Uri": f"{config['S3Uri'].rstrip('/')}/{name}"}
        return {
            **request,
            "TrainingJobName": name,
            "AlgorithmSpecification": algorithm,
            "HyperParameters": {**static, **drawn, "_tuning_objective_metric": self.objective["MetricName"]},
        }

    def _look(self) -> None:
        for name in list(self.running):
            job = self.platform.store.get(TRAINING_JOB, name)
            if job["TrainingJobStatus"] in ENDED:
                self._note_result(job, self.running.pop(name))
            elif job["TrainingJobStatus"] == "InProgress" and self.search.is_hopeless(
                self.running[name], self._values(job)
            ):
                self._stop(name)

    def _note_result(self, job: Record, trial: Trial) -> None:
        name, metric = job["TrainingJobName"], self.objective["MetricName"]
        final = {each["MetricName"]: each["Value"] for each in job.get("FinalMetricDataList", [])}
        value = final.get(metric) if job["TrainingJobStatus"] != "Failed" else None
        self.search.tell(trial, value)
        measured = {"Type": self.objective["Type"], "MetricName": metric, "Value": value}
        more = {} if value is None else {"FinalHyperParameterTuningJobObjectiveMetric": measured}
        status = "Failed" if value is None else "Succeeded"
        self.platform.store.update(TRAINING_JOB, name, _ObjectiveStatus=status, **more)
        self._count()

    def _values(self, job: Record) -> list[float]:
        return [value for _, value in job.get("_Metrics", {}).get(self.objective["MetricName"], [])]

    def _stop_trials(self) -> None:
        for name in self.running:
            if self.platform.store.get(TRAINING_JOB, name)["TrainingJobStatus"] == "InProgress":
                self._stop(name)

    def _stop(self, name: str) -> None:
        try:
            self.training.stop({"TrainingJobName": name}, self.region)
        except ApiError:  # it has ended meanwhile
            return

    def _learn_from_parents(self) -> None:
        parents = (self.request.get("WarmStartConfig") or {}).get("ParentHyperParameterTuningJobs") or []
        for parent in parents:
            for job in trials(self.platform, parent["HyperParameterTuningJobName"]):
                metric = job.get("FinalHyperParameterTuningJobObjectiveMetric")
                if metric:
                    self.search.learn(job["_Tuned"], metric["Value"])

    def _count(self) -> None:
        """Bring the counters and the best job up to date."""
        jobs = trials(self.platform, self.name)
        statuses = [job["TrainingJobStatus"] for job in jobs]
        objectives = [job.get("_ObjectiveStatus", "Pending") for job in jobs]
        counters = {
            "Completed": statuses.count("Completed"),
            "InProgress": statuses.count("InProgress") + statuses.count("Stopping"),
            "RetryableError": 0,
            "NonRetryableError": statuses.count("Failed"),
            "Stopped": statuses.count("Stopped"),
        }
        values: Record = {
            "TrainingJobStatusCounters": counters,
            "ObjectiveStatusCounters": {word: objectives.count(word) for word in ("Succeeded", "Pending", "Failed")},
        }
        measured = [job for job in jobs if job.get("_ObjectiveStatus") == "Succeeded"]
        if measured:
            best = (max if self.search.maximize else min)(measured, key=_objective)
            values["BestTrainingJob"] = summary(best)
        self.platform.store.update(KIND, self.name, **values)

    def _end(self) -> None:
        self._count()
        stopped = self._record()["HyperParameterTuningJobStatus"] == "Stopping"
        if not stopped and not self._record().get("BestTrainingJob"):
            self._fail("All training jobs failed or measured no objective; see the FailureReason of the training jobs.")
            return
        status = "Stopped" if stopped else "Completed"
        self.platform.store.update(
            KIND, self.name, HyperParameterTuningJobStatus=status, HyperParameterTuningEndTime=time.time()
        )

    def _fail(self, reason: str) -> None:
        self.platform.store.update(
            KIND,
            self.name,
            HyperParameterTuningJobStatus="Failed",
            FailureReason=reason[:1024],
            HyperParameterTuningEndTime=time.time(),
        )

    def _record(self) -> Record:
        return self.platform.store.get(KIND, self.name)


def trials(platform: Platform, name: str) -> list[Record]:
    """The training jobs of a tuning job, the newest first."""
    return [job for job in platform.store.all(TRAINING_JOB) if job.get("_TuningJob") == name]


def resources(definition: Record) -> Record:
    """ResourceConfig, or HyperParameterTuningResourceConfig, which the SDK sends, in its form; ApiError without any."""
    given = definition.get("ResourceConfig") or definition.get("HyperParameterTuningResourceConfig") or {}
    config = {**(given.get("InstanceConfigs") or [{}])[0], **given}
    if "InstanceType" not in config:
        raise invalid("The TrainingJobDefinition must have a ResourceConfig with an InstanceType.")
    kept = ("InstanceType", "InstanceCount", "VolumeSizeInGB", "VolumeKmsKeyId", "KeepAlivePeriodInSeconds")
    return {name: config[name] for name in kept if name in config}


def summary(job: Record) -> Record:
    """A training job as a tuning job tells of it."""
    taken = [
        "TrainingJobName",
        "TrainingJobArn",
        "CreationTime",
        "TrainingStartTime",
        "TrainingEndTime",
        "TrainingJobStatus",
        "FailureReason",
        "FinalHyperParameterTuningJobObjectiveMetric",
    ]
    return {
        **{key: job[key] for key in taken if key in job},
        "TunedHyperParameters": job["_Tuned"],
        "ObjectiveStatus": job.get("_ObjectiveStatus", "Pending"),
    }


def _objective(job: Record) -> float:
    return float(job["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])
