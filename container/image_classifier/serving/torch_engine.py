"""The network as it was trained, run by torch: on a GPU, or where there is no compiled variant."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from image_classifier import artifact, images
from image_classifier.serving.engines import pictures_of_a_pass


class TorchEngine:
    """The network in fp32."""

    def __init__(self, folder: Path, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = torch.device(device)
        network, self.config = artifact.load(folder)
        self._network = network.to(self._device)
        self.batch_size = pictures_of_a_pass(self.config, device)

    def logits(self, pixels: NDArray[np.uint8], alone: bool = False) -> NDArray[np.float32]:
        """See Engine; the threads are the process's, and stay as they are."""
        del alone
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self._device)
            inputs = images.normalise(batch, self.config.preprocessing)
            answer: NDArray[np.float32] = self._network(inputs).float().cpu().numpy()
            return answer
