"""The commands: python -m workflow COMMAND; each has a Make target, `make sm-COMMAND`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from desk import DeskError
from workflow.account import explained
from workflow.settings import read

# Each command loads its own part: the SDK takes seconds.
app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)
Set = Annotated[list[str], typer.Option("--set", metavar="NAME=VALUE", help="A value of sagemaker.toml, for this run.")]
Job = Annotated[
    str,
    typer.Option(help="Training job, tuning job, s3://.../model.tar.gz or a folder here; the last job unless given."),
]
Endpoint = Annotated[str, typer.Option(help="Name of the endpoint; the project's unless given.")]
NO_SET: list[str] = []


@app.command()
def upload(
    data: Annotated[Path, typer.Option(help="Folder with train/, valid/ and test/.")], values: Set = NO_SET
) -> None:
    """Send a folder of pictures to S3: only what changed, and only when all is well."""
    from workflow.upload import upload as work

    explained(lambda: work(read(values), data))


@app.command()
def train(values: Set = NO_SET, wait: Annotated[bool, typer.Option(help="Follow the job to its end.")] = True) -> None:
    """Train on the uploaded pictures."""
    from workflow.train import train as work

    explained(lambda: work(read(values), wait))


@app.command()
def tune(
    values: Set = NO_SET, warm_start: Annotated[str, typer.Option(help="An earlier tuning job to learn from.")] = ""
) -> None:
    """Search for good hyperparameters."""
    from workflow.tune import tune as work

    explained(lambda: work(read(values), warm_start))


@app.command()
def deploy(job: Job = "", endpoint: Endpoint = "", values: Set = NO_SET) -> None:
    """Put a model behind an endpoint, or a newer one behind the same."""
    from workflow.deploy import deploy as work

    explained(lambda: work(read(values), job, endpoint))


@app.command()
def pack(
    model: Annotated[Path, typer.Option(help="Folder of a model, such as `make train` leaves.")],
    code: Annotated[Path | None, typer.Option(help="Folder with your own inference.py.")] = None,
) -> None:
    """Make a model.tar.gz of a model that was trained here; `deploy --job` takes it."""
    from workflow.pack import pack as work

    print(f"artifact: {work(model, code)}")


@app.command()
def predict(
    path: Annotated[Path, typer.Option(help="A picture, or a folder of them.")],
    endpoint: Endpoint = "",
    model_name: Annotated[str, typer.Option(help="Of a multi-model endpoint: NAME.tar.gz.")] = "",
    top_k: Annotated[int, typer.Option(min=0, help="Labels of each picture; 0: as many as the image gives.")] = 0,
    values: Set = NO_SET,
) -> None:
    """Ask the endpoint about pictures."""
    from workflow.predict import predict as work

    explained(lambda: work(read(values), path, endpoint, model_name, top_k))


@app.command()
def transform(
    source: Annotated[str, typer.Option(help="s3://bucket/prefix of pictures.")], job: Job = "", values: Set = NO_SET
) -> None:
    """Classify every picture below a place in S3."""
    from workflow.transform import transform as work

    explained(lambda: work(read(values), source, job))


@app.command()
def report(job: Job = "", values: Set = NO_SET) -> None:
    """Fetch a job's report and tables."""
    from workflow.report import report as work

    explained(lambda: work(read(values), job))


@app.command()
def clean(
    values: Set = NO_SET,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    data: Annotated[bool, typer.Option("--data", help="Also what is stored: pictures, models, answers, logs.")] = False,
) -> None:
    """List what the project has made and remove it when you say so."""
    from workflow.clean import clean as work

    ask: Callable[[], bool] = lambda: yes or typer.confirm("remove all of this?")  # noqa: E731
    explained(lambda: work(read(values), ask, data))


def main() -> None:
    """Run a command; a user's error is one sentence."""
    try:
        app(prog_name="workflow")
    except (DeskError, OSError) as error:
        print(f"workflow: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
