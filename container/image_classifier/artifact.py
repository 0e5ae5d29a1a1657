"""The artifact: the one thing that crosses from `train` to `serve`.

A directory with `model.safetensors`, `config.json`, `labels.json`, `metrics.json` and a model card. No pickle.
"""

import errno
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import PIL
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import image_classifier
from image_classifier import config as configuration
from image_classifier import networks
from image_classifier.config import CONFIG, WEIGHTS, Config, Preprocessing
from image_classifier.errors import UserError, is_full_disk

__all__ = ["CONFIG", "WEIGHTS", "Config"]

LABELS = "labels.json"
METRICS = "metrics.json"
CARD = "README.md"
LEGACY_WEIGHTS = "model.pth"


def versions() -> dict[str, str]:
    """What made the artifact."""
    found = {
        "image_classifier": image_classifier.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "pillow": PIL.__version__,
        "openvino": version("openvino"),  # not imported: it takes a second
    }
    return found | ({"cuda": str(torch.version.cuda)} if torch.cuda.is_available() else {})


def save(folder: Path, network: nn.Module, config: Config) -> None:
    """Write the artifact; each file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with _whole(folder / WEIGHTS) as partial:
        save_file(weights, partial, metadata={"format": "pt"})
        partial.chmod(0o644)  # safetensors makes it its owner's alone, but another user may have to serve it
    write_text(folder / LABELS, json.dumps(config.labels, indent=2, ensure_ascii=False))
    _describe(folder, config)


def add_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Note more metrics in an artifact."""
    config = load_config(folder)
    _describe(folder, config.model_copy(update={"metrics": {**config.metrics, **metrics}}))


def _describe(folder: Path, config: Config) -> None:
    write_config(folder, config)
    write_text(folder / METRICS, json.dumps(config.metrics, indent=2))
    write_text(folder / CARD, _model_card(config))


def write_config(folder: Path, config: Config) -> None:
    """Write `config.json`."""
    write_text(folder / CONFIG, config.model_dump_json(indent=2))


def write_text(path: Path, text: str) -> None:
    """Write a file by way of a second name, so that no reader sees half of it."""
    with _whole(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """The second name to write a file under; of a full disk, the file is named and nothing is left."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        if is_full_disk(error):  # neither Python nor safetensors says which file
            raise OSError(errno.ENOSPC, "No space left on device", str(path)) from None
        raise
    os.replace(partial, path)


def load(folder: Path) -> tuple[nn.Module, Config]:
    """Read an artifact: the network in eval mode on the CPU, and its configuration.

    Raises:
        UserError: no model there, or one that cannot be read; says which file and why.
    """
    config = load_config(folder)
    try:
        network = networks.build(config.architecture, len(config.classes))
    except UserError as error:
        raise UserError(f"{folder / CONFIG} names no network of this image: {error}") from None
    try:
        network.load_state_dict(_load_weights(folder))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(
            f"The weights in {folder} do not fit {config.architecture} with {len(config.classes)} classes: {reason}"
        ) from None
    return network.eval(), config


def load_config(folder: Path) -> Config:
    """Read `config.json`, or work out a configuration for a plain `model.pth`."""
    path = folder / CONFIG
    if not path.exists():
        if (folder / LEGACY_WEIGHTS).exists():
            return _legacy_config(folder)
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())) if folder.is_dir() else "no such directory"
        raise UserError(
            f"No model in {folder} (found: {found or 'nothing'}): it must hold {CONFIG} and {WEIGHTS}, "
            "as `train` writes them; unpack model.tar.gz there."
        )
    return configuration.read(folder)


def _load_weights(folder: Path) -> Mapping[str, torch.Tensor]:
    path = folder / WEIGHTS
    return read_weights(path if path.exists() or not (folder / LEGACY_WEIGHTS).exists() else folder / LEGACY_WEIGHTS)


def read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    """Read a state dictionary from a .safetensors, .pth or .pt file, without running any code in it.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:  # safetensors says so too where the file may not be read
        reason = "may not be read by this user; make the file readable" if path.exists() else "do not exist"
        raise UserError(f"The weights {path} {reason}.") from None
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise UserError(f"The weights {path} are damaged ({error}).") from None
    except Exception:  # the unpickler's own errors: it refused what is not a tensor
        raise UserError(f"{path} holds more than tensors and is not opened; save its state_dict() instead.") from None
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{path} does not hold a state dictionary; save the network's state_dict().")
    return content


def _legacy_config(folder: Path) -> Config:
    """Recognise the torchvision network behind a plain state dictionary by its tensor shapes."""
    shapes = {name: value.shape for name, value in read_weights(folder / LEGACY_WEIGHTS).items()}
    for architecture in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2"):
        heads = networks.head_names(architecture)
        num_classes = shapes.get(f"{heads[0]}.weight", torch.Size([0]))[0]
        if num_classes and networks.state_shapes(architecture, num_classes) == shapes:
            return Config(
                architecture=architecture,
                classes=_legacy_labels(folder, num_classes),
                preprocessing=Preprocessing(),
            )
    raise UserError(
        f"{folder / LEGACY_WEIGHTS} is not a ResNet or MobileNetV2 of torchvision; "
        f"add a {CONFIG} that names the architecture."
    )


def _legacy_labels(folder: Path, num_classes: int) -> tuple[str, ...]:
    path = folder / LABELS
    try:
        labels = json.loads(path.read_text(encoding="utf-8")) if path.exists() else range(num_classes)
        if isinstance(labels, dict):  # {"0": "name", …}
            labels = [labels[key] for key in sorted(labels, key=int)]
        labels = tuple(str(label) for label in labels)
    except (ValueError, TypeError):
        raise UserError(f"{path} must hold a JSON list of class names, or an object from index to name.") from None
    if len(labels) != num_classes:
        raise UserError(f"{path} names {len(labels)} classes, but the weights in {folder} have {num_classes}.")
    return labels


def _model_card(config: Config) -> str:
    metrics = "\n".join(f"| {name} | {value:.4f} |" for name, value in config.metrics.items())
    made = "\n".join(f"- {name} {version}" for name, version in config.versions.items())
    return (
        f"# {config.architecture}, {len(config.classes)} classes\n\n"
        f"An image classifier. Input: RGB pictures, {config.preprocessing.image_size} x "
        f"{config.preprocessing.image_size} pixels after a centre crop. Answer: probabilities of "
        f"{', '.join(config.labels[:5])}{', …' if len(config.classes) > 5 else ''}.\n\n"
        f"| metric | value |\n|---|---|\n{metrics}\n\n"
        f"Probabilities are the softmax of the logits divided by {config.temperature:.4g}, the temperature that was "
        f"fitted to the validation pictures.\n\n## Made with\n\n{made}\n"
    )
