"""Architectures: build one, find and replace its head, load weights, freeze.

Any classifier of torchvision works. What belongs to the head is not kept in a table: it is every parameter
whose shape changes with the number of classes.
"""

import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision import models

from image_classifier import images
from image_classifier.config import Preprocessing
from image_classifier.errors import UserError
from image_classifier.half import Half

# Auxiliary classifiers are for training from scratch in the original papers; transform_input matches their weights.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": True},
    "inception_v3": {"aux_logits": False, "transform_input": True, "init_weights": True},
}


NUMBERS = {None: torch.float32, Half.FP16: torch.float16, Half.BF16: torch.bfloat16}


class FromPixels(nn.Module):
    """A network with normalising in front of it: from uint8 [n, h, w, 3] to float32 logits [n, classes].

    Args:
        network: in eval mode; its weights are turned into the numbers to compute with.
        preprocessing: how to normalise.
        dtype: of weights and activations.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = network.to(dtype)
        self._preprocessing, self._dtype = preprocessing, dtype

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """See the class."""
        inputs = images.normalise(pixels.permute(0, 3, 1, 2), self._preprocessing).to(self._dtype)
        logits: torch.Tensor = self.network(inputs)
        return logits.float()

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run it where its weights are."""
        device = next(self.parameters()).device
        with torch.inference_mode():
            answer: NDArray[np.float32] = self(torch.from_numpy(pixels).to(device)).cpu().numpy()
            return answer


@cache
def architectures() -> tuple[str, ...]:
    """Names of all image classifiers of torchvision, sorted."""
    return tuple(sorted(models.list_models(module=models)))


def check_architecture(name: str) -> str:
    """Return the name if torchvision has such a classifier.

    Raises:
        UserError: it has not; suggests the nearest names.
    """
    if name in architectures():
        return name
    near = difflib.get_close_matches(name, architectures(), n=3) or ["resnet18", "resnet50"]
    raise UserError(f"architecture={name!r} is not a torchvision classifier; did you mean {' or '.join(near)}?")


def build(architecture: str, num_classes: int) -> nn.Module:
    """Build a network with randomly initialised weights, channels last in memory."""
    arguments = _ARGUMENTS.get(check_architecture(architecture), {})
    network: nn.Module = models.get_model(architecture, weights=None, num_classes=num_classes, **arguments)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def state_shapes(architecture: str, num_classes: int) -> dict[str, torch.Size]:
    """Shapes of the state dictionary, without allocating it where the architecture allows."""
    try:
        with torch.device("meta"):
            network = build(architecture, num_classes)
    except NotImplementedError:  # RegNet computes its widths with tensors
        network = build(architecture, num_classes)
    return {name: value.shape for name, value in network.state_dict().items()}


@cache
def head_names(architecture: str) -> tuple[str, ...]:
    """Names of the modules that make the logits, such as `fc` or `classifier.1`."""
    two, three = (state_shapes(architecture, num_classes) for num_classes in (2, 3))
    changed = [name for name in two if two[name] != three[name]]
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in changed))


def head_parameters(network: nn.Module, architecture: str) -> list[nn.Parameter]:
    """The parameters of the head."""
    return [p for name in head_names(architecture) for p in network.get_submodule(name).parameters()]


def linear_head(network: nn.Module, architecture: str) -> nn.Linear | None:
    """The head, when it is one linear layer whose output is the logits; None where it is not (SqueezeNet)."""
    names = head_names(architecture)
    head = network.get_submodule(names[0]) if len(names) == 1 else None
    return head if isinstance(head, nn.Linear) else None


def replace_head(network: nn.Module, architecture: str, head: nn.Module) -> None:
    """Put another module in the place of the head."""
    (name,) = head_names(architecture)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, head)


def freeze_backbone(network: nn.Module, architecture: str) -> None:
    """Let only the head learn."""
    network.requires_grad_(False)
    for parameter in head_parameters(network, architecture):
        parameter.requires_grad_(True)


def set_train_mode(network: nn.Module, frozen: bool) -> None:
    """Switch to training; a frozen backbone stays in eval mode, or its BatchNorm statistics would drift."""
    network.train(not frozen)


def backbone_state(network: nn.Module, architecture: str) -> dict[str, torch.Tensor]:
    """The state dictionary without the head's part."""
    heads = tuple(f"{name}." for name in head_names(architecture))
    return {name: value for name, value in network.state_dict().items() if not name.startswith(heads)}


def load_backbone(network: nn.Module, architecture: str, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Copy every weight but the head's into the network.

    Args:
        network: built by `build`.
        architecture: its name.
        weights: state dictionary of the same architecture, with any number of classes.
        source: where the weights came from, for the error message.

    Raises:
        UserError: the weights do not fit the architecture.
    """
    wanted = backbone_state(network, architecture)
    missing = [name for name in wanted if name not in weights and not name.endswith("num_batches_tracked")]
    wrong = [name for name in wanted if name in weights and weights[name].shape != wanted[name].shape]
    if missing or wrong:
        raise UserError(
            f"The weights in {source} are not those of architecture={architecture}: {len(missing)} of {len(wanted)} "
            f"tensors are missing and {len(wrong)} have another shape (first: {(missing + wrong)[0]})."
        )
    network.load_state_dict({name: weights[name] for name in wanted if name in weights}, strict=False)
