"""Updates that go over at once, by a canary or step by step; stages are planned as DeploymentConfig says."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from started import REGION, Api
from test_endpoints import configure, deploy, invoke, said, settled

from local_sagemaker.errors import ApiError
from local_sagemaker.rollout import plan


def policy(kind: str, seconds: int = 0, **size: Any) -> dict[str, Any]:
    """A DeploymentConfig."""
    routing = {"Type": kind, "WaitIntervalInSeconds": seconds, **size}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 1}}


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


@pytest.mark.parametrize(
    ("config", "hosts", "shares"),
    [
        (policy("ALL_AT_ONCE"), 1, [1.0]),
        (policy("CANARY", CanarySize=percent(10)), 1, [0.1, 1.0]),
        (policy("CANARY", CanarySize={"Type": "INSTANCE_COUNT", "Value": 1}), 4, [0.25, 1.0]),
        (policy("LINEAR", LinearStepSize=percent(50)), 1, [0.5, 1.0]),
        (policy("LINEAR", LinearStepSize=percent(25)), 1, [0.25, 0.5, 0.75, 1.0]),
        (policy("LINEAR", LinearStepSize=percent(30)), 1, [0.3, 0.6, 0.9, 1.0]),
        (policy("LINEAR", LinearStepSize={"Type": "INSTANCE_COUNT", "Value": 1}), 3, [1 / 3, 2 / 3, 1.0]),
        (None, 1, []),
    ],
)
def test_stages_give_the_new_model_its_share(config: dict[str, Any], hosts: int, shares: list[float]) -> None:
    assert [stage.share for stage in plan(config, hosts, REGION).stages] == pytest.approx(shares)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (policy("LINEAR"), "type LINEAR needs LinearStepSize"),
        (policy("CANARY", CanarySize=percent(60)), "50% of the variant's instances at most"),
    ],
)
def test_a_rollout_that_aws_refuses_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError, match=message):
        plan(config, 1, REGION)


@pytest.mark.parametrize(
    ("kind", "size"), [("ALL_AT_ONCE", {}), ("LINEAR", {"LinearStepSize": percent(50)})], ids=["at once", "linear"]
)
def test_an_update_goes_over_to_the_new_model(api: Api, kind: str, size: dict[str, Any]) -> None:
    name = f"rolled-{kind.lower().replace('_', '-')}"
    deploy(api, name, api.model("before"))
    configure(api, f"{name}-2", api.model("after"))
    config = policy(kind, 1, **size)
    api.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-2", DeploymentConfig=config)
    with pytest.raises(ClientError, match="in-progress"):
        api.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=name)
    record = settled(api, name)
    assert (record["EndpointStatus"], record["EndpointConfigName"]) == ("InService", f"{name}-2")
    assert {said(invoke(api, name))["model"] for _ in range(5)} == {"after"}
    api.sagemaker.delete_endpoint(EndpointName=name)
