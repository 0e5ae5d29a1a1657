"""CloudWatch's alarms on an endpoint's own metrics: moto keeps them, and nobody but this evaluates them."""

import operator
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any

from moto.backends import get_backend

from local_sagemaker.aws import ACCOUNT
from local_sagemaker.errors import invalid

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_MEASURE: Mapping[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Average": fmean,
    "Maximum": max,
    "Minimum": min,
    "SampleCount": len,
}


class Alarms:
    """The alarms of one update; ApiError when one is not there.

    Args:
        region: of the endpoint.
        names: of the alarms.
    """

    def __init__(self, region: str, names: Sequence[str]) -> None:
        self._cloudwatch: Any = get_backend("cloudwatch")[ACCOUNT][region]
        self._names = names
        for name in names:
            if name not in self._cloudwatch.alarms:
                raise invalid(f"The alarm {name!r} of AutoRollbackConfiguration does not exist; make it first.")
        self._since = time.time()

    def sounding(self) -> str:
        """The first alarm that sounds, judged by what came since the update began; empty when all is well."""
        return next((name for name in self._names if self._sounds(name)), "")

    def _sounds(self, name: str) -> bool:
        alarm = self._cloudwatch.alarms.get(name)
        if alarm is None:
            return False
        if alarm.namespace == "AWS/SageMaker" and alarm.statistic in _MEASURE:
            values = self._values(alarm)
            sounds = bool(values) and _COMPARE[alarm.comparison_operator](
                _MEASURE[alarm.statistic](values), alarm.threshold
            )
            self._cloudwatch.set_alarm_state(name, "evaluated", "{}", "ALARM" if sounds else "OK")
        return bool(alarm.state_value == "ALARM")

    def _values(self, alarm: Any) -> list[float]:
        begin = max(time.time() - alarm.period * alarm.evaluation_periods, self._since)
        since = datetime.fromtimestamp(begin, UTC).replace(tzinfo=None) - timedelta(milliseconds=1)
        wanted = {(one.name, one.value) for one in alarm.dimensions}
        return [
            one.value
            for one in list(self._cloudwatch.metric_data)
            if hasattr(one, "value")
            and (one.namespace, one.name) == (alarm.namespace, alarm.metric_name)
            and {(each.name, each.value) for each in one.dimensions} == wanted
            and one.timestamp >= since
        ]
