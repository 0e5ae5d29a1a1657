"""After a restart moto knows no logs and no metrics; those of training jobs are told again from files and records."""

import re
import time
from pathlib import Path

from local_sagemaker.aws import LogStream, new_lines, put_metric
from local_sagemaker.platform import Platform
from local_sagemaker.store import Record
from local_sagemaker.training_run import LOG_GROUP

_LOG = re.compile(r"log(?:-(?P<number>\d+))?")
# CloudWatch Logs takes nothing that is older.
_OLDEST = 13.9 * 24 * 3600


def replay(platform: Platform, job: Record) -> None:
    """Tell a job's log and its metrics again, with the times they had."""
    name, region = job["TrainingJobName"], job["TrainingJobArn"].split(":")[3]
    for file in platform.place("training-jobs", name).glob("log*"):
        if found := _LOG.fullmatch(file.name):
            _replay_log(file, job, LogStream(region, LOG_GROUP, _stream(name, found["number"], job)))
    for metric, rows in job.get("_Metrics", {}).items():
        for moment, value in rows:
            put_metric(region, LOG_GROUP, {"TrainingJobName": name}, metric, value, moment)


def _stream(name: str, number: str | None, job: Record) -> str:
    return f"{name}/algo-{number or 1}-{int(job['CreationTime'])}"


def _replay_log(file: Path, job: Record, stream: LogStream) -> None:
    lines, _ = new_lines(file, 0, ended=True)
    began = float(job.get("TrainingStartTime") or job["CreationTime"])
    stream.put(lines, max(began, time.time() - _OLDEST))
