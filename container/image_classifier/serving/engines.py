"""What runs the network."""

from pathlib import Path
from typing import Protocol

import torch

from image_classifier import artifact, images
from image_classifier.artifact import Config

# Network input of one pass, in pixels: more gains no speed, and activations take up to 80 bytes a pixel and layer.
PASS_PIXELS = {"cpu": 16 * 224 * 224, "cuda": 128 * 224 * 224}


class Engine(Protocol):
    """Turns pixels into logits."""

    config: Config
    batch_size: int  # pictures in one pass, at most

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Run the network.

        Args:
            pixels: uint8 [n, 3, image_size, image_size], as `images.read` gives them.

        Returns:
            float32 [n, classes], on the CPU.
        """


class TorchEngine:
    """The network as it was trained, fp32."""

    def __init__(self, model_dir: Path, device: torch.device) -> None:
        network, self.config = artifact.load(model_dir)
        self._network = network.to(device)
        self._device = device
        self.batch_size = max(1, PASS_PIXELS[device.type] // self.config.preprocessing.image_size**2)
        self._warm_up()

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """See Engine."""
        with torch.inference_mode():
            inputs = images.normalise(pixels.to(self._device), self.config.preprocessing)
            return self._network(inputs).float().cpu()  # type: ignore[no-any-return]

    def _warm_up(self) -> None:
        """The first pass compiles and allocates; let no caller wait for it."""
        size = self.config.preprocessing.image_size
        self.logits(torch.zeros(1, 3, size, size, dtype=torch.uint8))
