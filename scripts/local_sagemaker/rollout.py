"""How an update's new variants get their requests: at once, a canary first, or step by step; back when an alarm sounds.

Source: API reference of DeploymentConfig.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from local_sagemaker.alarms import Alarms
from local_sagemaker.errors import invalid
from local_sagemaker.store import Record

_LOOK_EVERY = 0.5


@dataclass(frozen=True)
class Stage:
    """A share of the requests for the new variants, and how long alarms are listened to before the next."""

    share: float
    seconds: float
    word: str


@dataclass(frozen=True)
class Rollout:
    """Stages and alarms of one update."""

    stages: tuple[Stage, ...]
    alarms: Alarms

    def go(self, enter: Callable[[Stage], None]) -> str:
        """Enter each stage and listen; the alarm that has sounded, or nothing."""
        for stage in self.stages:
            enter(stage)
            end = time.monotonic() + stage.seconds
            while True:
                if sounding := self.alarms.sounding():
                    return sounding
                if time.monotonic() > end:
                    break
                time.sleep(_LOOK_EVERY)
        return ""


def plan(config: Record | None, hosts: int, region: str) -> Rollout:
    """The rollout of an UpdateEndpoint.

    Args:
        config: its DeploymentConfig; without one all requests go over at once.
        hosts: of the new variant.
        region: of the endpoint.

    Raises:
        ApiError: it cannot be done so.
    """
    if not config:
        return Rollout((), Alarms(region, []))
    policy = config.get("BlueGreenUpdatePolicy")
    if not policy:
        raise invalid("local_sagemaker updates by BlueGreenUpdatePolicy only; give that.")
    alarms = [one["AlarmName"] for one in (config.get("AutoRollbackConfiguration") or {}).get("Alarms", [])]
    routing = policy["TrafficRoutingConfiguration"]
    wait, last = float(routing["WaitIntervalInSeconds"]), float(policy.get("TerminationWaitInSeconds", 0))
    shares = [Stage(share, wait, "Baking") for share in _shares(routing, hosts)]
    return Rollout((*shares, Stage(1.0, last, "ActivatingTraffic")), Alarms(region, alarms))


def _shares(routing: Record, hosts: int) -> Iterator[float]:
    """Shares before all."""
    kind = routing["Type"]
    if kind == "ALL_AT_ONCE":
        return
    member = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}[kind]
    if member not in routing:
        raise invalid(f"TrafficRoutingConfiguration of type {kind} needs {member}.")
    size = routing[member]
    step = size["Value"] / (hosts if size["Type"] == "INSTANCE_COUNT" else 100)
    if step > 0.5:
        raise invalid(f"{member} must be 50% of the variant's instances at most; there are {hosts}.")
    yield step
    if kind == "LINEAR":
        yield from (step * number for number in range(2, math.ceil(1 / step)))
