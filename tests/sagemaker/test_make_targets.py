"""Each command of the desk has a target of make, which says to it what its user has said to make."""

import shlex
import subprocess
from collections.abc import Mapping

import pytest
import typer

import ways
from workflow.__main__ import app

COMMANDS: Mapping[str, typer.core.TyperCommand] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
CALLS = {
    "upload": {"DATA": "pictures"},
    "train": {},
    "tune": {"WARM_START": "earlier"},
    "deploy": {"JOB": "job"},
    "pack": {"MODEL": "out/model", "CODE": "own"},
    "predict": {"DATA": "a.png", "TOP_K": "3", "MODEL_NAME": "dogs.tar.gz"},
    "transform": {"DATA": "s3://bucket/test", "JOB": "job"},
    "report": {"JOB": "job"},
    "clean": {"ARGS": "--yes --data"},
}
SET = {"SET": "trials=3 hyperparameters.epochs=2"}


def said(name: str, variables: Mapping[str, str]) -> list[str]:
    """The words that a target says to its command."""
    argv = ["make", "--dry-run", f"sm-{name}", *(f"{key}={value}" for key, value in variables.items())]
    lines = subprocess.run(argv, cwd=ways.ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    [words] = [shlex.split(line) for line in lines if "-m workflow" in line]
    return words[words.index("workflow") + 1 :]


def test_every_command_is_among_them() -> None:
    assert set(CALLS) == set(COMMANDS)


@pytest.mark.parametrize("name", CALLS)
def test_a_target_says_all_that_its_command_understands(name: str) -> None:
    more = {} if name == "pack" else SET
    command, *words = said(name, {**CALLS[name], **more})
    assert command == name
    values = COMMANDS[name].make_context(name, words).params
    assert list(values.get("values") or []) == " ".join(more.values()).split()
    given = {str(value) for value in values.values()}
    if name == "clean":
        assert (values["yes"], values["data"]) == (True, True)
    else:
        assert set(CALLS[name].values()) <= given


@pytest.mark.parametrize("name", ["tune", "deploy", "report", "train"])
def test_what_is_not_said_to_make_is_not_said_to_the_command(name: str) -> None:
    assert said(name, {}) == [name]
