"""A tuning job through the SDK's HyperparameterTuner; a table and a picture of its trials."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from desk import DeskError
from ways import OUT
from workflow import instances
from workflow.account import ENDED, LOOK_EVERY, SCREEN, client, new_name
from workflow.search import Search, number, plan
from workflow.settings import Settings
from workflow.train import DEFINITIONS, channels, estimator


def tune(settings: Settings, warm_start: str = "") -> None:
    """Search the settings' ranges and show what was found."""
    _check_objective(settings)
    search = plan(settings)
    name, data = new_name(settings, "tune"), channels(settings)
    made = estimator(settings.model_copy(update={"hyperparameters": search.fixed}))
    if settings.spot:
        made.checkpoint_s3_uri = settings.below("checkpoints", name)
    if search.trials != settings.trials:
        SCREEN.print(f"trials: {search.trials}, as many as the grid has combinations, not {settings.trials}")
    _tuner(settings, search, made, warm_start).fit(data, job_name=name, wait=False)
    SCREEN.print(f"tuning job: {name}")
    show(settings, name)


def _check_objective(settings: Settings) -> None:
    known = [one["Name"] for one in json.loads(DEFINITIONS.read_text())]
    if settings.objective not in known:
        raise DeskError(f"objective={settings.objective} is none of {', '.join(known)}")


def _tuner(settings: Settings, search: Search, made: Any, warm_start: str) -> Any:
    """The SDK's HyperparameterTuner."""
    from sagemaker.tuner import HyperparameterTuner, WarmStartConfig, WarmStartTypes

    return HyperparameterTuner(
        made,
        settings.objective,
        search.ranges,
        json.loads(DEFINITIONS.read_text()),
        strategy=settings.strategy,
        objective_type="Minimize" if "loss" in settings.objective else "Maximize",
        max_jobs=search.trials,
        max_parallel_jobs=settings.parallel_trials,
        warm_start_config=WarmStartConfig(WarmStartTypes.TRANSFER_LEARNING, {warm_start}) if warm_start else None,
        tags=settings.labels,
        **search.more,
    )


def show(settings: Settings, name: str) -> None:
    """Wait for a tuning job, saying how far it is; then its trials and the best one; DeskError when it failed."""
    sagemaker = client(settings, "sagemaker")
    told = ""
    while True:
        job = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        counters = job["TrainingJobStatusCounters"]
        line = ", ".join(f"{count} {word}" for word, count in counters.items() if count)
        if line != told:
            SCREEN.print(f"trials: {line or 'none yet'}")
            told = line
        if job["HyperParameterTuningJobStatus"] in ENDED:
            break
        time.sleep(LOOK_EVERY)
    trials = _trials(sagemaker, name)
    SCREEN.print(table(trials, settings.objective))
    if job["HyperParameterTuningJobStatus"] == "Failed":
        raise DeskError(f"tuning job {name} failed: {_reason(job, trials)}")
    _keep(draw(trials, settings.objective), OUT / f"{name}.png")
    SCREEN.print(f"billed: {_bill(settings, sagemaker, trials)}")
    if "BestTrainingJob" not in job:
        raise DeskError(f"tuning job {name} is {job['HyperParameterTuningJobStatus']}; no trial has measured anything")
    tuned = sorted(job["BestTrainingJob"]["TunedHyperParameters"].items())
    SCREEN.print("values: " + " ".join(f"hyperparameters.{key}={value}" for key, value in tuned))
    SCREEN.print(f"best: {job['BestTrainingJob']['TrainingJobName']}; make sm-deploy JOB={name}")


def _bill(settings: Settings, sagemaker: Any, trials: Sequence[dict[str, Any]]) -> str:
    """What all trials have cost together; their instances are alike."""
    jobs = [sagemaker.describe_training_job(TrainingJobName=trial["TrainingJobName"]) for trial in trials]
    members = ("BillableTimeInSeconds", "TrainingTimeInSeconds")
    return instances.bill(settings, {**jobs[0], **{key: sum(job.get(key, 0) for job in jobs) for key in members}})


def table(trials: Sequence[dict[str, Any]], objective: str) -> Table:
    """All trials with what was tuned, the best first."""
    names = sorted({name for trial in trials for name in trial["TunedHyperParameters"]})
    made = Table(box=None)
    for title in ("trial", *names, objective, "status"):
        made.add_column(title, overflow="fold")
    for trial in trials:
        drawn = [_short(trial["TunedHyperParameters"].get(name, "")) for name in names]
        value = _value(trial)
        measured = "" if value is None else f"{value:.4g}"
        made.add_row(_number_of(trial), *drawn, measured, trial["TrainingJobStatus"])
    return made


def draw(trials: Sequence[dict[str, Any]], objective: str) -> Any:
    """A figure with a chart for each hyperparameter, its value against the objective; None when nothing is measured."""
    from matplotlib.figure import Figure

    measured = [trial for trial in trials if _value(trial) is not None]
    names = sorted({name for trial in measured for name in trial["TunedHyperParameters"]})
    if not names:
        return None
    figure = Figure(figsize=(4 * len(names), 3.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        drawn = [number(trial["TunedHyperParameters"][name]) for trial in measured]
        values = [trial["TunedHyperParameters"][name] for trial in measured] if None in drawn else drawn
        axes.scatter(values, [_value(trial) for trial in measured])
        axes.set(xlabel=name, ylabel=objective)
        if None not in drawn and min(drawn) > 0 and max(drawn) / min(drawn) >= 10:
            axes.set_xscale("log")
    return figure


def _keep(figure: Any, file: Path) -> None:
    """Write a figure, where there is one, and say where it is."""
    if figure:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=120)
        SCREEN.print(f"picture: {file}")


def _trials(sagemaker: Any, name: str) -> list[dict[str, Any]]:
    pages = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name
    )
    found = [trial for page in pages for trial in page["TrainingJobSummaries"]]
    kinds = [trial["FinalHyperParameterTuningJobObjectiveMetric"].get("Type") for trial in found if _measured(trial)]
    sign = -1 if "Maximize" in kinds else 1
    return sorted(found, key=lambda trial: sign * (value if (value := _value(trial)) is not None else sign * 1e300))


def _number_of(trial: dict[str, Any]) -> str:
    """The trial's own part of its name, which begins with the tuning job's."""
    return "-".join(trial["TrainingJobName"].rsplit("-", 2)[1:])


def _reason(job: dict[str, Any], trials: Sequence[dict[str, Any]]) -> str:
    """Why a tuning job failed: a trial's own reason where there is one."""
    said = [trial["FailureReason"] for trial in trials if trial.get("FailureReason")]
    return str(said[0] if said else job.get("FailureReason", "it gives no reason"))


def _measured(trial: dict[str, Any]) -> bool:
    return "FinalHyperParameterTuningJobObjectiveMetric" in trial


def _value(trial: dict[str, Any]) -> float | None:
    return float(trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]) if _measured(trial) else None


def _short(text: str) -> str:
    value = number(text)
    return f"{value:.4g}" if isinstance(value, float) else text
