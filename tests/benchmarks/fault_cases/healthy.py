"""Healthy runs: from scratch, fine-tuned and frozen, several architectures and optimizers."""

from functools import lru_cache

import torch
from torch import nn

from fault_cases.faults import Case, Plant
from fault_cases.world import Setup, Tensors, build, pictures


def _scratch(architecture: str, **choices: object) -> Plant:
    def plant(setup: Setup) -> None:
        setup.architecture = architecture
        setup.choices.update(choices)

    return plant


@lru_cache
def _pretrained(seed: int) -> dict[str, torch.Tensor]:
    """Weights of a network that learned to tell other pictures of the same kinds of things."""
    torch.manual_seed(seed)
    raw, targets = pictures(48, f"{seed}/pretraining")
    inputs = (raw / 255 - 0.45) / 0.225
    network, source = build("narrow", 6), Tensors(inputs, targets, seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for epoch in range(1, 6):
        for batch, wanted in source.batches(32, epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(batch), wanted).backward()
            optimizer.step()
    return {name: value for name, value in network.state_dict().items() if not name.startswith("fc.")}


def _load(setup: Setup) -> None:
    setup.network.load_state_dict(_pretrained(setup.seed), strict=False)


def _fine_tuned(setup: Setup) -> None:
    setup.prepare.append(_load)
    setup.choices.update(pretrained=True, learning_rate=1e-3)


def _frozen(setup: Setup) -> None:
    def freeze(setup: Setup) -> None:
        setup.network.requires_grad_(False)
        setup.network.fc.requires_grad_(True)
        setup.after.append(lambda _, trainer: setattr(trainer, "set_mode", lambda: trainer.module.train(False)))

    setup.prepare += [_load, freeze]
    setup.choices.update(pretrained=True, freeze_backbone=True, learning_rate=1e-2)


def _head(setup: Setup) -> None:
    """The head alone, on features computed once: what the product does with a frozen backbone."""

    def features(setup: Setup) -> None:
        _load(setup)
        setup.network.fc = nn.Identity()
        setup.network.eval()
        with torch.no_grad():
            for source in (setup.train, setup.validation):
                source.inputs = setup.network(source.inputs)
        setup.network = nn.Linear(128, setup.classes)

    setup.prepare.append(features)
    setup.choices.update(pretrained=True, freeze_backbone=True, learning_rate=1e-2)


def _two_classes(setup: Setup) -> None:
    setup.classes = 2
    setup.per_class = 80


HEALTHY = (
    Case("from scratch, narrow ResNet, AdamW", (), _scratch("narrow")),
    Case("from scratch, narrow ResNet, SGD", (), _scratch("narrow", optimizer="sgd", learning_rate=0.05)),
    Case("from scratch, one cycle", (), _scratch("narrow", schedule="one_cycle", learning_rate=5e-3)),
    Case("from scratch, constant rate, Adam", (), _scratch("narrow", schedule="constant", optimizer="adam")),
    Case("from scratch, label smoothing", (), _scratch("narrow", label_smoothing=0.1)),
    Case("from scratch, no normalization", (), _scratch("plain", learning_rate=3e-3)),
    Case("from scratch, ResNet-18", (), _scratch("resnet18", learning_rate=1e-3)),
    Case("from scratch, tanh with BatchNorm", (), _scratch("tanh")),
    Case("from scratch, GroupNorm and SiLU", (), _scratch("grouped")),
    Case("from scratch, batches of 8", (), _scratch("narrow", batch_size=8, learning_rate=1e-3)),
    Case("fine-tuned", (), _fine_tuned),
    Case("frozen backbone", (), _frozen),
    Case("head on features", (), _head),
    Case("two classes", (), _two_classes),
)
