"""Containers of jobs and endpoints, seen by the engine: network, limits, end; and all that they write still arrives."""

import json
from pathlib import Path
from typing import Any

import pytest
from desk_commands import IMAGE, QUICK
from started import BUCKET, ROLE, Api, channel, running, wait

import ways
from desk import ask
from local_sagemaker import leftovers, shapes
from sample_pictures import make_pictures

ENGINE = ways.find_engine() or ""
GROUP = "/aws/sagemaker/TrainingJobs"
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not ENGINE, reason="no container engine answers: this is about its containers"),
]


@pytest.fixture(scope="module")
def data(real: Api, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pictures in S3, by their prefix."""
    folder = tmp_path_factory.mktemp("pictures")
    make_pictures(folder, {"train": 4, "valid": 2})
    for path in filter(Path.is_file, folder.rglob("*")):
        real.put(f"small/{path.relative_to(folder)}", path.read_bytes())
    return "small"


def train(api: Api, name: str, data: str, hosts: int = 1, kind: str = "ml.m5.large", **more: Any) -> None:
    """Begin a job: a short one that the Debugger watches, else one that trains until it is stopped."""
    resources = {"InstanceType": kind, "InstanceCount": hosts, "VolumeSizeInGB": 10}
    place = {"S3Uri": f"s3://{BUCKET}/checkpoints/{name}"}
    algorithm = {"TrainingImage": IMAGE, "TrainingInputMode": "File"}
    shared = {"ResourceConfig": resources, "CheckpointConfig": place, "AlgorithmSpecification": algorithm}
    chosen = {**QUICK, **({"epochs": "1", "debug": "light"} if "DebugHookConfig" in more else {"epochs": "500"})}
    api.train(name, chosen, InputDataConfig=[channel("training", data)], **shared, **more)


def containers(state: Path, count: int) -> list[Any]:
    """What the engine knows of the server's containers, when there are so many."""
    label = f"label={leftovers.label(state)}"
    found = wait(lambda: ask(ENGINE, "ps", "--quiet", "--filter", label).split(), lambda ids: len(ids) == count)
    return list(json.loads(ask(ENGINE, "inspect", *found)))


def stop(api: Api, name: str) -> Any:
    """The job when it has trained for a moment and was stopped."""
    wait(lambda: api.log_lines(GROUP, f"{name}/"), lambda lines: any("epoch=" in line for line in lines), 120)
    api.sagemaker.stop_training_job(TrainingJobName=name)
    return api.ended(name)


def test_an_isolated_job_has_no_network_and_all_it_writes_arrives(real: Api, state: Path, data: str) -> None:
    rule = {
        "RuleConfigurationName": "ExplodingTensor",
        "RuleEvaluatorImage": "image",
        "RuleParameters": {"rule_to_invoke": "ExplodingTensor"},
    }
    saved = [{"CollectionName": "gradients", "CollectionParameters": {"save_interval": "1"}}]
    hook = {"S3OutputPath": f"s3://{BUCKET}/debug", "CollectionConfigurations": saved}
    train(real, "alone", data, EnableNetworkIsolation=True, DebugHookConfig=hook, DebugRuleConfigurations=[rule])
    [container] = containers(state, 1)
    assert container["HostConfig"]["NetworkMode"] == "none"
    wait(lambda: real.keys("checkpoints/alone"), bool, 120)
    job = real.ended("alone", 120)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    assert any("epoch=1" in line for line in real.log_lines(GROUP, "alone/"))
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("/model.tar.gz")
    [verdict] = job["DebugRuleEvaluationStatuses"]
    assert verdict["RuleEvaluationStatus"] == "NoIssuesFound", verdict["StatusDetails"]


def test_the_hosts_of_an_isolated_job_reach_each_other_only(real: Api, state: Path, data: str) -> None:
    train(real, "together", data, hosts=2, EnableNetworkIsolation=True)
    found = containers(state, 2)
    [name] = {container["HostConfig"]["NetworkMode"] for container in found}
    assert ask(ENGINE, "network", "inspect", "--format", "{{.Internal}}", name).strip() == "true"
    assert stop(real, "together")["TrainingJobStatus"] == "Stopped"
    networks = lambda: ask(ENGINE, "network", "ls", "--quiet", "--filter", f"label={leftovers.label(state)}")  # noqa: E731
    wait(networks, lambda ids: not ids)


def test_a_job_has_the_cpus_and_the_memory_of_its_instance_type(real: Api, state: Path, data: str) -> None:
    train(real, "limited", data)
    [container] = containers(state, 1)
    host = container["HostConfig"]
    assert host["NetworkMode"] in ("default", "bridge")  # it is not isolated
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (limit(2) * 10**9, 8 * 2**30, 8 * 2**30)
    stop(real, "limited")


def test_where_an_instance_type_is_not_known_the_log_says_that_there_are_no_limits(
    real: Api, state: Path, data: str
) -> None:
    train(real, "unlimited", data, kind="ml.trn1.2xlarge")
    [container] = containers(state, 1)
    assert (container["HostConfig"]["NanoCpus"], container["HostConfig"]["Memory"]) == (0, 0)
    stop(real, "unlimited")
    assert "memory of ml.trn1.2xlarge are not known" in "\n".join(real.log_lines(GROUP, "unlimited/"))


def limit(cpus: int) -> int:
    """So many CPUs, or all that the engine has."""
    return min(cpus, shapes.of_engine(ENGINE).cpus)


def create_model(api: Api) -> None:
    container = {"Image": IMAGE, "ModelDataUrl": api.model("no model of the image's")}
    api.sagemaker.create_model(ModelName="small", PrimaryContainer=container, ExecutionRoleArn=ROLE)


def begin_endpoint(api: Api) -> None:
    variant = {"VariantName": "a", "ModelName": "small", "InitialInstanceCount": 1, "InstanceType": "ml.c5.large"}
    api.sagemaker.create_endpoint_config(EndpointConfigName="small", ProductionVariants=[variant])
    api.sagemaker.create_endpoint(EndpointName="small", EndpointConfigName="small")


def begin_transform(api: Api) -> None:
    api.sagemaker.create_transform_job(
        TransformJobName="small",
        ModelName="small",
        TransformInput={"DataSource": {"S3DataSource": channel("x", "small")["DataSource"]["S3DataSource"]}},
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/small-out"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )


def test_a_killed_server_leaves_no_endpoint_no_transform_no_host_and_no_network(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as server:
        server.put("small/train/a/1.png", b"no picture")
        create_model(server)
        begin_endpoint(server)
        begin_transform(server)
        train(server, "pair", "small", hosts=2)
        shapes_found = [one["HostConfig"] for one in containers(state, 4)]
        server.process.kill()
        left = lambda: [ask(ENGINE, *words, "--quiet", "--filter", f"label={leftovers.label(state)}") for words in _ALL]  # noqa: E731
        wait(left, lambda found: found == ["", ""])
    # ml.c5.large for the endpoint, ml.m5.large for the others
    assert sorted(one["Memory"] // 2**30 for one in shapes_found) == [4, 8, 8, 8]
    assert {one["NanoCpus"] for one in shapes_found} == {limit(2) * 10**9}


_ALL = [("ps", "--all"), ("network", "ls")]
