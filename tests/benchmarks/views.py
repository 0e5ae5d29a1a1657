"""What a random view costs on this machine's cores: picture by picture, by the batch, and from a reduced decoding.

    make bench BENCH=views

Two questions of training/augmentation.py. Are random crops and flips of a whole uint8 batch by torch (an affine grid)
quicker than Pillow's, picture by picture in threads? And what does it save to let the JPEG decoder itself reduce a
picture that is made smaller anyway (Image.draft), and are its labels the same? All is measured in turns, and the
medians go into views.md.
"""

import argparse
import io
import math
import os
import statistics
import textwrap
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.nn import functional

import doors
from image_classifier import images, machine
from image_classifier.images import Preprocessing
from image_classifier.training import augmentation
from image_classifier.training.augmentation import draws, mirrors, prepare

HERE = Path(__file__).resolve().parent
WANTED = Preprocessing(image_size=224)
BATCH, ROUNDS = 64, 7
PHOTOS, ENLARGED = 150, 6
SIZES = ((500, 375), (1024, 768), (3000, 2000))
MODERATE = 320  # pixels of the shorter side that `prepare` makes of larger pictures, for views of 224
Works = Mapping[str, Callable[[], object]]


def medians(works: Works, rounds: int = ROUNDS) -> dict[str, float]:
    """Milliseconds of each, in turns."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            took[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(each) for name, each in took.items()}


def photo(width: int, height: int) -> Image.Image:
    """Smooth shapes with the noise of a camera."""
    draw = np.random.default_rng(0)
    shapes = Image.fromarray(draw.integers(0, 255, (height // 25, width // 25, 3), dtype=np.uint8))
    noise = Image.fromarray(draw.integers(0, 255, (height, width, 3), dtype=np.uint8))
    return Image.blend(shapes.resize((width, height), Image.Resampling.BICUBIC), noise, 0.06)


def one_by_one(kept: list[Image.Image], pool: ThreadPoolExecutor) -> torch.Tensor:
    """Crop and mirror as training does, without changes of colour."""

    def view(row: int) -> torch.Tensor:
        draw = draws(0, 1, row)
        made = augmentation._random_crop(kept[row], WANTED.image_size, draw)
        return images.to_tensor(made.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrors(draw) else made)

    return torch.stack([*pool.map(view, range(len(kept)))])


def by_the_batch(batch: torch.Tensor) -> torch.Tensor:
    """The same kind of views of uint8 [n, 3, h, w], with the same draws for a row, by one affine grid."""
    side = WANTED.image_size
    rows = []
    for row in range(len(batch)):
        draw = draws(0, 1, row)
        width, height = (draw.uniform(0.5, 1) for _ in range(2))
        left, top = draw.uniform(0, 1 - width), draw.uniform(0, 1 - height)
        sign = -1 if mirrors(draw) else 1
        rows.append([[sign * width, 0, 2 * left + width - 1], [0, height, 2 * top + height - 1]])
    grid = functional.affine_grid(torch.tensor(rows), [len(batch), 3, side, side], align_corners=False)
    return functional.grid_sample(batch.float(), grid, align_corners=False).round().to(torch.uint8)


def views() -> list[str]:
    """Rows of the table of views."""
    kept = [prepare(photo(500, 375), "standard", WANTED) for _ in range(BATCH)]
    batch, rows = torch.stack([images.to_tensor(each) for each in kept]), []
    for cores in sorted({1, machine.cores()}):
        torch.set_num_threads(cores)
        with ThreadPoolExecutor(cores) as pool:
            took = medians({"one": lambda pool=pool: one_by_one(kept, pool), "batch": lambda: by_the_batch(batch)})
        one, whole = took["one"] / BATCH, took["batch"] / BATCH
        rows.append(f"| {cores} | {one:.2f} ms | {whole:.2f} ms | {whole / one:.1f} |")
    return rows


def decoded(data: bytes, reduced: bool) -> Image.Image:
    """A JPEG as `prepare` gives it for random views, decoded whole as training does, or reduced by the decoder."""
    if not reduced:
        return prepare(images.decode(data, 10**8), "standard", WANTED)
    image = Image.open(io.BytesIO(data))
    scale = min(1.0, MODERATE / min(image.size))
    image.draft(None, (math.ceil(scale * image.width), math.ceil(scale * image.height)))
    return prepare(image.convert("RGB"), "standard", WANTED)


def decodings() -> list[str]:
    """Rows of the table of decodings."""
    rows = []
    for size in SIZES:
        stream = io.BytesIO()
        photo(*size).save(stream, "JPEG", quality=88)
        data = stream.getvalue()
        ways = {"whole": lambda data=data: decoded(data, False), "reduced": lambda data=data: decoded(data, True)}
        took = medians(ways)
        whole, reduced = (np.asarray(way().resize((320, 240))).astype(float) for way in ways.values())
        gain, difference = took["whole"] / took["reduced"], np.abs(reduced - whole).mean()
        rows.append(
            f"| {size[0]} x {size[1]} | {took['whole']:.1f} ms | {took['reduced']:.1f} ms | {gain:.1f} "
            f"| {difference:.2f} of 255 |"
        )
    return rows


def agreement() -> str:
    """How often a network with ImageNet's weights names the same first label after both decodings."""
    folder, weights = doors.DATA / "grocery81" / "test", doors.DATA / "weights" / "mobilenet_v2-bd224f15.pth"
    if not (folder.exists() and weights.exists()):
        return "First labels are not compared: the photos and weights of ../shared/data are not there."
    network = torchvision.models.mobilenet_v2()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    paths = sorted(folder.glob("*/*.jpg"))
    chosen = paths[:: len(paths) // PHOTOS][:PHOTOS]
    same = sum(_first_label(network, path, False) == _first_label(network, path, True) for path in chosen)
    return (
        f"On {len(chosen)} photos of grocery81, enlarged {ENLARGED} times as a camera's would be, MobileNetV2 gave the "
        f"same first label of ImageNet's 1,000 after both decodings for {same}."
    )


def _first_label(network: torch.nn.Module, path: Path, reduced: bool) -> int:
    small, stream = images.decode(path.read_bytes(), 10**7), io.BytesIO()
    small.resize((ENLARGED * small.width, ENLARGED * small.height), Image.Resampling.BICUBIC).save(stream, "JPEG")
    pixels = images.to_tensor(images.centre_crop(decoded(stream.getvalue(), reduced), WANTED))[None]
    with torch.inference_mode():
        return int(network(images.normalise(pixels, WANTED)).argmax())


def main() -> None:
    """Measure and write the tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    load = os.getloadavg()[0]  # processes that ran or waited: with other work beside, only the ratios tell
    lines = [
        "# What a random view costs",
        "",
        f"{WANTED.image_size} pixels, batches of {BATCH}, medians of {ROUNDS} rounds in turns, load {load:.1f} when "
        "they began. Made by `make bench BENCH=views`.",
        "",
        "A random crop, mirrored or not, of pictures that are decoded already; milliseconds a picture:",
        "",
        "| cores | Pillow, picture by picture | torch, by the batch | batch / picture |",
        "|---|---|---|---|",
        *views(),
        "",
        "Decoding a JPEG to the moderate size that random views are cut from:",
        "",
        "| picture | whole | reduced by the decoder | gain | mean difference |",
        "|---|---|---|---|---|",
        *decodings(),
        "",
        *textwrap.wrap(agreement(), 120),
    ]
    text = "\n".join(lines) + "\n"
    (HERE / "views.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
