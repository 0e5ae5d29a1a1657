"""Confidences that mean what they say: one number, the temperature, that logits are divided by before the softmax."""

import torch
from torch import nn

_LOWEST, _HIGHEST = 0.05, 20.0


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """The temperature under which the targets are likeliest (Guo et al. 2017).

    One picture's worth of doubt is spread over the classes, as Platt (1999) does it: where all answers are right,
    the likeliest temperature would be zero, and every confidence 100 %.

    Args:
        logits: of pictures that were not learnt from: [n, classes].
        targets: int64 [n].

    Returns:
        The temperature, above 0; 1 when there is nothing to fit it to, or the logits are no numbers.
    """
    if not len(logits) or not logits.isfinite().all():
        return 1.0
    logits, doubt = logits.double(), 1 / (len(logits) + 2)
    log_temperature = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        value = nn.functional.cross_entropy(logits / log_temperature.exp(), targets, label_smoothing=doubt)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    return min(_HIGHEST, max(_LOWEST, float(log_temperature.detach().exp())))
