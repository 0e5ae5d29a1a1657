"""Networks that are only run, not trained, in the form that is fastest here; the same numbers up to rounding.

On a CPU that is OpenVINO's, one picture a core: for a MobileNetV2 it takes half of the time that PyTorch takes after
BatchNorm is folded away. Making it takes a few seconds, so there must be pictures enough.
"""

import logging
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from image_classifier import compiled
from image_classifier.errors import sentence
from image_classifier.training.folding import folded

logger = logging.getLogger(__name__)

ENOUGH = 500 * 224 * 224  # pixels, of all pictures


def fastest(network: nn.Module, image_size: int, pictures: int, device: torch.device) -> nn.Module:
    """A copy of the network, in eval mode, to run so many pictures through on a device."""
    folded_network = folded(network)
    if device.type != "cpu" or pictures * image_size**2 < ENOUGH:
        return folded_network
    try:
        return Engine(folded_network, image_size, torch.get_num_threads())
    except Exception as error:  # an operation that OpenVINO does not know
        logger.info("The network is run with PyTorch, because OpenVINO cannot run it: %s", sentence(error))
        return folded_network


class Engine(nn.Module):
    """A network compiled by OpenVINO: [n, 3, h, w] to what the network gives, in fp32.

    Args:
        network: in eval mode.
        image_size: h and w, in pixels.
        threads: pictures at a time.
    """

    def __init__(self, network: nn.Module, image_size: int, threads: int) -> None:
        super().__init__()
        options = {
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # the threads that decode need cores, too
            "INFERENCE_PRECISION_HINT": "f32",
        }
        model = compiled.core().compile_model(_convert(network, image_size), "CPU", options)
        self._queue: Any = compiled.openvino().AsyncInferQueue(model, threads)
        self._queue.set_callback(self._keep)
        self._answers: dict[int, NDArray[np.float32]] = {}

    def _keep(self, request: Any, row: int) -> None:
        self._answers[row] = request.get_output_tensor().data.copy()  # the next picture's is written in its place

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """See the class."""
        pixels = inputs.permute(0, 2, 3, 1).contiguous().numpy()
        for row in range(len(pixels)):
            self._queue.start_async([pixels[row : row + 1]], row, share_inputs=True)
        self._queue.wait_all()
        return torch.from_numpy(np.concatenate([self._answers.pop(row) for row in range(len(pixels))]))


class _ChannelsLast(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.network(pixels.permute(0, 3, 1, 2))
        return answer


def _convert(network: nn.Module, image_size: int) -> Any:
    shape = (1, image_size, image_size, 3)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing warns of the constants that it is meant to keep
        return compiled.openvino().convert_model(
            _ChannelsLast(network), example_input=torch.zeros(shape), input=list(shape)
        )
