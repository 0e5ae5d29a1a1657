"""What a GPU does with the network: pictures a second and p50 by batch size and kind of number, share of its peak.

Usage: make bench BENCH=gpu ARGS="--architecture resnet18 resnet50"; prints a table in Markdown. It times what a worker
runs, from decoded pixels to logits on the CPU; the network has random weights: its speed is that of any. The peak is
that of matrix products in the same numbers, measured beside it. Without a GPU it runs on the CPU, to be tried out.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from image_classifier import artifact, networks
from image_classifier.config import Config, Preprocessing
from image_classifier.contract import Settings
from image_classifier.half import Half
from image_classifier.networks import NUMBERS
from image_classifier.serving import engines
from image_classifier.training.costs import forward_flops, matrix_peak

KINDS = ("eager", *Half)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
HEAD = "| network | numbers | batch | p50, ms | pictures a second | share of the peak |\n|---|---|---|---|---|---|"


def make_artifact(folder: Path, architecture: str, image_size: int) -> Path:
    """An artifact with random weights and 100 classes."""
    torch.manual_seed(0)
    classes = tuple(f"class {number}" for number in range(100))
    config = Config(architecture=architecture, classes=classes, preprocessing=Preprocessing(image_size=image_size))
    artifact.save(folder, networks.build(architecture, 100), config)
    return folder


def p50(engine: engines.Engine, batch: int, seconds: float) -> float:
    """Median seconds of a pass with so many pictures."""
    side, took = engine.config.preprocessing.image_size, []
    pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
    engine.logits(pixels)
    end = time.perf_counter() + seconds
    while not took or time.perf_counter() < end:
        start = time.perf_counter()
        engine.logits(pixels)
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def rows(architecture: str, options: argparse.Namespace, device: torch.device) -> list[str]:
    """The table's rows for one network; kinds of number are interleaved, batch by batch."""
    with tempfile.TemporaryDirectory() as name:
        folder = make_artifact(Path(name), architecture, options.image_size)
        loaded = {
            number: engines.load(
                folder, Settings.from_environment({"CLASSIFIER_ENGINE": number}), _name(device), torch.get_num_threads()
            )
            for number in options.numbers
        }
    flops = forward_flops(networks.build(architecture, 100), architecture, options.image_size)
    peaks = {number: matrix_peak(device, _dtype(number)) for number in options.numbers}
    found = []
    for batch in options.batches:
        for number, engine in loaded.items():
            seconds = p50(engine, batch, options.seconds)
            share = flops * batch / seconds / peaks[number]
            values = f"{batch} | {1000 * seconds:.2f} | {batch / seconds:.0f} | {100 * share:.0f} %"
            found.append(f"| {architecture} | {'fp32' if number == 'eager' else number} | {values} |")
    return found


def _name(device: torch.device) -> str:
    return "cuda:0" if device.type == "cuda" else engines.CPU


def _dtype(number: str) -> torch.dtype:
    return NUMBERS[None if number == "eager" else Half(number)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES, help="pictures in a pass")
    parser.add_argument("--numbers", nargs="+", choices=KINDS, default=KINDS, help="eager is fp32")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name(0) if device.type == "cuda" else f"a CPU, {torch.get_num_threads()} thread(s)"
    print(f"On {where}, torch {torch.__version__}:\n\n{HEAD}")
    for architecture in options.architecture:
        print("\n".join(rows(architecture, options, device)), flush=True)


if __name__ == "__main__":
    main()
