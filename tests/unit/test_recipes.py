"""Recipes: defaults for what is not given, and nothing more."""

from typing import Any

import pytest

from image_classifier.training.hyperparameters import Hyperparameters, parse
from image_classifier.training.recipes import RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_sets_what_it_says_and_leaves_the_rest(recipe: str) -> None:
    chosen, plain = parse({"recipe": recipe}).model_dump(), parse({}).model_dump()
    assert chosen == {**plain, **RECIPES[recipe], "recipe": recipe}  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "text", "value"), [("epochs", "2", 2), ("lr", "0.5", 0.5), ("learning-rate", '"0.5"', 0.5)]
)
def test_what_is_given_wins(name: str, text: str, value: Any) -> None:
    chosen = parse({"recipe": "best", name: text})
    assert getattr(chosen, {"lr": "learning_rate"}.get(name, name.replace("-", "_"))) == value
    assert chosen.ema_decay == RECIPES["best"]["ema_decay"]


def test_a_recipe_in_a_json_coat_is_understood() -> None:
    assert parse({"recipe": '"quick"'}).epochs == RECIPES["quick"]["epochs"]


def test_each_value_says_where_it_comes_from() -> None:
    lines = parse({"recipe": "quick", "epochs": "3", "seed": "0"}).describe()
    assert "recipe = quick" in lines
    assert "epochs = 3" in lines
    assert "seed = 0" in lines
    assert "augmentation = light (recipe quick)" in lines
    assert "batch_size = 64 (default)" in lines


def test_a_recipe_can_be_read_back_from_what_a_job_wrote_down() -> None:
    chosen = parse({"recipe": "balanced", "epochs": "7"})
    assert Hyperparameters.model_validate(chosen.model_dump()) == chosen
