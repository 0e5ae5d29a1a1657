"""Compiled variants of a network for CPUs: OpenVINO's form, in fp32 and int8, beside the weights in `compiled/`.

`train` makes them (training/compiling.py), `serve` runs them. They take decoded pixels as they are; normalising is a
part of them. This module imports neither torch nor, until a network is loaded, OpenVINO.
"""

import sys
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from image_classifier.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = "compiled"
REMEDY = "make it anew with `python -m image_classifier.compile MODEL_DIR DATA_DIR`, or set CLASSIFIER_ENGINE=eager"


class Kind(StrEnum):
    """The variants."""

    INT8 = "int8"
    FP32 = "fp32"


class Variant(BaseModel):
    """One variant, and what was measured when it was made."""

    model_config = ConfigDict(frozen=True)

    used: bool  # whether `serve` may choose it by itself
    why: str  # a clause: what speaks for it or against it
    pictures: int  # of the validation split
    accuracy: float  # on them
    agreement: float  # share of them with the same first label as fp32


class Compiled(BaseModel):
    """All variants of an artifact."""

    model_config = ConfigDict(frozen=True)

    source: str  # config.fingerprint of what they were made from
    variants: dict[Kind, Variant]


def path(folder: Path, kind: Kind) -> Path:
    """Where a variant of the artifact in `folder` lies; its weights are beside it, with the suffix .bin."""
    return folder / FOLDER / f"{kind}.xml"


def openvino() -> Any:
    """Import OpenVINO without its telemetry, which then can send nothing."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # Python: not to be imported
    import openvino

    return openvino


@cache
def core() -> Any:
    """The one OpenVINO core of this process.

    Each core gives signals a stack of its own and puts the former one back when it ends; cores that do not end in the
    opposite order of their making put back one that is gone, and the next signal kills the process (OpenVINO 2026.4).
    """
    made = openvino().Core()
    made.get_versions("CPU")  # loads the CPU's part, which sets the stack: before any core of NNCF does
    return made


class Network:
    """A compiled network in memory.

    Raises:
        UserError: the files are missing or damaged.
    """

    def __init__(self, file: Path, threads: int) -> None:
        options = {
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # every worker would be pinned to the same cores
            "INFERENCE_PRECISION_HINT": "f32",  # on CPUs with bf16 too: the numbers that were measured hold anywhere
        }
        try:
            network = core().compile_model(str(file), "CPU", options)
        except RuntimeError as error:
            reason = "is missing" if not file.exists() else f"is damaged ({_last_line(error)})"
            raise UserError(f"The compiled network {file} {reason}; {REMEDY}.") from None
        self._request: Any = network.create_infer_request()
        self._input: NDArray[np.uint8] = self._request.get_input_tensor().data
        self._output: NDArray[np.float32] = self._request.get_output_tensor().data

    def logits(self, pixels: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Run pictures [n, height, width, 3], one after the other: [n, classes].

        One at a time is as fast as all together on a CPU, and needs memory for one.
        """
        import numpy as np

        return np.concatenate([self._one(pixels[row : row + 1]) for row in range(len(pixels))])

    def _one(self, picture: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        self._input[...] = picture  # a copy is quicker than to have OpenVINO find out what it was given
        self._request.infer()
        return self._output.copy()  # the next call writes into the same memory


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[-1].strip().rstrip(".")
