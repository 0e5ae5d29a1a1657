"""Small summaries that `debug=light` saves in place of large tensors; computed from the tensors themselves otherwise.

They are written by smdebug under these names, so every reader of smdebug's files finds them:

    statistics/weight/<parameter>      summary of a parameter
    statistics/gradient/<parameter>    summary of its gradient
    statistics/update/<parameter>      summary of |change| / (|weight| + 1e-9) in this step
    statistics/activity/<module>       share of positive values for each channel of an activation's output, [channels]
    statistics/activation/<module>     summary of an activation's input
    statistics/input/<class>           summary of what the network of this class is given
    statistics/training/<class>        share of BatchNorm and dropout layers in training mode, see training_share
    statistics/loss/<class>            [n, 2]: (step of this mode, loss) of every step since the last one saved

Parameters and modules have torch's names (`layer1.0.conv1.weight`). A module that is used again in the same forward
pass, as the ReLU of a ResNet's block is, is followed by `_1` the second time.
"""

import math

import numpy as np
import torch
from torch import nn

FIELDS = ("count", "nan", "inf", "zero", "mean", "mean_abs", "variance", "l2", "min", "max", "p5", "p95")
EPSILON = 1e-9
_LARGEST = 1 << 20  # values that a summary looks at one by one: beyond, every n-th


def summarize(tensor: torch.Tensor, largest: int = _LARGEST) -> torch.Tensor:
    """Summarize a tensor of any shape: float32 [len(FIELDS)]; moments and extremes are of its finite values.

    Args:
        tensor: any shape, on any device.
        largest: of a tensor with more values, every n-th stands for its neighbours in zero, mean_abs, variance, p5
            and p95; count, nan, inf, mean, l2, min and max are always of all values.
    """
    everything = flat(tensor)
    values = everything
    l2 = _norm(values)
    if not math.isfinite(l2):  # so is a value, or the sum of their squares
        values = values[torch.isfinite(values)].double()
        l2 = _norm(values)
    nan = int(torch.isnan(everything).sum()) if len(values) < len(everything) else 0
    counts = [len(everything), nan, len(everything) - len(values) - nan]
    if not len(values):
        return torch.tensor([float(count) for count in counts] + [0.0] + [math.nan] * (len(FIELDS) - 4))
    low, high = torch.aminmax(values)
    sample = thinned(values, largest).cpu().numpy()
    zero = np.count_nonzero(sample == 0) * len(values) / len(sample)
    moments = [values.mean(), np.abs(sample).mean(), sample.var(), l2, low, high]
    ends = np.quantile(sample, (0.05, 0.95))
    return torch.tensor([float(field) for field in (*counts, zero, *moments, *ends)])


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """All values as float32 [n], in the order they have in memory where that saves a copy."""
    values = tensor.detach().float()
    if values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last):
        values = values.permute(0, 2, 3, 1)
    return values.reshape(-1)


def thinned(values: torch.Tensor, largest: int) -> torch.Tensor:
    """Every n-th of [count] values, so that about `largest` remain; n is odd and no multiple of 3, as kernels are."""
    step = -(-len(values) // largest)
    while step > 1 and (step % 2 == 0 or step % 3 == 0):
        step += 1
    return values[::step]


def _norm(values: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(values))


def update_ratio(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """|change| / (|weight| + EPSILON) for each value."""
    return (after - before).abs() / (before.abs() + EPSILON)


def activity(output: torch.Tensor) -> torch.Tensor:
    """Share of positive values for each channel (dimension 1; the last one where there are two)."""
    positive = (output > 0).float()
    return positive.mean(dim=[d for d in range(output.dim()) if d != 1]) if output.dim() > 1 else positive


def training_share(module: nn.Module) -> torch.Tensor:
    """Share of the BatchNorm layers that learn, and of all dropout layers, that are in training mode: [1].

    NaN where there is none; a frozen backbone's BatchNorm rightly stays in evaluation mode and does not count.
    """
    parts = [part for part in module.modules() if _minds_the_mode(part)]
    share = sum(part.training for part in parts) / len(parts) if parts else math.nan
    return torch.tensor([share])


def _minds_the_mode(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return any(parameter.requires_grad for parameter in module.parameters())
    return isinstance(module, nn.modules.dropout._DropoutNd)
