"""What the tests on a GPU share."""

import pytest
import torch

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no NVIDIA GPU that this PyTorch can use: this is about one"
)
