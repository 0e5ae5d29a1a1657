"""Whatever the service's model limits - values, lengths, numbers, patterns - is limited here, at every depth."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import regex

import ways
from local_sagemaker import validation
from local_sagemaker.errors import ApiError
from local_sagemaker.server import Server

Wrap = Callable[[Any], Any]
ODD = "\x00\n"


def leaves(shape: Any, wrap: Wrap, depth: int = 0) -> Iterator[tuple[Any, Wrap]]:
    """Every value below a shape, and how a request that holds it looks."""
    if depth > 7:  # a few shapes hold themselves
        return
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield from leaves(member, lambda value, name=name: wrap({name: value}), depth + 1)
    elif shape.type_name == "list":
        yield from leaves(shape.member, lambda value: wrap([value]), depth + 1)
    elif shape.type_name == "map":
        yield from leaves(shape.value, lambda value: wrap({"key": value}), depth + 1)
    else:
        yield shape, wrap


def broken(shape: Any) -> Iterator[tuple[Any, str]]:
    """Values that break each limit of a shape, and what is said of them."""
    limits, text = shape.metadata, shape.type_name == "string"
    if "enum" in limits:
        yield "no such value", "enum value set"
    if text and 0 < limits.get("max", 0) < 10_000:
        yield "a" * (limits["max"] + 1), f"length less than or equal to {limits['max']}"
    if not text and "max" in limits:
        yield limits["max"] + 1, f"value less than or equal to {limits['max']}"
    if not text and "min" in limits:
        yield limits["min"] - 1, f"value greater than or equal to {limits['min']}"
    if "pattern" in limits and not matches(limits["pattern"], ODD):
        yield ODD, "regular expression pattern"


def matches(pattern: str, text: str) -> bool:
    try:
        return regex.fullmatch(pattern, text, regex.DOTALL) is not None
    except regex.error:  # a few of the model's are none
        return True


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What is answered here."""
    folder = tmp_path_factory.mktemp("operations")
    return sorted(Server(folder, ways.InVenv(Path("none")), True).application.operations)


def test_every_limit_of_the_services_model_is_kept(operations: list[str]) -> None:
    said = {"enum value set": 0, "length": 0, "value": 0, "regular expression pattern": 0}
    for name in operations:
        for shape, wrap in leaves(validation.service().operation_model(name).input_shape, lambda value: value):
            for value, message in broken(shape):
                with pytest.raises(ApiError) as caught:
                    validation.check(name, wrap(value))
                assert message in caught.value.message, (name, wrap(value))
                said[next(word for word in said if message.startswith(word))] += 1
    assert min(said.values()) > 50, said


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"Colour": "red"}, "Unknown parameter 'Colour'"),
        ({"TrainingJobName": 3}, "Member must be a string"),
        ({"InputDataConfig": []}, "length greater than or equal to 1"),
        ({}, "Value null at 'TrainingJobName' failed to satisfy constraint: Member must not be null"),
    ],
)
def test_forms_are_checked_too(request_: Any, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        validation.check("CreateTrainingJob", request_)
    assert message in caught.value.message
