"""The command `doctor`. Only wires.

Exit codes: 0 when there is no problem (warnings allowed), 1 when there is one, 2 when the command line is wrong.
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from image_classifier.contract import Layout, Settings
from image_classifier.doctor import checks_host, checks_image
from image_classifier.doctor.report import Finding, Report, Status, examine, examine_until_problem, ok
from image_classifier.errors import UserError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Part(StrEnum):
    """What can be looked at."""

    HOST = "host"
    IMAGE = "image"
    MODEL = "model"


@app.command()
def doctor(
    part: Annotated[Part | None, typer.Argument(help="Look at this part only; at all three unless given.")] = None,
    directory: Annotated[
        Path | None, typer.Argument(help="With `model`: the unpacked model.tar.gz; /opt/ml/model unless given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
) -> None:
    """Check the host, the image and a model directory, and say what SageMaker would say.

    Exit code 0: no problem, perhaps warnings; 1: at least one problem; 2: the command line is wrong.
    """
    if directory and part is not Part.MODEL:
        raise typer.BadParameter(f"only `doctor model` takes a directory; say: doctor model {directory}")
    parts = [part] if part else list(Part)
    settings = _settings()
    report = Report({each.value: _look(each, directory, settings, asked=bool(part)) for each in parts})
    typer.echo(report.json() if as_json else report.text())
    raise typer.Exit(report.status is Status.PROBLEM)


def _look(part: Part, directory: Path | None, settings: Settings, asked: bool) -> tuple[Finding, ...]:
    layout = Layout(settings.base_dir)
    match part:
        case Part.HOST:
            return examine(checks_host.checks(os.environ, layout))
        case Part.IMAGE:
            return examine(checks_image.checks(os.environ, layout, settings.weights_dir))
        case Part.MODEL:
            return _look_at_model(directory or layout.model, settings, asked)


def _look_at_model(folder: Path, settings: Settings, asked: bool) -> tuple[Finding, ...]:
    if not asked and not (folder.is_dir() and any(folder.iterdir())):
        return (ok(f"no model in {folder} to look at; mount one there, or name one: `doctor model DIRECTORY`"),)
    from image_classifier.doctor import checks_model  # torch takes seconds: not for a look at the host

    return examine_until_problem(checks_model.checks(folder, settings))


def _settings() -> Settings:
    """The environment's; the defaults where it cannot be used, which the host's checks report."""
    try:
        return Settings.from_environment()
    except UserError:
        return Settings.from_environment({})


def main() -> None:
    """Run the command."""
    app()
