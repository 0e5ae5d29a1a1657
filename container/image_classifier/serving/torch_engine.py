"""The network as it was trained, run by torch: on a GPU, or where there is no compiled variant."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from image_classifier import artifact
from image_classifier.errors import is_out_of_memory
from image_classifier.half import Half
from image_classifier.networks import NUMBERS, FromPixels
from image_classifier.serving.engines import CPU, DECODERS, pictures_of_a_pass


class TorchEngine:
    """The network in fp32, or in 16-bit numbers where `half` says so."""

    def __init__(self, folder: Path, device: str, threads: int, half: Half | None = None) -> None:
        torch.set_num_threads(threads)
        with suppress(RuntimeError):  # it can be said once
            torch.set_num_interop_threads(1)
        network, self.config = artifact.load(folder)
        self._network = FromPixels(network, self.config.preprocessing, NUMBERS[half]).to(torch.device(device))
        self.batch_size = pictures_of_a_pass(self.config, device)
        self.decoders = 1 if device == CPU else min(threads, DECODERS)

    def logits(self, pixels: NDArray[np.uint8], alone: bool = False) -> NDArray[np.float32]:
        """See Engine; the threads are the process's, and stay as they are."""
        del alone
        try:
            return self._network.logits(pixels)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            short = error.with_traceback(None)  # whose frames hold what did fit
        torch.cuda.empty_cache()  # in pieces of other sizes than the next, smaller try wants
        raise short
