"""Gives an existing artifact its compiled variants, and on a GPU the note on 16-bit numbers.

Usage: `python -m image_classifier.compile MODEL_DIR DATA_DIR`.
"""

import argparse
import logging
import sys
from pathlib import Path

import torch

from image_classifier import artifact, machine
from image_classifier.artifact import Config
from image_classifier.contract import Settings
from image_classifier.errors import ExitCode, UserError
from image_classifier.training import dataset
from image_classifier.training.compiling import compile_artifact
from image_classifier.training.dataset import Dataset, Split
from image_classifier.training.halving import note_halves
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.rejects import Rejects
from image_classifier.training.sources import PictureSource
from image_classifier.training.stopping import Stop


def main() -> None:
    """Compile; the exit code says whether the artifact has variants now."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(prog="python -m image_classifier.compile", description=__doc__.split("\n")[0])
    parser.add_argument("model_dir", type=Path, help="the artifact: an unpacked model.tar.gz")
    parser.add_argument("data_dir", type=Path, help="the pictures it was trained on: train/, valid/, <class>/<picture>")
    options = parser.parse_args()
    try:
        sys.exit(run(options.model_dir, options.data_dir))
    except UserError as error:
        print(error)
        sys.exit(ExitCode.USER)


def run(model_dir: Path, data_dir: Path) -> ExitCode:
    """Compile the artifact in a directory, with the splits that its training job had.

    Raises:
        UserError: there is no artifact, or the pictures are not of its classes.
    """
    config = artifact.load_config(model_dir)
    if not (model_dir / artifact.WEIGHTS).exists():
        raise UserError(f"{model_dir} has no {artifact.WEIGHTS}; a plain model.pth is served as it is.")
    data = _dataset(data_dir, config)
    validation = _source(data.validation, config)
    compile_artifact(model_dir, _source(data.train, config), validation, Stop())
    if torch.cuda.is_available():
        note_halves(model_dir, validation, Stop(), torch.device("cuda"))
    return ExitCode.OK if artifact.load_config(model_dir).compiled else ExitCode.ALGORITHM


def _dataset(folder: Path, config: Config) -> Dataset:
    if not folder.is_dir():
        raise UserError(f"There is no directory {folder}; give the pictures that the model was trained on.")
    told = {name: config.hyperparameters[name] for name in ("validation_fraction", "seed") if config.hyperparameters}
    chosen = Hyperparameters.model_validate(told)
    data = dataset.find({"training": folder}, chosen.validation_fraction, chosen.seed)
    if data.classes != config.classes:
        raise UserError(f"The pictures in {folder} are of other classes than the model's {len(config.classes)}.")
    return data


def _source(split: Split, config: Config) -> PictureSource:
    limit = Settings.from_environment().max_pixels
    rejects = Rejects(limit=len(split), smallest=len(split))
    return PictureSource(split, config.preprocessing, limit, machine.cores(), rejects=rejects)


if __name__ == "__main__":
    main()
