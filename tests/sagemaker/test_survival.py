"""local_sagemaker is killed: what ran is gone, what was finished is there, what was in service is again."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
import stand_ins
import test_endpoints
import test_several_hosts
import test_transforms
import test_tuning_jobs
from started import BUCKET, DESK, Api, running, wait

import ways


def programs(fake_venv: Path) -> list[psutil.Process]:
    """The stand-ins that run now."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(fake_venv) in word for word in process.info["cmdline"] or []) and process.status() != "zombie":
            found.append(process)
    return found


def test_a_killed_server_leaves_nothing_running_and_loses_nothing_finished(tmp_path: Path, fake_venv: Path) -> None:
    venv = Path(str(fake_venv))
    before = {process.pid for process in programs(venv)}
    state = tmp_path / "state"
    with running(state, venv) as first:
        first.train("done", {"learning_rate": "0.03"})
        finished = first.ended("done")
        said = told(first)
        test_endpoints.deploy(first, "survivor", first.model("phoenix"))
        first.train("lost", {"epochs": "10000", "pause": "0.1"})
        wait(lambda: [p for p in programs(venv) if p.pid not in before], lambda found: len(found) >= 2)
        first.process.kill()
        wait(lambda: [p for p in programs(venv) if p.pid not in before], lambda found: not found, 20)
    with running(state, venv) as second:
        again = second.sagemaker.describe_training_job(TrainingJobName="done")
        assert {**again, "ResponseMetadata": None} == {**finished, "ResponseMetadata": None}
        assert told(second) == said
        assert (len(said[0]), said[1]) == (3, [2.0])
        assert second.s3.head_object(Bucket=BUCKET, Key="jobs/done/output/model.tar.gz")["ContentLength"] > 0
        lost = second.sagemaker.describe_training_job(TrainingJobName="lost")
        assert (lost["TrainingJobStatus"], "local_sagemaker ended" in lost["FailureReason"]) == ("Failed", True)
        assert test_endpoints.settled(second, "survivor")["EndpointStatus"] == "InService"
        assert test_endpoints.said(test_endpoints.invoke(second, "survivor"))["model"] == "phoenix"
        deleted_and_overwritten(second)
    with running(state, venv) as third:
        assert third.keys("changing/") == ["changing/b"]
        assert third.s3.get_object(Bucket=BUCKET, Key="changing/b")["Body"].read() == b"2"
    assert not [process for process in programs(venv) if process.pid not in before]


def told(api: Api) -> tuple[list[str], list[float]]:
    """What CloudWatch knows of the job that was finished: its lines, and how many values of its metric."""
    group = "/aws/sagemaker/TrainingJobs"
    values = api.client("cloudwatch").get_metric_statistics(
        Namespace=group,
        MetricName="val_loss",
        Dimensions=[{"Name": "TrainingJobName", "Value": "done"}],
        StartTime=time.time() - 600,
        EndTime=time.time() + 600,
        Period=3600,
        Statistics=["SampleCount"],
    )["Datapoints"]
    return api.log_lines(group, "done/"), [sum(one["SampleCount"] for one in values)]


def begin_endpoint(api: Api) -> None:
    test_endpoints.deploy(api, "served", api.model("phoenix"))


def begin_tuning(api: Api) -> None:
    content = test_tuning_jobs.request("tuned", "Random", 4, {"ContinuousParameterRanges": [test_tuning_jobs.RATE]})
    content["TrainingJobDefinition"]["StaticHyperParameters"] = {"epochs": "10000", "pause": "0.1"}
    api.sagemaker.create_hyper_parameter_tuning_job(**content)


def begin_transform(api: Api) -> None:
    for number in range(20):
        api.put(f"many/{number}.png", b"picture")
    test_transforms.begin_transform(api, "transformed", "many", "slow")


def begin_pair(api: Api) -> None:
    api.train("pair", {"epochs": "10000", "pause": "0.1"}, ResourceConfig=test_several_hosts.TWO)


