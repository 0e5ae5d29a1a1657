"""Small summaries that `debug=light` saves in place of large tensors; computed from the tensors themselves otherwise.

They are written by smdebug under these names, so every reader of smdebug's files finds them:

    statistics/weight/<parameter>      summary of a parameter
    statistics/gradient/<parameter>    summary of its gradient
    statistics/update/<parameter>      summary of |change| / (|weight| + 1e-9) in this step
    statistics/activity/<module>       share of positive values for each channel of an activation's output, [channels]
    statistics/activation/<module>     summary of an activation's input
"""

import torch

FIELDS = ("count", "nan", "inf", "zero", "mean", "mean_abs", "variance", "l2", "min", "max", "p5", "p95")
EPSILON = 1e-9
_LARGEST = 1 << 20  # values that a percentile is taken of: beyond, every n-th


def summarize(tensor: torch.Tensor) -> torch.Tensor:
    """Summarize a tensor of any shape: float32 [len(FIELDS)]; moments and extremes are of its finite values."""
    values = tensor.detach().float().flatten()
    finite = values[torch.isfinite(values)]
    nan, zero = torch.isnan(values).sum(), (values == 0).sum()
    counts = [float(len(values)), float(nan), float(len(values) - len(finite) - int(nan)), float(zero)]
    if not len(finite):
        return torch.tensor(counts + [float("nan")] * (len(FIELDS) - len(counts)))
    moments = [finite.mean(), finite.abs().mean(), finite.var(correction=0), finite.norm(), finite.min(), finite.max()]
    sample = finite[:: -(-len(finite) // _LARGEST)]
    ends = torch.quantile(sample, torch.tensor([0.05, 0.95], device=sample.device))
    return torch.tensor(counts + [float(value) for value in (*moments, *ends)])


def update_ratio(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """|change| / (|weight| + EPSILON) for each value."""
    return (after - before).abs() / (before.abs() + EPSILON)


def activity(output: torch.Tensor) -> torch.Tensor:
    """Share of positive values for each channel (dimension 1; the last one where there are two)."""
    positive = (output > 0).float()
    return positive.mean(dim=[d for d in range(output.dim()) if d != 1]) if output.dim() > 1 else positive
