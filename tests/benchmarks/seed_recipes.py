"""The two public dog-breed scripts this project must beat, written anew from what is known of them. A baseline only.

    python tests/benchmarks/seed_recipes.py A --data FOLDER --weights FILE --architecture resnet18 --model FOLDER

A (ResNet-18): squash to 224, no augmentation, Adam 1e-3, batches of 64. B (ResNet-50): random resized crops, flips,
colour changes, AdamW 1e-3, batches of 16. Both: one thread decodes, fp32, default memory format, ten epochs, a frozen
backbone that is run again in every epoch and left in training mode, so that its BatchNorm statistics drift; no best
checkpoint. Nothing here is meant to be copied.
"""

import argparse
import time
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms

NORMALIZE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SQUASH = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor(), NORMALIZE])
CENTRE = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), NORMALIZE])
RANDOM = transforms.Compose(
    [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(0.2, 0.2, 0.2, 0.02),
        transforms.ToTensor(),
        NORMALIZE,
    ]
)
RECIPES = {  # transform to train, transform to evaluate, optimizer, batch size
    "A": (SQUASH, SQUASH, torch.optim.Adam, 64),
    "B": (RANDOM, CENTRE, torch.optim.AdamW, 16),
}


def make_network(architecture: str, weights: Path | None, classes: int) -> tuple[nn.Module, nn.Linear]:
    """A frozen network with ImageNet weights and a new last layer."""
    network: nn.Module = torchvision.models.get_model(architecture, weights=None)
    if weights:
        network.load_state_dict(torch.load(weights, weights_only=True))
    network.requires_grad_(False)
    if hasattr(network, "fc"):
        head = network.fc = nn.Linear(network.fc.in_features, classes)
    else:
        head = network.classifier[-1] = nn.Linear(network.classifier[-1].in_features, classes)
    return network, head


def evaluate(network: nn.Module, loader: "DataLoader[tuple[torch.Tensor, torch.Tensor]]") -> float:
    """Accuracy."""
    network.eval()
    correct = 0
    with torch.no_grad():
        for inputs, targets in loader:
            correct += int((network(inputs).argmax(1) == targets).sum())
    return correct / len(loader.dataset)  # type: ignore[arg-type]


def main() -> None:
    """Train, test, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--every", type=int, default=1, help="take each so-manieth picture only")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.manual_seed(chosen.seed)
    to_train, to_evaluate, optimizer_class, batch_size = RECIPES[chosen.recipe]
    splits = {
        name: torchvision.datasets.ImageFolder(chosen.data / name, to_train if name == "train" else to_evaluate)
        for name in ("train", "valid", "test")
    }
    parts = {name: Subset(split, range(0, len(split), chosen.every)) for name, split in splits.items()}
    loaders = {name: DataLoader(split, batch_size, shuffle=name == "train") for name, split in parts.items()}
    network, head = make_network(chosen.architecture, chosen.weights, len(splits["train"].classes))
    optimizer, loss = optimizer_class(head.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    started, cpu_started = time.monotonic(), time.process_time()
    for epoch in range(chosen.epochs):
        network.train()
        for inputs, targets in loaders["train"]:
            optimizer.zero_grad()
            loss(network(inputs), targets).backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: validation accuracy {evaluate(network, loaders['valid']):.4f}", flush=True)
    epochs, epochs_cpu = time.monotonic(), time.process_time()
    print(f"test_accuracy={evaluate(network, loaders['test']):.6f};")
    print(f"epochs_seconds={epochs - started:.3f}; epochs_cpu_seconds={epochs_cpu - cpu_started:.3f};")
    print(f"test_seconds={time.monotonic() - epochs:.3f}; test_cpu_seconds={time.process_time() - epochs_cpu:.3f};")
    chosen.model.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), chosen.model / "model.pth")


if __name__ == "__main__":
    main()
