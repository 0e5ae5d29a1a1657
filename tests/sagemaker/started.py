"""local_sagemaker as its users have it: a process with an endpoint URL."""

import io
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

import ways

REGION, ACCOUNT = "eu-west-1", "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/SageMaker"
BUCKET = "pictures-and-models"
LOSS = {"Name": "val_loss", "Regex": r"val_loss=([-0-9.e]+);"}
JUNK = {"Name": "junk", "Regex": r"junk=(\w+);"}
_FAKE = """
import sys, threading, pathlib, ways
from local_sagemaker.server import serving
way, debugger = ways.InVenv(pathlib.Path(sys.argv[2])), "--no-debugger" not in sys.argv
with serving(pathlib.Path(sys.argv[1]), "127.0.0.1", 0, way, debugger) as server:
    print(f"AWS_ENDPOINT_URL=http://127.0.0.1:{server.port}", flush=True)
    sys.stdin.read()
"""
# The keys are anybody's: nothing checks them here.
# local_sagemaker's own environment; tests of its page run in that of the browser.
DESK = ways.ROOT / ".venv-desk" / "bin" / "python"
KEYS = {"AWS_ACCESS_KEY_ID": "desk", "AWS_SECRET_ACCESS_KEY": "desk", "AWS_DEFAULT_REGION": REGION}


@dataclass
class Api:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "desk", "aws_secret_access_key": "desk", "region_name": REGION}
        # What is wrong here must fail there too, so botocore's own checks stay out of the way.
        config = Config(parameter_validation=False, retries={"total_max_attempts": 1}, read_timeout=120)
        return boto3.client(service, endpoint_url=self.url, config=config, **keys)

    @property
    def sagemaker(self) -> Any:
        return self.client("sagemaker")

    @property
    def s3(self) -> Any:
        return self.client("s3")

    def keys(self, prefix: str = "") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for one in found.get("Contents", [])]

    def put(self, key: str, body: bytes) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def put_picture(self, project: str) -> str:
        """What `sm-upload` leaves of a project's pictures, for those that do not look at them."""
        return self.put(f"{project}/data/train/ant/1.jpg", b"picture")

    def model(self, name: str) -> str:
        """An artifact of a model with this name."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as tar:
            member = tarfile.TarInfo("name")
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
        return self.put(f"models/{name}.tar.gz", stream.getvalue())

    def train(self, name: str, hyperparameters: Mapping[str, str] | None = None, **more: Any) -> None:
        self.sagemaker.create_training_job(**training_request(name, hyperparameters or {}, **more))

    def ended(self, name: str, seconds: float = 60) -> Any:
        """A training job when it has ended."""
        read = lambda: self.sagemaker.describe_training_job(TrainingJobName=name)  # noqa: E731
        return wait(read, lambda job: job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"), seconds)

    def log_lines(self, group: str, prefix: str) -> list[str]:
        logs = self.client("logs")
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"]
        events = [logs.get_log_events(logGroupName=group, logStreamName=one["logStreamName"]) for one in streams]
        return [event["message"] for one in events for event in one["events"]]


def training_request(name: str, hyperparameters: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """The smallest request for a training job, and more."""
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": ways.DEFAULT_IMAGE,
            "TrainingInputMode": "File",
            "MetricDefinitions": [LOSS, JUNK],
        },
        "HyperParameters": dict(hyperparameters),
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/jobs"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        **more,
    }


def channel(name: str, prefix: str) -> dict[str, Any]:
    """A channel of everything below a prefix."""
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def wait(read: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 60) -> Any:
    """Read again and again until it is good."""
    end = time.monotonic() + seconds
    while not good(value := read()):
        assert time.monotonic() < end, f"still {value} after {seconds} s"
        time.sleep(0.1)
    return value


@contextmanager
def running(state: Path, venv: Path | None = None, *more: str) -> Iterator[Api]:
    """The server: with the stand-ins of a venv, else as `make local-sagemaker` starts it."""
    own = ["-m", "local_sagemaker", "--port", "0", "--state", str(state)]
    words = [*(["-c", _FAKE, str(state), str(venv)] if venv else own), *more]
    paths = {"PYTHONPATH": os.pathsep.join([str(ways.ROOT / "scripts"), os.environ.get("PYTHONPATH", "")])}
    log = state.parent / f"{state.name}.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [str(DESK) if DESK.exists() else sys.executable, *words],
            env={**os.environ, **paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        assert process.stdout
        lines = iter(process.stdout.readline, b"")
        line = next((line.decode() for line in lines if b"AWS_ENDPOINT_URL=" in line), "")
        assert line, f"local_sagemaker did not start: {log.read_text()}"
        api = Api(process, line.strip().partition("=")[2], log)
        if BUCKET not in [one["Name"] for one in api.s3.list_buckets()["Buckets"]]:
            api.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield api
    finally:
        end(process, venv is not None)


def end(process: "subprocess.Popen[bytes]", by_input: bool) -> None:
    """End the server as its user does."""
    if process.poll() is None and not by_input:
        process.terminate()
    process.communicate(timeout=90)
