"""What every peer does with a picture: Pillow, resize to 256, crop 224, fp32 in PyTorch; as the common handler does."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

from image_classifier import artifact

_TO_INPUT = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


class Classifier:
    """The artifact in the directory that MODEL_DIR names."""

    def __init__(self) -> None:
        network, config = artifact.load(Path(os.environ["MODEL_DIR"]))
        self._network = network.to(memory_format=torch.contiguous_format)
        self._labels = config.labels
        if "OMP_NUM_THREADS" in os.environ:
            torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    def __call__(self, body: bytes) -> dict[str, Any]:
        image = Image.open(io.BytesIO(body)).convert("RGB")
        with torch.no_grad():
            shares = self._network(_TO_INPUT(image).unsqueeze(0)).softmax(1)[0]
        top = shares.topk(5)
        return {"labels": [self._labels[index] for index in top.indices], "probabilities": top.values.tolist()}
