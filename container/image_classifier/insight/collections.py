"""What is saved: smdebug's collections by the classes of modules, and the two configurations of the image's own.

Names by class find the inputs and outputs of activations in every architecture of torchvision; AWS's `.*relu_output`
finds them in ResNets only. Configurations have the form of SageMaker's `debughookconfig.json`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

STATISTICS = "statistics"  # the collection of what `statistics.py` names
PREFIX = f"{STATISTICS}/"
_NEVER = str(10**9)  # an interval; step 0 is saved with every interval
_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish)
_SATURATING = (nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Hardtanh)
_FUNCTIONAL = "BasicConv2d"  # of GoogLeNet and Inception: applies a ReLU that is no module to what `bn` gives


def activations(module: nn.Module) -> dict[str, str]:
    """Activation modules by name, with their classes: {"layer1.0.relu": "ReLU"}."""
    kinds = (*_RECTIFIERS, *_SATURATING)
    return {name: type(part).__name__ for name, part in module.named_modules() if isinstance(part, kinds)}


def known(module: nn.Module, loss: nn.Module) -> dict[str, list[str]]:
    """Regular expressions of the collections that rules ask for and smdebug does not know by itself.

    Collections that would be empty, such as relu_input of a single linear layer, get an expression nothing matches.
    """
    parts = dict(module.named_modules())
    rectifiers = [name for name, part in parts.items() if isinstance(part, _RECTIFIERS)]
    functional = [name for name, part in parts.items() if type(part).__name__ == _FUNCTIONAL]
    root, criterion = type(module).__name__, type(loss).__name__
    return {
        "relu_input": [_any(rectifiers, "_input_"), _any([f"{name}.bn" for name in functional], "_output_")],
        "relu_output": [_any([*rectifiers, *functional], "_output_")],
        "sigmoid_input": [_any([n for n, p in parts.items() if isinstance(p, nn.Sigmoid)], "_input_")],
        "tanh_input": [_any([n for n, p in parts.items() if isinstance(p, nn.Tanh)], "_input_")],
        "inputs": [rf"^{root}_input_0$"],
        "labels": [rf"^{criterion}_input_1$"],
        "predictions": [rf"^{criterion}_input_0$"],
        STATISTICS: [f"^{PREFIX}"],
    }


def light(folder: Path, train: Sequence[int], evaluation: Sequence[int]) -> dict[str, Any]:
    """Losses, labels, predictions (logits) and small summaries, in these steps."""
    steps = {
        "train.save_steps": ",".join(map(str, train)),
        "eval.save_steps": ",".join(map(str, evaluation)),
        "save_interval": _NEVER,
    }
    return _config(folder, steps, ("losses", "labels", "predictions", STATISTICS))


def full(folder: Path, interval: int) -> dict[str, Any]:
    """The tensors themselves, every so many steps; losses in every step, summaries of what changes along with them."""
    names = ("weights", "gradients", "relu_input", "relu_output", "inputs", "labels", "predictions", STATISTICS)
    config = _config(folder, {"save_interval": str(interval)}, names)
    losses = {"CollectionName": "losses", "CollectionParameters": {"save_interval": "1"}}
    return {**config, "CollectionConfigurations": [losses, *config["CollectionConfigurations"]]}


def _config(folder: Path, parameters: dict[str, str], names: Sequence[str]) -> dict[str, Any]:
    collections = [{"CollectionName": name, "CollectionParameters": None} for name in names]
    return {"LocalPath": str(folder), "HookParameters": parameters, "CollectionConfigurations": collections}


def _any(names: Sequence[str], side: str) -> str:
    if not names:
        return r"(?!)"
    return rf"^({'|'.join(map(re.escape, names))}){side}\d+$"
