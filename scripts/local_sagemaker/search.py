"""SageMaker's ranges and strategies in Optuna's words."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import Trial, TrialState

from local_sagemaker.errors import invalid
from local_sagemaker.store import Record

_RESOURCES = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
_MOST_RESOURCE = 20_000
_TRIALS_BEFORE_MODEL = 4  # drawn by chance before the sampler learns from them


@dataclass(frozen=True)
class Range:
    """One hyperparameter: what Optuna draws, and the text that `train` gets."""

    distribution: BaseDistribution
    text: Callable[[float | int | str], str]
    drawn: Callable[[str], float | int | str]


class Search:
    """Draws hyperparameters and learns from results.

    Args:
        config: HyperParameterTuningJobConfig of the request.
        static: StaticHyperParameters of its training jobs.
        seed: the same seed and results give the same draws.
    """

    def __init__(self, config: Record, static: Record | None = None, seed: int | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._ranges = ranges(config.get("ParameterRanges") or {})
        kind = (config.get("HyperParameterTuningJobObjective") or {}).get("Type", "Minimize")
        self._most = _most_resource(config, static or {}) if config["Strategy"] == "Hyperband" else None
        sampler, pruner = _sampler(config, seed), _pruner(config, self._most)
        self.maximize = kind == "Maximize"
        # Hyperband draws a trial's bracket by the study's name, too.
        self._study = optuna.create_study(study_name="tuning", direction=kind.lower(), sampler=sampler, pruner=pruner)
        self.combinations: int | None = None
        if config["Strategy"] == "Grid":
            self.combinations = self._enqueue_all()

    def ask(self) -> tuple[Trial, dict[str, str]]:
        """A new trial and its hyperparameters."""
        trial = self._study.ask({name: one.distribution for name, one in self._ranges.items()})
        return trial, {name: one.text(trial.params[name]) for name, one in self._ranges.items()}

    def tell(self, trial: Trial, value: float | None) -> None:
        """The result of a trial; None: it has none."""
        if value is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, value)

    def is_hopeless(self, trial: Trial, values: Sequence[float]) -> bool:
        """Whether a trial with these values so far, one an epoch, need not go on."""
        if not values:
            return False
        done = self._study._storage.get_trial(trial._trial_id).intermediate_values
        for step, value in enumerate(values, 1):
            if step not in done:
                trial.report(value, step)
        # A trial whose last epoch is MaxResource ends by itself.
        return (self._most is not None and len(values) > self._most) or bool(trial.should_prune())

    def learn(self, drawn: Mapping[str, str], value: float) -> None:
        """A result of an earlier tuning job; passed over when it lies outside of today's ranges."""
        try:
            values = {name: one.drawn(drawn[name]) for name, one in self._ranges.items()}
            distributions = {name: one.distribution for name, one in self._ranges.items()}
            trial = optuna.trial.create_trial(params=values, distributions=distributions, value=value)
        except (KeyError, ValueError):
            return
        self._study.add_trial(trial)

    def _enqueue_all(self) -> int:
        names = list(self._ranges)
        combinations = list(itertools.product(*(_choices(self._ranges[name].distribution) for name in names)))
        for values in combinations:
            self._study.enqueue_trial(dict(zip(names, values, strict=True)))
        return len(combinations)


def ranges(request: Record) -> dict[str, Range]:
    """The ranges of a request; ApiError names the one that cannot be."""
    found = {}
    for kind, make in {
        "ContinuousParameterRanges": _continuous,
        "IntegerParameterRanges": _integer,
        "CategoricalParameterRanges": _categorical,
    }.items():
        for one in request.get(kind) or []:
            found[one["Name"]] = make(one)
    if not found:
        raise invalid("A tuning job needs at least one parameter range.")
    return found


def _continuous(request: Record) -> Range:
    low, high = _limits(request, float)
    scaling = request.get("ScalingType", "Auto")
    if scaling == "ReverseLogarithmic":
        _require(low >= 0 and high < 1, request, "lie in [0, 1) to be scaled ReverseLogarithmic")
        mirrored = FloatDistribution(1 - high, 1 - low, log=True)
        return Range(mirrored, lambda value: repr(1 - float(value)), lambda text: 1 - float(text))
    logarithmic = _logarithmic(scaling, low, high, request)
    return Range(FloatDistribution(low, high, log=logarithmic), lambda value: repr(float(value)), float)


def _integer(request: Record) -> Range:
    low, high = _limits(request, int)
    logarithmic = _logarithmic(request.get("ScalingType", "Auto"), low, high, request)
    return Range(IntDistribution(int(low), int(high), log=logarithmic), lambda value: str(int(value)), int)


def _categorical(request: Record) -> Range:
    return Range(CategoricalDistribution(request["Values"]), str, str)


def _limits(request: Record, number: type) -> tuple[float, float]:
    try:
        low, high = number(request["MinValue"]), number(request["MaxValue"])
    except ValueError:
        low, high = math.nan, math.nan
    _require(low <= high, request, "have a MinValue that is not above its MaxValue, both numbers")
    return low, high


def _logarithmic(scaling: str, low: float, high: float, request: Record) -> bool:
    """Auto is logarithmic where the range spans two powers of ten."""
    if scaling == "Logarithmic":
        _require(low > 0, request, "be above 0 to be scaled Logarithmic")
    return scaling == "Logarithmic" or (scaling == "Auto" and low > 0 and high / low >= 100)


def _require(condition: bool, request: Record, what: str) -> None:
    if not condition:
        raise invalid(f"The range of {request['Name']!r} must {what}.")


def _sampler(config: Record, seed: int | None) -> BaseSampler:
    if config["Strategy"] in ("Random", "Grid"):
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=_TRIALS_BEFORE_MODEL, constant_liar=True)


def _pruner(config: Record, most: int | None) -> BasePruner:
    if most is not None:
        return HyperbandPruner(min(_hyperband(config).get("MinResource", 1), most), most)
    if config.get("TrainingJobEarlyStoppingType") == "Auto":
        return MedianPruner(n_startup_trials=_TRIALS_BEFORE_MODEL, n_warmup_steps=1)
    return NopPruner()


def _hyperband(config: Record) -> Record:
    return (config.get("StrategyConfig") or {}).get("HyperbandStrategyConfig") or {}


def _most_resource(config: Record, static: Record) -> int:
    """MaxResource, or what Hyperband infers it from; ApiError when there is neither.

    Source: API reference of HyperbandStrategyConfig.
    """
    inferred = [static[name] for name in _RESOURCES if static.get(name, "").isdecimal()]
    most = int(_hyperband(config).get("MaxResource") or (inferred[0] if inferred else 0))
    if not 1 <= most <= _MOST_RESOURCE:
        raise invalid(
            "Hyperband needs StrategyConfig.HyperbandStrategyConfig.MaxResource, or the static hyperparameter epochs, "
            f"of 1 to {_MOST_RESOURCE}; an epochs that is tuned is none."
        )
    return most


def _choices(distribution: BaseDistribution) -> tuple[Any, ...]:
    if not isinstance(distribution, CategoricalDistribution):
        raise invalid("The strategy Grid takes categorical ranges only.")
    return tuple(distribution.choices)
