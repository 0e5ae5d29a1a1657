"""`config.json` of an artifact: what is needed to run its network, and where it comes from. Imports nothing heavy."""

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from image_classifier.compiled import Compiled
from image_classifier.errors import UserError
from image_classifier.half import Halves

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocessing(BaseModel):
    """How a picture becomes the network's input. Stored in the artifact, so that serving does what training did."""

    model_config = ConfigDict(frozen=True)

    image_size: int = Field(224, ge=16, le=1024, description="Side of the square network input, in pixels.")
    crop_ratio: float = Field(0.875, gt=0, le=1, description="Share of the short side that the centre crop keeps.")
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def short_side(self) -> float:
        """Pixels of the short side of a picture whose centre crop has image_size."""
        return self.image_size / self.crop_ratio


class Config(BaseModel):
    """The content of `config.json`."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float = Field(1.0, gt=0, description="Logits are divided by it before the softmax.")
    metrics: dict[str, float] = {}
    hyperparameters: dict[str, Any] = {}
    versions: dict[str, str] = {}
    compiled: Compiled | None = None
    half: Halves | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names as people read them."""
        return readable_labels(self.classes)


def fingerprint(folder: Path, config: Config) -> str:
    """SHA-256 of all that decides about an answer: weights, architecture, number of classes, preprocessing."""
    with (folder / WEIGHTS).open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    told = config.model_dump_json(include={"architecture", "preprocessing"})
    digest.update(f"{told} {len(config.classes)}".encode())
    return digest.hexdigest()


def readable_labels(classes: tuple[str, ...]) -> tuple[str, ...]:
    """`001.Golden_retriever` -> `Golden retriever`; left alone where two classes would become one."""
    labels = tuple(re.sub(r"^\d+[.\-_ ]", "", name).replace("_", " ").strip() for name in classes)
    return labels if all(labels) and len(set(labels)) == len(classes) else classes


def read(folder: Path) -> Config:
    """Read the `config.json` of the artifact in a folder, where there is one.

    Raises:
        UserError: it is not one that this image can read.
    """
    path = folder / CONFIG
    try:
        return Config.model_validate_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a configuration this image can read ({error}).") from None
    except ValidationError as error:
        problem = error.errors()[0]
        reason = ": ".join([*(str(part) for part in problem["loc"]), problem["msg"]])
        raise UserError(f"{path} is not a configuration this image can read ({reason}).") from None
