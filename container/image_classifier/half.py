"""A network in numbers of 16 bits, for GPUs: the kinds, and what an artifact notes about them. Imports nothing heavy.

Nothing is written for them but the note: a worker turns the weights as it loads them.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from image_classifier.compiled import Variant


class Half(StrEnum):
    """The kinds of number, the one to prefer first."""

    FP16 = "fp16"  # every GPU has it, and of the two it rounds less
    BF16 = "bf16"  # for networks whose numbers go beyond 65504; GPUs have it since Ampere


class Halves(BaseModel):
    """What was measured of them on a GPU, when the artifact was made or later by `image_classifier.compile`."""

    model_config = ConfigDict(frozen=True)

    source: str  # config.fingerprint of what they were measured with
    variants: dict[Half, Variant]