@pytest.mark.parametrize(
    ("begin", "programs_of_it", "operation", "name", "status"),
    [
        (begin_endpoint, 1, "describe_endpoint", {"EndpointName": "served"}, "EndpointStatus"),
        (
            begin_tuning,
            2,
            "describe_hyper_parameter_tuning_job",
            {"HyperParameterTuningJobName": "tuned"},
            "HyperParameterTuningJobStatus",
        ),
        (begin_transform, 1, "describe_transform_job", {"TransformJobName": "transformed"}, "TransformJobStatus"),
        (begin_pair, 2, "describe_training_job", {"TrainingJobName": "pair"}, "TrainingJobStatus"),
    ],
    ids=["endpoint", "tuning job", "transform job", "two hosts"],
)
def test_whatever_runs_ends_with_a_killed_server_and_says_so_after_it(
    tmp_path: Path, begin: Any, programs_of_it: int, operation: str, name: dict[str, str], status: str
) -> None:
    venv, state = stand_ins.venv(tmp_path / "venv"), tmp_path / "state"
    ours = lambda: programs(venv / "bin")  # noqa: E731
    with running(state, venv) as first:
        begin(first)
        wait(ours, lambda found: len(found) == programs_of_it)
        first.process.kill()
        wait(ours, lambda found: not found, 20)
    with running(state, venv) as second:
        record = getattr(second.sagemaker, operation)(**name)
        if operation == "describe_endpoint":
            assert test_endpoints.settled(second, "served")["EndpointStatus"] == "InService"
        else:
            assert (record[status], "local_sagemaker ended" in record["FailureReason"]) == ("Failed", True)
            assert ours() == []
    assert ours() == []


# Plays an engine that has been asked for a container, and makes it only when it is looked for the third time.
_LATE = """#!/bin/sh
cd "$(dirname "$0")"
case "$1" in
ps) echo look >> looks; [ -e removed ] || [ "$(wc -l < looks)" -lt 3 ] || echo late ;;
rm) echo "$*" >> removed ;;
esac
"""


def test_a_container_that_an_engine_makes_late_is_found_too(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.write_text(_LATE)
    engine.chmod(0o755)
    argv = [str(DESK), "-m", "local_sagemaker.leftovers", str(tmp_path / "state"), str(engine)]
    subprocess.run(argv, stdin=subprocess.DEVNULL, check=True, timeout=60, cwd=ways.ROOT / "scripts")
    assert (tmp_path / "removed").read_text() == "rm --force late\n"


def deleted_and_overwritten(api: Api) -> None:
    """Leave one object of five in a way that each kind of change has a part in."""
    for name in ("a", "b", "c", "d"):
        api.put(f"changing/{name}", b"1")
    api.put("changing/b", b"2")
    api.s3.delete_object(Bucket=BUCKET, Key="changing/a")
    names = [{"Key": "changing/c"}, {"Key": "changing/d"}]
    answer = api.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": names})
    assert len(answer["Deleted"]) == 2


def test_other_services_are_answered_under_the_same_address(api: Api) -> None:
    assert api.client("sts").get_caller_identity()["Account"] == "123456789012"
    role = {"Version": "2012-10-17", "Statement": []}
    api.client("iam").create_role(RoleName="AnotherRole", AssumeRolePolicyDocument=json.dumps(role))
    assert api.client("ecr").describe_repositories()["repositories"] == []


def test_a_page_of_another_site_is_refused(api: Api) -> None:
    for path, method in (("/local/status", "GET"), ("/local/interrupt/any", "POST"), ("/", "GET")):
        asked = urllib.request.Request(f"{api.url}{path}", method=method, headers={"Sec-Fetch-Site": "cross-site"})
        with pytest.raises(urllib.error.HTTPError, match="403") as caught:
            urllib.request.urlopen(asked)
        caught.value.close()
    with urllib.request.urlopen(f"{api.url}/local/status") as answer:
        assert "TrainingJob" in json.load(answer)


def test_it_listens_on_the_loopback_address_only(api: Api) -> None:
    port = int(api.url.rpartition(":")[2])
    addresses = [
        one.laddr.ip for one in psutil.net_connections("tcp") if one.laddr.port == port and one.status == "LISTEN"
    ]
    if not addresses:
        pytest.skip("this system does not tell who listens")
    assert set(addresses) == {"127.0.0.1"}


def test_it_listens_where_it_is_told_to(tmp_path: Path) -> None:
    with running(tmp_path / "state", None, "--host", "127.0.0.5") as told_so:
        assert told_so.url.startswith("http://127.0.0.5:")
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(told_so.url.replace("127.0.0.5", "127.0.0.1"), timeout=10)
