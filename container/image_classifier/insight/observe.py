"""Watches one module and its loss: hooks are attached for the steps that save, and for no others.

Between steps nothing hangs on the module, so it can be copied, exported, compiled and saved. Gradients are read from
`.grad` when the step is over: what the optimizer used, after a GradScaler took its factor out and after
DistributedDataParallel took the mean, also of parameters that were unfrozen meanwhile.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from image_classifier.insight import statistics
from image_classifier.insight.adapter import Adapter
from image_classifier.insight.collections import PREFIX, STATISTICS, activations

Guard = Callable[[Callable[[], object]], object]
_LARGEST = 1 << 13  # values that a summary looks at one by one
_TRIED = 4  # uses of a module in one forward pass that its names are tried for


class _Plan(NamedTuple):
    """What is saved in a step, by smdebug's names."""

    modules: list[tuple[str, nn.Module]]
    weights: list[tuple[str, nn.Parameter]]
    gradients: bool  # any


class Observer:
    """What smdebug is told about the steps.

    Args:
        adapter: smdebug's hook.
        module: what is trained.
        loss: called with (logits, targets) in every step.
        guard: runs an action and keeps its errors from the training.
    """

    def __init__(self, adapter: Adapter, module: nn.Module, loss: nn.Module, guard: Guard) -> None:
        self._adapter, self._module, self._loss, self._guard = adapter, module, loss, guard
        self._root, self._criterion = type(module).__name__, type(loss).__name__
        self._activations = activations(module)
        self._statistics = STATISTICS in adapter.include_collections
        self._handles: list[Any] = []
        self._plans: dict[frozenset[str], _Plan] = {}
        self._series: dict[bool, list[tuple[int, torch.Tensor]]] = {True: [], False: []}
        self._before: dict[str, torch.Tensor] = {}
        self._seen_frozen = False
        self._training, self._inside = True, False
        self.saved: frozenset[str] = frozenset()  # collections that are saved in this step
        self.spent = 0.0  # seconds that saving took within this step, which are not the step's own
        self._permanent = loss.register_forward_hook(self._hear) if self._statistics else None

    def begin(self, training: bool) -> None:
        """Begin a step."""
        self._training, self._inside, self.spent = training, True, 0.0
        self.saved = self._adapter.begin(training)
        if not self.saved:
            return
        plan = self._plan()
        for name, parameter in plan.weights:
            self._adapter._save_for_tensor(name, parameter.data)
        for name, part in plan.modules:
            self._attach(part, name)
        if STATISTICS in self.saved:
            self._begin_statistics()

    def end(self) -> None:
        """End a step, whose gradients are still there."""
        self._inside = False
        if not self.saved:
            return
        self.detach()
        if self._training and self._plan().gradients:
            self._write_gradients()
        if STATISTICS in self.saved:
            self._end_statistics()
        self._adapter.end()
        self.saved = frozenset()

    def wait(self) -> None:
        """Wait until every step so far can be read."""
        self._adapter.wait()

    def detach(self) -> None:
        """Take everything off the module."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def close(self) -> None:
        """Write what is left and let the loss go as well."""
        self._release()
        self._adapter.close()

    def abandon(self) -> None:
        """Let everything go after an error, and write nothing more."""
        self._release()
        self._adapter.discard()

    def _release(self) -> None:
        self.detach()
        if self._permanent is not None:
            self._permanent.remove()

    def _plan(self) -> "_Plan":
        """What of the module is saved together with these collections: looked up once."""
        if self.saved not in self._plans:
            parts = [(name or self._root, part) for name, part in self._module.named_modules()]
            weights = [(f"{self._root}_{name}", parameter) for name, parameter in self._module.named_parameters()]
            self._plans[self.saved] = _Plan(
                modules=[pair for pair in [*parts, (self._criterion, self._loss)] if self._is_wanted(pair[0])],
                weights=[pair for pair in weights if self._adapter.matches(pair[0])],
                gradients=any(self._adapter.matches(f"gradient/{name}") for name, _ in weights),
            )
        return self._plans[self.saved]

    @property
    def detailed(self) -> bool:
        """Whether this step saves more than losses."""
        return bool(self.saved - {"losses"})

    def _is_wanted(self, name: str) -> bool:
        ends = (f"{name}_{side}_{number}" for side in ("input", "output") for number in range(_TRIED))
        return any(self._adapter.matches(end) for end in ends)

    def _attach(self, part: nn.Module, name: str) -> None:
        adapter = self._adapter  # inputs before the forward pass: a ReLU in place would overwrite them
        self._before_forward(part, lambda inputs: adapter._write_inputs(name, inputs))
        self._after_forward(part, lambda output: adapter._write_outputs(name, output))

    def _before_forward(self, part: nn.Module, action: Callable[[tuple[Any, ...]], object]) -> None:
        self._handles.append(part.register_forward_pre_hook(lambda _, inputs: self._act(lambda: action(inputs))))

    def _after_forward(self, part: nn.Module, action: Callable[[Any], object]) -> None:
        self._handles.append(part.register_forward_hook(lambda _part, _, output: self._act(lambda: action(output))))

    def _act(self, action: Callable[[], object]) -> None:
        started = time.time()
        self._guard(action)
        self.spent += time.time() - started

    def _write_gradients(self) -> None:
        for name, parameter in self._learning():
            if parameter.grad is not None:
                self._adapter._save_for_tensor(f"gradient/{self._root}_{name}", parameter.grad)

    def _learning(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self._module.named_parameters() if p.requires_grad)

    def _hear(self, _loss: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        if self._inside:
            step = self._adapter.mode_steps[self._adapter.mode]
            self._guard(lambda: self._series[self._training].append((step, output.detach())))

    def _begin_statistics(self) -> None:
        self._before_forward(self._module, lambda inputs: self._summarize("input", self._root, inputs[0]))
        self._save("training", self._root, statistics.training_share(self._module))
        if not self._training:
            return
        for name in self._activations:
            self._watch_activation(name)
        for name, parameter in self._module.named_parameters():
            if parameter.requires_grad:
                self._before[name] = _sample(parameter).clone()
            if parameter.requires_grad or not self._seen_frozen:
                self._summarize("weight", name, parameter)
        self._seen_frozen = True

    def _watch_activation(self, name: str) -> None:
        part, uses = self._module.get_submodule(name), Counter[str]()

        def used(kind: str) -> str:
            uses[kind] += 1
            return name if uses[kind] == 1 else f"{name}_{uses[kind] - 1}"

        self._before_forward(part, lambda inputs: self._summarize("activation", used("activation"), inputs[0]))
        self._after_forward(
            part, lambda output: self._save("activity", used("activity"), statistics.activity(output.detach()))
        )

    def _end_statistics(self) -> None:
        if self._training:
            for name, parameter in self._learning():
                self._end_parameter(name, parameter)
        self._before.clear()
        series, self._series[self._training] = self._series[self._training], []
        if series:
            losses = torch.stack([loss.float().mean() for _, loss in series]).cpu()
            steps = torch.tensor([float(step) for step, _ in series])
            self._save("loss", self._criterion, torch.stack([steps, losses], dim=1))

    def _end_parameter(self, name: str, parameter: nn.Parameter) -> None:
        if parameter.grad is not None:
            self._summarize("gradient", name, parameter.grad)
        if name in self._before:
            self._summarize("update", name, statistics.update_ratio(self._before[name], _sample(parameter)))

    def _summarize(self, kind: str, subject: str, tensor: torch.Tensor) -> None:
        self._save(kind, subject, statistics.summarize(tensor, _LARGEST))

    def _save(self, kind: str, subject: str, values: torch.Tensor) -> None:
        self._adapter._save_for_tensor(f"{PREFIX}{kind}/{subject}", values)


def _sample(parameter: nn.Parameter) -> torch.Tensor:
    return statistics.thinned(statistics.flat(parameter), _LARGEST)
