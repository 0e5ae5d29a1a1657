"""Networks that are only run, not trained: BatchNorm folded into the convolution before it.

The same numbers up to rounding, in about half the time on a CPU, where BatchNorm costs as much as small convolutions.
"""

import copy

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """A folded copy in eval mode; a network that cannot be traced is copied as it is."""
    evaluating = copy.deepcopy(network).eval()
    try:
        traced = fx.symbolic_trace(evaluating)
    except Exception:  # whatever its own code says to inputs that are not there
        return evaluating
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        _fold(traced, modules, node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _fold(traced: fx.GraphModule, modules: dict[str, nn.Module], node: fx.Node) -> None:
    """Fold a BatchNorm whose input is a convolution's output that nothing else uses."""
    before = node.args[0] if node.op == "call_module" and node.args else None
    if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
        return
    convolution, norm = modules[str(before.target)], modules[str(node.target)]
    if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        modules[str(before.target)] = fuse_conv_bn_eval(convolution, norm)
        traced.set_submodule(str(before.target), modules[str(before.target)])
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
