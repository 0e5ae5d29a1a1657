"""Tuning jobs: trials are training jobs whose measured objective is what counts."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from started import LOSS, Api, training_request, wait

CHOICE = {"Name": "batch_size", "Values": ["8", "16", "32"]}
RATE = {"Name": "learning_rate", "MinValue": "0.001", "MaxValue": "1", "ScalingType": "Logarithmic"}


def request(name: str, strategy: str, jobs: int, ranges: dict[str, Any], **config: Any) -> dict[str, Any]:
    """A request for a tuning job with two trials at a time."""
    job = training_request(name, {})
    definition = {key: job[key] for key in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")}
    algorithm = {**job["AlgorithmSpecification"], "MetricDefinitions": [LOSS]}
    static = {"epochs": "2"}
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": strategy,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "val_loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": ranges,
            "RandomSeed": 3,
            **config,
        },
        "TrainingJobDefinition": {**definition, "AlgorithmSpecification": algorithm, "StaticHyperParameters": static},
    }


def tune(api: Api, content: dict[str, Any]) -> tuple[Any, list[Any]]:
    """A tuning job when it has ended, and its trials, the best first."""
    name = content["HyperParameterTuningJobName"]
    api.sagemaker.create_hyper_parameter_tuning_job(**content)
    job = ended(api, name)
    trials = api.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, SortBy="FinalObjectiveMetricValue"
    )["TrainingJobSummaries"]
    return job, trials


def ended(api: Api, name: str) -> Any:
    read = lambda: api.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)  # noqa: E731
    return wait(read, lambda job: job["HyperParameterTuningJobStatus"] in ("Completed", "Failed", "Stopped"), 120)


def value(trial: Any) -> float:
    return float(trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])


def test_the_best_trial_is_the_one_that_measured_least(api: Api) -> None:
    job, trials = tune(api, request("bayes", "Bayesian", 6, {"ContinuousParameterRanges": [RATE]}))
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Completed"] == 6
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 6, "Pending": 0, "Failed": 0}
    assert [value(trial) for trial in trials] == sorted(value(trial) for trial in trials)
    assert job["BestTrainingJob"]["TrainingJobName"] == trials[0]["TrainingJobName"]
    for trial in trials:
        rate = float(trial["TunedHyperParameters"]["learning_rate"])
        assert 0.001 <= rate <= 1
        assert value(trial) == pytest.approx((rate - 0.03) ** 2 + 0.5)
    own = api.sagemaker.describe_training_job(TrainingJobName=trials[0]["TrainingJobName"])
    assert own["HyperParameters"]["_tuning_objective_metric"] == "val_loss"
    assert own["HyperParameters"]["epochs"] == "2"
    assert own["TuningJobArn"] == job["HyperParameterTuningJobArn"]


def test_a_grid_tries_every_combination_once(api: Api) -> None:
    grid = [{"Name": "learning_rate", "Values": ["0.1", "0.2"]}, {"Name": "batch_size", "Values": ["8", "16"]}]
    _, trials = tune(api, request("grid", "Grid", 4, {"CategoricalParameterRanges": grid}))
    tried = {
        (one["TunedHyperParameters"]["learning_rate"], one["TunedHyperParameters"]["batch_size"]) for one in trials
    }
    assert tried == {("0.1", "8"), ("0.1", "16"), ("0.2", "8"), ("0.2", "16")}


def test_a_warm_start_learns_from_its_parent(api: Api) -> None:
    ranges = {"ContinuousParameterRanges": [RATE]}
    _, parents = tune(api, request("parent", "Random", 6, ranges))
    content = request("child", "Bayesian", 1, ranges)
    warm = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "parent"}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    job, trials = tune(api, {**content, "WarmStartConfig": warm})
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert (len(parents), len(trials)) == (6, 1)
    _, [alone] = tune(api, {**content, "HyperParameterTuningJobName": "orphan"})
    drawn = [one["TunedHyperParameters"]["learning_rate"] for one in (trials[0], alone)]
    assert drawn[0] != drawn[1], "the seed is the same: only what the parent measured can tell them apart"


def test_hopeless_trials_are_stopped_early(api: Api) -> None:
    # The lower half of the range ends where the upper half begins: every epoch tells them apart.
    ranges = {"ContinuousParameterRanges": [{**RATE, "MinValue": "0.03", "MaxValue": "3", "ScalingType": "Linear"}]}
    content = request("early", "Random", 8, ranges, TrainingJobEarlyStoppingType="Auto")
    content["TrainingJobDefinition"]["StaticHyperParameters"] = {"epochs": "20", "pause": "0.15"}
    job, _ = tune(api, content)
    counters = job["TrainingJobStatusCounters"]
    assert counters["Stopped"] >= 1
    assert counters["Completed"] + counters["Stopped"] == 8


def test_hyperband_ends_most_trials_after_few_epochs_and_the_best_goes_to_the_end(api: Api) -> None:
    content = request("bands", "Hyperband", 8, {"ContinuousParameterRanges": [RATE]})
    config = {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 9}}
    content["HyperParameterTuningJobConfig"]["StrategyConfig"] = config
    content["TrainingJobDefinition"]["StaticHyperParameters"] = {"epochs": "9", "pause": "0.4"}
    job, trials = tune(api, content)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    counters = job["TrainingJobStatusCounters"]
    assert counters["Stopped"] >= 2, counters
    assert counters["Completed"] + counters["Stopped"] == 8
    best = next(one for one in trials if one["TrainingJobName"] == job["BestTrainingJob"]["TrainingJobName"])
    assert (value(best), best["TrainingJobStatus"]) == (min(value(one) for one in trials), "Completed")


def test_hyperband_takes_its_longest_trial_from_the_static_hyperparameters(api: Api) -> None:
    content = request("inferred", "Hyperband", 1, {"ContinuousParameterRanges": [RATE]})
    job, [trial] = tune(api, content)
    assert (job["HyperParameterTuningJobStatus"], trial["TrainingJobStatus"]) == ("Completed", "Completed")


def test_a_tuning_job_that_is_stopped_stops_its_trials(api: Api) -> None:
    content = request("halted", "Random", 8, {"ContinuousParameterRanges": [RATE]})
    content["TrainingJobDefinition"]["StaticHyperParameters"] = {"epochs": "10000", "pause": "0.1"}
    api.sagemaker.create_hyper_parameter_tuning_job(**content)
    running = lambda: api.sagemaker.list_training_jobs(NameContains="halted", StatusEquals="InProgress")  # noqa: E731
    wait(running, lambda found: len(found["TrainingJobSummaries"]) == 2)
    api.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="halted")
    job = ended(api, "halted")
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert job["TrainingJobStatusCounters"]["Stopped"] == 2


def test_when_every_trial_fails_the_tuning_job_does(api: Api) -> None:
    content = request("hopeless", "Random", 2, {"ContinuousParameterRanges": [RATE]})
    content["TrainingJobDefinition"]["StaticHyperParameters"] = {"fail": "UserError: no pictures."}
    job, _ = tune(api, content)
    assert (job["HyperParameterTuningJobStatus"], job["TrainingJobStatusCounters"]["NonRetryableError"]) == (
        "Failed",
        2,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Strategy": "Guessing"}, "enum value set"),
        ({"Strategy": "Hyperband", "TrainingJobEarlyStoppingType": "Auto"}, "Hyperband stops trials itself"),
        (
            {"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "val_accuracy"}},
            "no metric definition; defined are val_loss",
        ),
        ({"ParameterRanges": {}}, "at least one parameter range"),
        ({"Strategy": "Grid"}, "categorical ranges only"),
        (
            {"Strategy": "Grid", "ParameterRanges": {"CategoricalParameterRanges": [CHOICE]}},
            "all 3 combinations of its ranges; leave MaxNumberOfTrainingJobs out or say 3, not 1",
        ),
        (
            {"ParameterRanges": {"ContinuousParameterRanges": [{**RATE, "MinValue": "0"}]}},
            "'learning_rate' must be above 0",
        ),
        (
            {"ParameterRanges": {"ContinuousParameterRanges": [{**RATE, "MinValue": "2"}]}},
            "a MinValue that is not above its MaxValue",
        ),
    ],
)
def test_a_wrong_request_is_refused_and_says_why(api: Api, change: dict[str, Any], message: str) -> None:
    content = request("wrong", "Random", 1, {"ContinuousParameterRanges": [RATE]})
    content["HyperParameterTuningJobConfig"].update(change)
    with pytest.raises(ClientError, match=message):
        api.sagemaker.create_hyper_parameter_tuning_job(**content)


@pytest.mark.parametrize("static", [{}, {"epochs": "many"}, {"epochs": "20001"}, {"steps": "9"}])
def test_hyperband_without_a_longest_trial_is_refused(api: Api, static: dict[str, str]) -> None:
    content = request("wrong", "Hyperband", 1, {"ContinuousParameterRanges": [RATE]})
    content["TrainingJobDefinition"]["StaticHyperParameters"] = static
    with pytest.raises(ClientError, match=r"HyperbandStrategyConfig\.MaxResource, or the static"):
        api.sagemaker.create_hyper_parameter_tuning_job(**content)


def test_a_grid_needs_no_number_of_jobs(api: Api) -> None:
    content = request("whole-grid", "Grid", 1, {"CategoricalParameterRanges": [CHOICE]})
    del content["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"]
    _, trials = tune(api, content)
    assert sorted(one["TunedHyperParameters"]["batch_size"] for one in trials) == ["16", "32", "8"]
