"""Pictures with the exact shape of the public dog set: its 8,351 names, splits and 133 classes, with made-up content.

    python tests/benchmarks/dog_pictures.py NAMES FOLDER

NAMES is ../shared/data/dogimages-filelist.txt, one path a line. Each picture is a JPEG of 500 x 375 pixels, smooth with
some grain, so that it costs what a photo does to decode; no two files are the same. What they show can be learnt by
nobody: they are for speed, never for accuracy.
"""

import argparse
import io
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

SIZE = (500, 375)
BODIES = 256  # different pictures; each is used again, with another comment inside


def make(number: int) -> bytes:
    """A picture: colours that change slowly, and grain."""
    draw = np.random.default_rng(number)
    colours = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(colours.resize(SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
    grain = draw.integers(-12, 13, smooth.shape, dtype=np.int16)
    stream = io.BytesIO()
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def commented(picture: bytes, text: str) -> bytes:
    """The JPEG with a comment after its first marker: another file, the same pixels."""
    words = text.encode()
    return picture[:2] + b"\xff\xfe" + (2 + len(words)).to_bytes(2, "big") + words + picture[2:]


def write(names: Path, folder: Path, bodies: int = BODIES) -> dict[str, int]:
    """Write the pictures that are missing; gives the number of each split's."""
    wanted = [
        PurePosixPath(line).relative_to(PurePosixPath(line).parts[0]) for line in names.read_text().split("\n") if line
    ]
    made = [make(number) for number in range(min(bodies, len(wanted)))]
    for number, name in enumerate(wanted):
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(commented(made[number % len(made)], str(name)))
    splits = [name.parts[0] for name in wanted]
    return {split: splits.count(split) for split in sorted(set(splits))}


def main() -> None:
    """Write the whole set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", type=Path)
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    print(write(chosen.names, chosen.folder))


if __name__ == "__main__":
    main()
