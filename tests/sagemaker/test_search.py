"""What a tuning job's search draws, learns and gives up."""

import math

from test_tuning_jobs import RATE, request

from local_sagemaker.search import Search


def test_hyperband_ends_a_trial_that_goes_beyond_its_longest() -> None:
    config = request("beyond", "Hyperband", 1, {"ContinuousParameterRanges": [RATE]})["HyperParameterTuningJobConfig"]
    search = Search({**config, "StrategyConfig": {"HyperbandStrategyConfig": {"MaxResource": 3}}})
    trial, _ = search.ask()
    assert [search.is_hopeless(trial, [0.5] * count) for count in range(1, 5)] == [False, False, False, True]


def test_what_a_search_has_learned_draws_it_towards_the_best() -> None:
    content = request("drawn", "Bayesian", 1, {"ContinuousParameterRanges": [RATE]})
    fresh, taught = (Search(content["HyperParameterTuningJobConfig"], seed=3) for _ in range(2))
    for number in range(31):
        rate = 0.001 * 10 ** (number / 10)
        taught.learn({"learning_rate": str(rate)}, distance(rate))
    taught.learn({"learning_rate": "7"}, 0.0)  # outside of today's range
    drawn = [sum(distance(float(search.ask()[1]["learning_rate"])) for _ in range(4)) for search in (fresh, taught)]
    assert drawn[1] < drawn[0] / 2, drawn


def distance(rate: float) -> float:
    return abs(math.log(rate / 0.03))
