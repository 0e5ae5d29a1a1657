"""The desk's commands as a user has them, and pictures small enough for them."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from started import BUCKET, KEYS, REGION, ROLE, Api
from typer.testing import CliRunner

import ways
from desk import DeskError

IMAGE = os.environ.get("IMAGE") or ways.DEFAULT_IMAGE
# From scratch on small pictures: seconds, not minutes.
QUICK = {
    "architecture": "shufflenet_v2_x0_5",
    "pretrained": "false",
    "freeze_backbone": "false",
    "image_size": "32",
    "epochs": "1",
    "batch_size": "16",
    "debug": "off",
}
SETTINGS = {
    "instance_type": "ml.m5.large",
    "serving_instance_type": "ml.m5.large",
    "ranges.learning_rate": "1e-3,1e-2",
    "ranges.batch_size": "16,32",
    "ranges.epochs": "1,2",
    **{f"hyperparameters.{name}": value for name, value in QUICK.items()},
}


@dataclass(frozen=True)
class Desk:
    """Runs `python -m workflow` against a server."""

    api: Api
    home: Path
    image: str = IMAGE

    @property
    def variables(self) -> dict[str, str]:
        own = {"DESK_ROLE": ROLE, "DESK_BUCKET": BUCKET, "DESK_REGION": REGION, "DESK_IMAGE": self.image}
        paths = {"PYTHONPATH": str(ways.ROOT / "scripts"), "HOME": str(self.home)}
        return {**KEYS, **own, **paths, "AWS_ENDPOINT_URL": self.api.url}

    def start(self, command: str, *words: str, settings: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        environment = {**os.environ, **self.variables}
        argv = [sys.executable, "-m", "workflow", *argument_list(command, words, settings)]
        return subprocess.Popen(argv, env=environment, stdout=-1, stderr=subprocess.STDOUT, text=True)

    def run(self, command: str, *words: str, code: int = 0, settings: Mapping[str, str] | None = None) -> str:
        return self.said(self.start(command, *words, settings=settings), code)

    @staticmethod
    def said(process: "subprocess.Popen[str]", code: int = 0) -> str:
        try:
            output = process.communicate(timeout=600)[0]
        finally:
            process.kill()
        assert process.returncode == code, output
        return output


def argument_list(command: str, words: Sequence[str], settings: Mapping[str, str] | None) -> list[str]:
    chosen = {**SETTINGS, **(settings or {})}
    values = [word for name, value in chosen.items() for word in ("--set", f"{name}={value}")]
    return [command, *values, *words]


class Quick(Desk):
    """The same commands in this process, with less patience between two looks: the SDK is loaded once."""

    def run(self, command: str, *words: str, code: int = 0, settings: Mapping[str, str] | None = None) -> str:
        from workflow import deploy, train, transform, tune
        from workflow.__main__ import app

        for part in (deploy, train, transform, tune):
            vars(part)["LOOK_EVERY"] = 0.2
        done = CliRunner().invoke(app, argument_list(command, words, settings), env=self.variables)
        if isinstance(done.exception, DeskError):
            assert code == 2, done.exception
            return f"{done.output}workflow: {done.exception}\n"
        assert done.exit_code == code, (done.output, done.exception)
        return done.output


def weights(folder: Path) -> Path:
    """A file of weights for QUICK's architecture, as torchvision would download it."""
    name = QUICK["architecture"]
    file = folder / f"{name}-0.pth"
    source = f"import torch, torchvision; torch.save(torchvision.models.{name}().state_dict(), {str(file)!r})"
    subprocess.run([ways.ROOT / ".venv" / "bin" / "python", "-c", source], check=True)
    return file


def after(text: str, word: str) -> str:
    """What follows a word at the beginning of a line."""
    return next(line for line in text.splitlines() if line.startswith(word)).removeprefix(word).strip()
