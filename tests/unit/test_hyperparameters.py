"""Strings in, typed values out; every mistake in one sentence."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from image_classifier.errors import UserError
from image_classifier.training.hyperparameters import ALIASES, Hyperparameters, parse


def refusal(raw: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        parse(raw)
    message = str(caught.value)
    assert "\n" not in message
    assert message[-1] in ".?"
    return message


def test_nothing_given_means_the_defaults() -> None:
    chosen = parse({})
    assert chosen == Hyperparameters()
    assert (chosen.architecture, chosen.epochs, chosen.freeze_backbone) == ("resnet18", 10, True)


@pytest.mark.parametrize(
    ("name", "value", "field", "meant"),
    [
        ("optimizer", "sgd", "optimizer", "sgd"),
        ("optimizer", '"sgd"', "optimizer", "sgd"),
        ("optimizer", '"\\"sgd\\""', "optimizer", "sgd"),
        ("optimizer", " sgd ", "optimizer", "sgd"),
        ("learning_rate", "0.5", "learning_rate", 0.5),
        ("learning_rate", "1e-3", "learning_rate", 0.001),
        ("learning_rate", '"0.5"', "learning_rate", 0.5),
        ("learning_rate", '"\\"0.5\\""', "learning_rate", 0.5),
        ("learning-rate", "0.5", "learning_rate", 0.5),
        ("Learning-Rate", "0.5", "learning_rate", 0.5),
        ("lr", "0.5", "learning_rate", 0.5),
        ("epochs", "3", "epochs", 3),
        ("epochs", "3.0", "epochs", 3),
        ("epochs", 3, "epochs", 3),
        ("mini-batch-size", "8", "batch_size", 8),
        ("mini_batch_size", '"8"', "batch_size", 8),
        ("model", "resnet50", "architecture", "resnet50"),
        ("seed", "0", "seed", 0),
    ],
)
def test_a_value_is_understood_in_every_coat(name: str, value: Any, field: str, meant: Any) -> None:
    result = getattr(parse({name: value}), field)
    assert result == meant
    assert type(result) is type(meant)


@pytest.mark.parametrize("text", ["True", "true", "1", '"true"', '"True"', '"1"', "yes", True, 1])
def test_every_spelling_of_true(text: Any) -> None:
    assert parse({"freeze_backbone": text}).freeze_backbone is True


@pytest.mark.parametrize("text", ["False", "false", "0", '"false"', '"False"', '"0"', "no", False, 0])
def test_every_spelling_of_false(text: Any) -> None:
    assert parse({"freeze_backbone": text}).freeze_backbone is False


@pytest.mark.parametrize("alias", ALIASES)
def test_every_alias_names_a_hyperparameter(alias: str) -> None:
    assert ALIASES[alias] in Hyperparameters.model_fields


def test_sagemakers_own_keys_are_left_out() -> None:
    raw = {
        "sagemaker_program": '"train.py"',
        "sagemaker_submit_directory": '"s3://bucket/source.tar.gz"',
        "_tuning_objective_metric": "val_accuracy",
        "epochs": "2",
    }
    assert parse(raw) == Hyperparameters(epochs=2)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("epoch", "did you mean epochs?"),
        ("learning_rat", "did you mean learning_rate?"),
        ("batchsize", "did you mean batch_size?"),
        ("zzz", "known are recipe, architecture,"),
        ("", "known are"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(name: str, hint: str) -> None:
    message = refusal({name: "1"})
    assert message.startswith(f"Unknown hyperparameter {name}")
    assert hint in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", "0"),
        ("epochs", "-1"),
        ("epochs", "2.5"),
        ("epochs", "ten"),
        ("epochs", "1001"),
        ("epochs", "[3]"),
        ("epochs", "null"),
        ("batch_size", "0"),
        ("learning_rate", "0"),
        ("learning_rate", "NaN"),
        ("learning_rate", "Infinity"),
        ("learning_rate", "fast"),
        ("momentum", "1"),
        ("weight_decay", "NaN"),
        ("label_smoothing", "1"),
        ("image_size", "31"),
        ("image_size", "1025"),
        ("recipe", "worst"),
        ("recipe", "[1]"),
        ("optimizer", "adamax"),
        ("schedule", "linear"),
        ("augmentation", "wild"),
        ("freeze_backbone", "perhaps"),
        ("validation_fraction", "0"),
        ("seed", "-1"),
        ("seed", "2147483648"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_field(name: str, value: str) -> None:
    message = refusal({name: value})
    assert message.startswith(f"Hyperparameter {name}=")
    plain = json.loads(value) if value in ("null", "NaN", "[3]") else value
    assert str(plain).replace("Infinity", "inf").lower() in message.lower()


def test_several_mistakes_are_all_told() -> None:
    message = refusal({"epochs": "0", "optimizer": "x"})
    assert "epochs=0" in message
    assert "optimizer='x'" in message


def test_an_unknown_architecture_is_refused_with_a_suggestion() -> None:
    assert "did you mean resnet18" in refusal({"architecture": "resnet19"})


@pytest.mark.parametrize("second", ["mini_batch_size", "batch-size", "BATCH_SIZE"])
def test_a_value_given_twice_is_refused(second: str) -> None:
    message = refusal({"batch_size": "4", second: "8"})
    assert message == f"Hyperparameter batch_size is given twice, once as {second}; keep one of them."


def test_a_frozen_backbone_of_random_weights_is_refused() -> None:
    message = refusal({"pretrained": "false"})
    assert "freeze_backbone=false" in message
    assert parse({"pretrained": "false", "freeze_backbone": "false"}).pretrained is False


def test_every_hyperparameter_is_described() -> None:
    assert all(field.description for field in Hyperparameters.model_fields.values())


def outcome(raw: dict[str, str]) -> str:
    """What becomes of hyperparameters: values, or a refusal in one line; anything else comes out as an exception."""
    try:
        parse(raw)
    except UserError as error:
        return "two lines" if "\n" in str(error) else "refused"
    return "accepted"


ANY_TEXT = st.text(st.characters(), max_size=40) | st.text('[]{}"\\,:0123456789.eE+-truefalsnN ', max_size=60)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(Hyperparameters.model_fields)), value=ANY_TEXT)
@example(name="epochs", value="[" * 2500)
@example(name="epochs", value="9" * 2500)
@example(name="epochs", value="1" * 5000)
@example(name="optimizer", value='"\\ud800"')
@example(name="architecture", value='"\\ud800"')
@example(name="learning_rate", value="1e999")
@example(name="freeze_backbone", value="\0")
def test_any_value_is_accepted_or_refused_in_one_line(name: str, value: str) -> None:
    assert outcome({name: value}) in ("accepted", "refused")


@settings(max_examples=100, deadline=None)
@given(name=st.text(st.characters(), max_size=40))
def test_any_name_is_known_or_refused_in_one_line(name: str) -> None:
    assert outcome({name: "1"}) in ("accepted", "refused")


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-8, 10), st.integers(1, 1000), st.booleans())
def test_numbers_survive_the_way_through_text(rate: float, epochs: int, frozen: bool) -> None:
    raw = {"learning_rate": repr(rate), "epochs": json.dumps(str(epochs)), "freeze_backbone": str(frozen)}
    chosen = parse(raw)
    assert (chosen.learning_rate, chosen.epochs, chosen.freeze_backbone) == (rate, epochs, frozen)
