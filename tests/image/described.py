"""Schemathesis against a server: whether its answers are those that its OpenAPI description promises."""

import os
import subprocess
import sys
from pathlib import Path

from server import Server

# one bad record in a list fails alone: such a body is answered with 200, as negative data should not be
OPTIONS = ("--exclude-checks", "negative_data_rejection", "--max-examples", "25", "--seed", "1", "--no-color")


def paths(server: Server) -> set[str]:
    """The paths that the description names."""
    return set(server.ask("GET", "/openapi.json").json["paths"])


def check(server: Server, folder: Path) -> None:
    """Ask all that is described, and more; what is answered must be described."""
    url = f"http://127.0.0.1:{server.port}/openapi.json"
    search = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", url, "--generation-database", "none", *OPTIONS],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "api_hooks", "PYTHONPATH": search},
    )
    assert done.returncode == 0, done.stdout + done.stderr
