"""Makes a small folder of labelled pictures: six kinds of drawn things, in the layout `train` reads.

sample_pictures.py FOLDER [--train 30] [--valid 8] [--test 8] [--seed 1]

<split>/<NNN.Class>/<number>.png, 64 x 64 pixels, random colours, places and sizes. Written with the
standard library alone, so that the first run on a new machine needs nothing else.
"""

import argparse
import math
import random
import struct
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

SIZE = 64

Colour = tuple[int, int, int]
# Says whether a pixel, relative to the middle of the thing and turned upright, belongs to the thing.
Shape = Callable[[float, float], bool]


def circle(radius: float) -> Shape:
    """A filled circle."""
    return lambda x, y: x * x + y * y < radius * radius


def cross(radius: float) -> Shape:
    """Two narrow bars across each other."""
    bar = radius * 0.25
    return lambda x, y: min(abs(x), abs(y)) < bar and max(abs(x), abs(y)) < radius


def dots(radius: float) -> Shape:
    """Small dots in rows over the whole picture."""
    gap = radius * 0.7
    return lambda x, y: math.hypot(x % gap - gap / 2, y % gap - gap / 2) < gap * 0.28


def stripes(radius: float) -> Shape:
    """Parallel stripes over the whole picture."""
    width = radius * 0.3
    return lambda x, _: math.floor(x / width) % 2 == 0


def checkerboard(radius: float) -> Shape:
    """Two-coloured squares over the whole picture."""
    width = radius * 0.5
    return lambda x, y: (math.floor(x / width) + math.floor(y / width)) % 2 == 0


def ring(radius: float) -> Shape:
    """A circle with a wide hole."""
    return lambda x, y: 0.3 * radius * radius < x * x + y * y < radius * radius


CLASSES: Mapping[str, Callable[[float], Shape]] = {
    "001.Circle": circle,
    "002.Cross": cross,
    "003.Dots": dots,
    "004.Stripes": stripes,
    "005.Checkerboard": checkerboard,
    "006.Ring": ring,
}


def two_colours(dice: random.Random) -> tuple[Colour, Colour]:
    """Any bright colour for the ground and any dark one for the thing, as ink on paper."""

    def colour(darkest: int) -> Colour:
        red, green, blue = (dice.randrange(darkest, darkest + 110) for _ in range(3))
        return red, green, blue

    return colour(146), colour(0)


def draw(label: str, dice: random.Random) -> list[bytes]:
    """The rows of one picture, three bytes a pixel."""
    radius = dice.uniform(12, 26)
    inside = CLASSES[label](radius)
    middle_x, middle_y = (dice.uniform(radius * 0.9, SIZE - radius * 0.9) for _ in range(2))
    turn = dice.uniform(-0.4, 0.4)
    cos, sin = math.cos(turn), math.sin(turn)
    ground, thing = (bytes(colour) for colour in two_colours(dice))

    def pixel(column: int, row: int) -> bytes:
        x, y = column - middle_x, row - middle_y
        return thing if inside(x * cos + y * sin, y * cos - x * sin) else ground

    return [b"".join(pixel(column, row) for column in range(SIZE)) for row in range(SIZE)]


def png(rows: list[bytes]) -> bytes:
    """Rows of RGB bytes as a PNG file."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    eight_bit_rgb = struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0)
    unfiltered = b"".join(b"\0" + row for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", eight_bit_rgb)
        + chunk(b"IDAT", zlib.compress(unfiltered))
        + chunk(b"IEND", b"")
    )


def make_pictures(folder: Path, splits: Mapping[str, int], seed: int = 1) -> int:
    """Fill a folder with that many pictures of each class in each split; returns how many in all."""
    for split, count in splits.items():
        for label in CLASSES:
            # Each class of each split has its own dice: asking for more pictures changes no earlier one.
            dice = random.Random(f"{seed}/{split}/{label}")
            place = folder / split / label
            place.mkdir(parents=True, exist_ok=True)
            for number in range(1, count + 1):
                (place / f"{number:03}.png").write_bytes(png(draw(label, dice)))
    return len(CLASSES) * sum(splits.values())


def main() -> int:
    """Read the command line and make the folder."""
    parser = argparse.ArgumentParser(
        prog="sample_pictures.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    for split, count in {"train": 30, "valid": 8, "test": 8}.items():
        parser.add_argument(f"--{split}", type=int, default=count, help=f"pictures a class, {count} unless given")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    splits = {split: getattr(options, split) for split in ("train", "valid", "test")}
    try:
        made = make_pictures(options.folder, splits, options.seed)
    except OSError as error:
        print(f"sample_pictures.py: cannot write the pictures: {error}", file=sys.stderr)
        return 2
    print(f"{made} pictures of {len(CLASSES)} classes in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
