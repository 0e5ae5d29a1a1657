"""What `sm-tune` searches: ranges, each strategy's request, and the table of the trials."""

from typing import Any

import pytest
from desk_commands import Quick, after
from started import REGION

from desk import DeskError
from workflow import search
from workflow import tune as tune_command
from workflow.account import newest
from workflow.settings import Settings

PROJECT = "searched"
QUICK = {"project": PROJECT, "objective": "val_loss"}


@pytest.fixture(scope="module")
def desk(desk: Quick) -> Quick:
    desk.api.put_picture(PROJECT)
    return desk


def tune(desk: Quick, **settings: str) -> tuple[str, Any, list[Any]]:
    """What a tuning job says, its record, and its trials."""
    said = desk.run("tune", settings={**QUICK, **{name.replace("__", "."): each for name, each in settings.items()}})
    name, sagemaker = after(said, "tuning job:"), desk.api.sagemaker
    job = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    found = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    return said, job, found["TrainingJobSummaries"]


def test_the_ranges_that_come_with_it_hold_those_of_common_notebooks() -> None:
    rate, batch, epochs = (search.ranges(Settings())[name] for name in ("learning_rate", "batch_size", "epochs"))
    assert (type(rate).__name__, rate.scaling_type) == ("ContinuousParameter", "Logarithmic")
    assert rate.min_value <= 1e-4
    assert rate.max_value >= 1e-1
    assert {type(batch).__name__, type(epochs).__name__} == {"IntegerParameter"}
    assert (batch.min_value, batch.max_value) == (8, 128)
    assert (epochs.min_value, epochs.max_value) == (3, 10)


@pytest.mark.parametrize(
    ("values", "kind", "scaling"),
    [
        (["0.9", "0.1"], "ContinuousParameter", "Linear"),
        (["0.01", "0.1"], "ContinuousParameter", "Logarithmic"),
        (["0", "0.5"], "ContinuousParameter", "Linear"),
        (["32", "8"], "IntegerParameter", "Auto"),
        (["sgd", "adamw"], "CategoricalParameter", None),
        (["1", "2", "4"], "CategoricalParameter", None),
    ],
)
def test_two_numbers_are_limits_and_other_values_choices(values: list[str], kind: str, scaling: str | None) -> None:
    made = search.ranges(Settings(ranges={"name": values}))["name"]
    assert (type(made).__name__, getattr(made, "scaling_type", None)) == (kind, scaling)
    if scaling:
        assert made.min_value < made.max_value


def test_hyperband_gives_the_epochs_out_itself(desk: Quick) -> None:
    _, job, trials = tune(desk, strategy="Hyperband", ranges__epochs="2,6", trials="2")
    config = job["HyperParameterTuningJobConfig"]
    assert config["StrategyConfig"] == {"HyperbandStrategyConfig": {"MinResource": 2, "MaxResource": 6}}
    assert config["TrainingJobEarlyStoppingType"] == "Off"
    assert "epochs" not in str(config["ParameterRanges"])
    assert job["TrainingJobDefinition"]["StaticHyperParameters"]["epochs"] == "6"
    assert all(set(trial["TunedHyperParameters"]) == {"learning_rate", "batch_size"} for trial in trials)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"epochs": ["few", "many"]}, "needs the least and the most epochs"),
        ({"epochs": [3, 10]}, "needs a range beside epochs"),
        ({"learning_rate": [0.1, 1.0]}, "needs the least and the most epochs"),
    ],
)
def test_hyperband_without_epochs_or_anything_to_search_says_so(ranges: Any, message: str) -> None:
    given = Settings().model_copy(update={"strategy": "Hyperband", "ranges": ranges, "hyperparameters": {}})
    with pytest.raises(DeskError, match=message):
        search.plan(given)
    known = given.model_copy(update={"ranges": {"lr": [0.1, 1.0]}, "hyperparameters": {"epochs": 9}})
    assert search.plan(known).more["strategy_config"].hyperband_strategy_config.max_resource == 9


def test_a_grid_has_as_many_trials_as_combinations_and_says_so(desk: Quick) -> None:
    said, job, trials = tune(desk, strategy="Grid", ranges__epochs="1,2,3", ranges__batch_size="16,32", trials="5")
    assert "trials: 12, as many as the grid has combinations, not 5" in said
    assert job["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"] == 12
    assert len({str(sorted(trial["TunedHyperParameters"].items())) for trial in trials}) == 12


def test_the_table_has_every_trial_with_what_was_tuned_the_best_first(desk: Quick) -> None:
    said, _, trials = tune(desk, trials="4", ranges__learning_rate="1e-3,1", strategy="Random")
    member = "FinalHyperParameterTuningJobObjectiveMetric"
    rows = []
    for trial in sorted(trials, key=lambda one: one[member]["Value"]):
        drawn = trial["TunedHyperParameters"]
        number = trial["TrainingJobName"].removeprefix(f"{after(said, 'tuning job:')}-")
        rate, value = float(drawn["learning_rate"]), trial[member]["Value"]
        rows.append([number, drawn["batch_size"], drawn["epochs"], f"{rate:.4g}", f"{value:.4g}", "Completed"])
    lines = [line.split() for line in said.splitlines()]
    begin = lines.index(["trial", "batch_size", "epochs", "learning_rate", "val_loss", "status"])
    assert lines[begin + 1 : begin + 5] == rows


def test_the_picture_has_a_chart_for_each_hyperparameter_with_a_point_for_each_measured_trial() -> None:
    drawn = [("1e-4", "8", "sgd", 0.9), ("1e-2", "32", "adamw", 0.4), ("1e-3", "16", "sgd", None)]
    trials = [
        {
            "TunedHyperParameters": {"learning_rate": rate, "batch_size": batch, "optimizer": optimizer},
            **({} if loss is None else {"FinalHyperParameterTuningJobObjectiveMetric": {"Value": loss}}),
        }
        for rate, batch, optimizer, loss in drawn
    ]
    charts = {axes.get_xlabel(): axes for axes in tune_command.draw(trials, "val_loss").axes}
    assert {name: axes.get_xscale() for name, axes in charts.items()} == {
        "batch_size": "linear",
        "learning_rate": "log",
        "optimizer": "linear",
    }
    assert {axes.get_ylabel() for axes in charts.values()} == {"val_loss"}
    [points] = charts["learning_rate"].collections
    assert points.get_offsets().tolist() == [[1e-4, 0.9], [1e-2, 0.4]]
    assert tune_command.draw(trials[2:], "val_loss") is None


def test_a_tuning_job_of_which_every_trial_fails_gives_a_trials_reason(desk: Quick) -> None:
    chosen = {**QUICK, "trials": "1", "hyperparameters.fail": "no pictures of cats"}
    said = desk.run("tune", code=2, settings=chosen)
    assert f"tuning job {PROJECT}-tune-" in said
    assert "no pictures of cats" in said.splitlines()[-1]


def test_without_a_name_the_last_job_is_the_projects_own_and_no_trial(desk: Quick) -> None:
    job = after(desk.run("train", settings=QUICK), "job:")
    tune(desk, trials="2")
    longer = {**QUICK, "project": f"{PROJECT}-2"}
    desk.api.put_picture(f"{PROJECT}-2")
    desk.run("train", settings=longer)
    known = Settings(project=PROJECT, region=REGION)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in desk.variables.items():
            patch.setenv(name, value)
        assert newest(known, StatusEquals="Completed") == job
        with pytest.raises(DeskError, match="there is no TrainingJob of searched-3 yet"):
            newest(Settings(project=f"{PROJECT}-3", region=REGION))
