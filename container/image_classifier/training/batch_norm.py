"""BatchNorm over the batches of all processes of a job, on CPUs too: torch's own does so on GPUs only."""

import torch
import torch.distributed as dist
from torch import nn


def synchronize(module: nn.Module) -> nn.Module:
    """Let every BatchNorm layer see the whole batch; parameters and their names stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, SynchronizedBatchNorm.like(child))
        else:
            synchronize(child)
    return module


class SynchronizedBatchNorm(nn.BatchNorm2d):
    """BatchNorm whose mean and variance are those of all processes' samples."""

    @classmethod
    def like(cls, layer: nn.BatchNorm2d) -> "SynchronizedBatchNorm":
        """Take over the parameters, the statistics and the mode of a layer."""
        twin = cls(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        twin.__dict__.update(layer.__dict__)
        return twin

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalise [n, channels, height, width]; n may be 0 here as long as it is not everywhere.

        Statistics of half precision are taken in float32, as torch's own layers do: float16 counts to 65504 only.
        """
        if not self.training:
            return super().forward(inputs)
        wide = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        samples = wide.new_tensor([wide.numel() / self.num_features])
        sums = _sum(torch.cat([samples, wide.sum((0, 2, 3))]))
        count, mean = sums[0], sums[1:] / sums[0]
        centred = wide - mean.view(1, -1, 1, 1)
        variance = _sum((centred * centred).sum((0, 2, 3))) / count
        self._remember(mean.detach(), (variance * count / (count - 1).clamp(min=1)).detach())
        scaled: torch.Tensor = centred * torch.rsqrt(variance + self.eps).view(1, -1, 1, 1)
        if self.affine:
            scaled = scaled * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return scaled.to(inputs.dtype)

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _Sum(torch.autograd.Function):
    """A sum over all processes; so is its gradient."""

    @staticmethod
    def forward(_context: object, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: object, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone().contiguous()
        dist.all_reduce(total)
        return total


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return total
