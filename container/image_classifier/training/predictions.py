"""From an evaluation to what the report needs: `predictions.csv`, `evaluation.json` and a few small pictures."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from image_classifier import images
from image_classifier.errors import UserError
from image_classifier.insight import quality
from image_classifier.insight.predictions import PICTURES, Predictions
from image_classifier.training.evaluation import Ranking

logger = logging.getLogger(__name__)

_SIDE = 160  # pixels: sharp at the report's size on a dense screen, about 5 kB


def write(folder: Path, ranking: Ranking, labels: tuple[str, ...], paths: Sequence[Path], max_pixels: int) -> None:
    """Write what the network said about the test pictures.

    Args:
        folder: `output/data`.
        ranking: the network's choices, in the order of the pictures.
        labels: of the classes.
        paths: of the pictures.
        max_pixels: largest picture that is decoded.
    """
    said = Predictions(
        split="test",
        labels=labels,
        paths=tuple(_inside_channel(path) for path in paths),
        targets=ranking.targets.numpy(),
        choices=ranking.choices.numpy(),
        shares=ranking.shares.double().numpy(),
        uncalibrated=ranking.uncalibrated.double().numpy(),
        losses=ranking.losses.double().numpy(),
    )
    measured = quality.measure(said)
    logger.info(measured.describe())
    said.write(folder)
    measured.write(folder)
    _write_pictures(folder / PICTURES, {row: paths[row] for row in measured.shown()}.items(), max_pixels)


def _inside_channel(path: Path) -> str:
    """`<channel>/…` of `/opt/ml/input/data/<channel>/…`; a machine's own folders are nobody's business."""
    parts = path.parts
    starts = [i for i in range(len(parts) - 2) if parts[i : i + 2] == ("input", "data")]
    return "/".join(parts[starts[-1] + 2 :] if starts else parts[-3:])


def _write_pictures(folder: Path, wanted: Iterable[tuple[int, Path]], max_pixels: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for row, path in wanted:
        try:
            picture = images.decode(path.read_bytes(), max_pixels)
        except (OSError, UserError):  # it was read a moment ago; a report without it is still a report
            continue
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
        picture.save(folder / f"{row}.jpg", "JPEG", quality=80, optimize=True)
