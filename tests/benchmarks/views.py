"""What a random view costs on this machine's cores: picture by picture, by the batch, and from a reduced decoding.

    make bench BENCH=views

Are random crops and flips of a whole uint8 batch by torch (an affine grid) quicker than Pillow's, picture by picture in
threads? What does it save that images.decode lets the JPEG decoder itself reduce a picture that is made much smaller
anyway (Image.draft)? And does a model, trained here on grocery81's photos, name the same first labels? All is measured
in turns, and the medians go into views.md.
"""

import argparse
import io
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

import ways
from doors import DATA
from encoded import saved
from image_classifier import artifact, compiled, images, machine
from image_classifier.images import Preprocessing
from image_classifier.training import augmentation
from image_classifier.training.augmentation import draws, mirrors, prepare

HERE = Path(__file__).resolve().parent
WANTED = Preprocessing(image_size=224)
BATCH, ROUNDS = 64, 7
PHOTOS, ENLARGED = 800, 8
SIZES = ((500, 375), (2048, 1536), (4000, 3000))
SPARES = (1, 2, 3, 4)  # so many times the pixels that are wanted are left
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


def decodings() -> list[str]:
    """Rows of the table of decodings, as `read` gives them."""
    rows = []
    for size in SIZES:
        data = saved(photo(*size), "JPEG", quality=88)
        both = {"whole": lambda data=data: whole(data), "reduced": lambda data=data: images.read(data, WANTED, 10**8)}
        took = medians(both)
        exact, reduced = (np.asarray(way()).astype(float) for way in both.values())
        gain, difference = took["whole"] / took["reduced"], np.abs(reduced - exact).mean()
        rows.append(
            f"| {size[0]} x {size[1]} | {took['whole']:.1f} ms | {took['reduced']:.1f} ms | {gain:.1f} "
            f"| {difference:.2f} of 255 |"
        )
    return rows


def whole(data: bytes) -> np.ndarray:
    """What `read` would give if it let no decoder reduce a picture."""
    return np.asarray(images.centre_crop(images.decode(data, 10**8), WANTED))


def agreement() -> list[str]:
    """Rows of the table of first labels: a model of grocery81 after a whole decoding and after reduced ones."""
    with tempfile.TemporaryDirectory() as folder:
        model = trained(Path(folder))
        config = artifact.load_config(model)
        network = compiled.Network(compiled.path(model, compiled.Kind.FP32), machine.cores())
    paths = sorted((DATA / "grocery81" / "test").glob("*/*.jpg"))
    paths = paths[:: len(paths) // PHOTOS][:PHOTOS]
    right = [config.classes.index(path.parent.name) for path in paths]
    with ThreadPoolExecutor(machine.cores()) as pool:
        views = np.stack([*pool.map(enlarged, paths)])  # [photos, 1 + SPARES, side, side, 3]
    first = np.stack([network.logits(views[:, at]).argmax(1) for at in range(1 + len(SPARES))])
    return [
        f"| {name} | {(labels == first[0]).mean():.1%} | {(labels == right).mean():.1%} |"
        for name, labels in zip(("whole", *(f"{spare} times" for spare in SPARES)), first, strict=True)
    ]


def trained(folder: Path) -> Path:
    """A model of the photos, by the quick recipe."""
    channels = {"training": DATA / "grocery81", "pretrained": DATA / "weights" / "mobilenet_v2-bd224f15.pth"}
    way = ways.InVenv(Path(sys.prefix))
    ways.lay_out(folder, {"architecture": "mobilenet_v2", "recipe": "quick"}, channels, way.host)
    command = way.train(folder, channels)
    subprocess.run(command.argv, env={**os.environ, **command.environment}, check=True, stdout=subprocess.DEVNULL)
    return folder / "model"


def enlarged(path: Path) -> np.ndarray:
    """A photo, enlarged as a camera's would be, as the network sees it: decoded whole, then with each of SPARES."""
    small = images.decode(path.read_bytes(), 10**7)
    size = (ENLARGED * small.width, ENLARGED * small.height)
    data = saved(small.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=90)
    return np.stack([whole(data), *(reduced(data, spare) for spare in SPARES)])


def reduced(data: bytes, spare: int) -> np.ndarray:
    """What `read` would give with another spare."""
    image = Image.open(io.BytesIO(data))
    side = math.ceil(spare * WANTED.short_side)
    image.draft(None, (side, side))
    return np.asarray(images.centre_crop(image.convert("RGB"), WANTED))


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
        "From a JPEG to the network's pixels, where the decoder may reduce it as long as four times the pixels that",
        "are wanted are left (images.py):",
        "",
        "| picture | whole | reduced by the decoder | gain | mean difference |",
        "|---|---|---|---|---|",
        *decodings(),
        "",
        f"{PHOTOS} photos of grocery81's test split, enlarged {ENLARGED} times as a camera's would be, and a model",
        "the quick recipe made of its other splits, by how many times the wanted pixels the decoder leaves:",
        "",
        "| decoded | same first label | right |",
        "|---|---|---|",
        *(agreement() if DATA.exists() else ["| the photos of ../shared/data are not there | - | - |"]),
    ]
    text = "\n".join(lines) + "\n"
    (HERE / "views.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
