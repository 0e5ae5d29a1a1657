"""Training jobs on several hosts: one job, one model, one reason."""

import json
import tarfile
from io import BytesIO

from started import BUCKET, Api, channel

GROUP = "/aws/sagemaker/TrainingJobs"
TWO = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 10}


def test_a_job_on_two_hosts_is_one_job(api: Api) -> None:
    api.put("pairs/train/a/1.png", b"1")
    api.train("pair", {"epochs": "1"}, ResourceConfig=TWO, InputDataConfig=[channel("training", "pairs")])
    assert api.ended("pair")["TrainingJobStatus"] == "Completed"
    streams = api.client("logs").describe_log_streams(logGroupName=GROUP, logStreamNamePrefix="pair/")["logStreams"]
    assert [one["logStreamName"].rpartition("-")[0] for one in streams] == ["pair/algo-1", "pair/algo-2"]
    archive = api.s3.get_object(Bucket=BUCKET, Key="jobs/pair/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        found = [json.load(tar.extractfile(member)) for member in tar.getmembers()]  # type: ignore[arg-type]
    configs = [json.loads(one["files"]["resourceconfig.json"]) for one in found]
    assert [one["current_host"] for one in configs] == configs[0]["hosts"] == configs[1]["hosts"]
    assert [one["data"] for one in found] == [["training/train/a/1.png"]] * 2


def test_a_failure_on_one_host_ends_the_job_on_all(api: Api) -> None:
    chosen = {"fail": "no room", "fail_on": "127.0.0.2", "epochs": "1000", "pause": "0.1"}
    api.train("half", chosen, ResourceConfig=TWO)
    job = api.ended("half")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: no room, exit code: 3"
