"""The network in 16-bit numbers, measured on the GPU that is here, and noted in the artifact's configuration.

The rule is that of int8, see compiling.py, against fp32 on the same GPU; `serve` on a GPU uses the first that passed.
"""

import copy
import logging
from pathlib import Path

import torch

from image_classifier import artifact
from image_classifier.compiled import Kind
from image_classifier.config import fingerprint
from image_classifier.errors import sentence
from image_classifier.half import Half, Halves
from image_classifier.networks import NUMBERS, FromPixels
from image_classifier.training.compiling import judge, measure
from image_classifier.training.sources import PictureSource
from image_classifier.training.stopping import Stop, Stopped

logger = logging.getLogger(__name__)


def note_halves(folder: Path, validation: PictureSource, stop: Stop, device: torch.device) -> None:
    """Note what 16-bit numbers cost the artifact in a folder; where that cannot be measured, say why.

    Args:
        folder: the artifact.
        validation: pictures that they are measured on.
        stop: ends it early; the artifact then has no note.
        device: where they are measured. Nobody should serve by a CPU's word what a GPU computes: give a GPU.
    """
    config = artifact.load_config(folder)
    artifact.write_config(folder, config.model_copy(update={"half": None}))
    try:
        made = _measured(folder, validation, stop, device)
    except Stopped:
        logger.info("Stopped while measuring 16-bit numbers: `serve` computes in fp32 on a GPU.")
        return
    except Exception as error:  # a layer that knows no such numbers, too little memory: the model itself is whole
        logger.warning("16-bit numbers are not measured, so `serve` computes in fp32 on a GPU: %s", sentence(error))
        return
    artifact.write_config(folder, config.model_copy(update={"half": made}))
    for half, variant in made.variants.items():
        logger.info("On a GPU in %s, %s: %s.", half, "used" if variant.used else "not used", variant.why)


def _measured(folder: Path, validation: PictureSource, stop: Stop, device: torch.device) -> Halves:
    network, config = artifact.load(folder)
    numbers = {Kind.FP32.value: torch.float32, **{half.value: NUMBERS[half] for half in Half}}
    ways = {
        name: FromPixels(copy.deepcopy(network), config.preprocessing, dtype).to(device)
        for name, dtype in numbers.items()
    }
    measured = measure(ways, validation, stop)
    return Halves(source=fingerprint(folder, config), variants={half: judge(measured, half) for half in Half})
