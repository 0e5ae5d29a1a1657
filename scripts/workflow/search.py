"""What a tuning job searches: ranges, trials, and what each strategy needs beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from desk import DeskError
from workflow.settings import Settings

_LOGARITHMIC_FROM = 10  # greatest over least


@dataclass(frozen=True)
class Search:
    """The part of a tuning job's request that its strategy decides on.

    Args:
        ranges: the SDK's parameters by name.
        trials: how many at most.
        fixed: hyperparameters that every trial has.
        more: arguments of the SDK's HyperparameterTuner.
    """

    ranges: dict[str, Any]
    trials: int
    fixed: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)


def plan(settings: Settings) -> Search:
    """The search that the settings ask for; DeskError where their strategy cannot work with them."""
    fixed = dict(settings.hyperparameters)
    if settings.strategy == "Grid":
        return Search(ranges(settings), math.prod(map(len, settings.ranges.values())), fixed)
    if settings.strategy == "Hyperband":
        return _hyperband(settings, fixed)
    early = "Auto" if settings.early_stopping else "Off"
    return Search(ranges(settings), settings.trials, fixed, {"early_stopping_type": early})


def _hyperband(settings: Settings, fixed: dict[str, Any]) -> Search:
    """Hyperband gives epochs out itself, so they are no range: the least and the most that a trial may get."""
    from sagemaker.tuner import HyperbandStrategyConfig, StrategyConfig

    limits = [number(value) for value in settings.ranges.get("epochs", [1, fixed.get("epochs", "")])]
    if not all(isinstance(limit, int) for limit in limits):
        raise DeskError("strategy=Hyperband needs the least and the most epochs of a trial: ranges.epochs=3,10")
    rest = settings.model_copy(update={"ranges": {k: v for k, v in settings.ranges.items() if k != "epochs"}})
    if not rest.ranges:
        raise DeskError("strategy=Hyperband needs a range beside epochs, for example ranges.learning_rate=1e-4,1e-1")
    strategy = StrategyConfig(HyperbandStrategyConfig(max_resource=max(limits), min_resource=min(limits)))
    return Search(ranges(rest), settings.trials, {**fixed, "epochs": max(limits)}, {"strategy_config": strategy})


def ranges(settings: Settings) -> dict[str, Any]:
    """The settings' ranges in the SDK's words: two numbers are limits, anything else is a choice."""
    return {name: _parameter(values, settings.strategy == "Grid") for name, values in settings.ranges.items()}


def _parameter(values: Sequence[Any], is_choice: bool) -> Any:
    from sagemaker.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter

    limits = [number(value) for value in values]
    if is_choice or len(values) != 2 or None in limits:
        return CategoricalParameter([str(value) for value in values])
    if all(isinstance(limit, int) for limit in limits):
        return IntegerParameter(*sorted(limits))
    low, high = sorted(float(limit) for limit in limits)
    scaling = "Logarithmic" if low > 0 and high / low >= _LOGARITHMIC_FROM else "Linear"
    return ContinuousParameter(low, high, scaling_type=scaling)


def number(value: Any) -> Any:
    """A whole number, a number, or None for what is neither."""
    for kind in (int, float):
        try:
            return kind(str(value))
        except ValueError:
            continue
    return None
