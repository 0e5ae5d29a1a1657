"""Starts SageMaker's API on this desk; Ctrl-C ends it."""

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

import ways
from desk import DeskError
from local_sagemaker import roles
from local_sagemaker.aws import ACCOUNT
from local_sagemaker.server import BUCKET, serving

PORT = 4566
_HOW_TO_USE = f"""In another terminal:
  export AWS_ENDPOINT_URL={{url}}
  export AWS_ACCESS_KEY_ID=desk AWS_SECRET_ACCESS_KEY=desk
  export DESK_BUCKET={BUCKET} DESK_ROLE=arn:aws:iam::{ACCOUNT}:role/{roles.NAME}"""


def main(
    port: Annotated[int, typer.Option(help="Port of the API; 0 takes a free one.")] = PORT,
    host: Annotated[str, typer.Option(help="Address; whoever reaches it can run programs here.")] = "127.0.0.1",
    state: Annotated[Path, typer.Option(help="Where jobs, objects and logs are kept.")] = ways.OUT / "local_sagemaker",
    debugger: Annotated[bool, typer.Option(help="Be an account that has SageMaker Debugger.")] = True,
) -> None:
    """SageMaker's API on this desk: one endpoint URL, no AWS account."""
    try:
        way = ways.choose_way()
    except DeskError as error:
        print(f"local_sagemaker: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with serving(state.resolve(), host, port, way, debugger) as server:
        print(f"SageMaker's API runs {way.description}; state in {state}", flush=True)
        print(_HOW_TO_USE.format(url=f"http://{host}:{server.port}"), flush=True)
        ended.wait()


if __name__ == "__main__":
    typer.run(main)
