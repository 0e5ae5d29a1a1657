"""The weights that a job begins with, as the image's channel `pretrained`."""

from pathlib import Path

from desk import DeskError
from workflow.account import SCREEN, digest, send_once
from workflow.settings import Settings, existing

IN_THE_IMAGE = "image"  # the setting for weights that docker/weights held when the image was built
_SUFFIXES = (".safetensors", ".pth", ".pt")
_NAMES = ("pretrained", "use_pretrained_model")
_FALSE = ("false", "0", "no", "off", "f", "n")


def pretrained(settings: Settings) -> dict[str, str]:
    """The channel of the weights; empty for a job that needs none, or gets them by itself.

    Raises:
        DeskError: the job would find no weights, or the setting names none.
    """
    if not _is_wanted(settings) or settings.weights == IN_THE_IMAGE:
        return {}
    if settings.weights:
        return {"pretrained": _place(settings, settings.weights)}
    if settings.network_isolation:
        raise DeskError(
            "a job with network_isolation=true cannot download pretrained weights: set weights=FILE or weights=s3://…, "
            f"or weights={IN_THE_IMAGE} when docker/weights held them at `make build`, or network_isolation=false, or "
            "hyperparameters.pretrained=false with hyperparameters.freeze_backbone=false"
        )
    return {}


def _is_wanted(settings: Settings) -> bool:
    chosen = {name.replace("-", "_"): str(value).lower() for name, value in settings.hyperparameters.items()}
    return not any(chosen.get(name) in _FALSE for name in _NAMES)


def _place(settings: Settings, weights: str) -> str:
    """Where the weights lie in S3; a file of the desk is sent there once."""
    if weights.startswith("s3://"):
        return weights
    file = existing(Path(weights).expanduser(), "a file of weights with weights=")
    if file.suffix not in _SUFFIXES or not file.is_file():
        raise DeskError(f"weights={weights} is no file of weights; the image reads {', '.join(_SUFFIXES)}")
    # of its own: the image finds one file there, and its name says of what
    folder = settings.below("weights", digest(file))
    if send_once(settings, file, f"{folder}/{file.name}"):
        SCREEN.print(f"weights: {folder}/{file.name}")
    return folder + "/"
