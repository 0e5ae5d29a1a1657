"""The numbers that the network learns with: fp32 everywhere, or half as many bits where that is safe (autocast)."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch.amp.grad_scaler import GradScaler

from image_classifier.errors import UserError


@dataclass(frozen=True)
class Precision:
    """How a training step computes, and the validation that follows it; weights are fp32.

    What a job keeps or reports stays fp32: features, which other jobs and machines take up, the temperature, the test.
    A GPU loses little by it: its convolutions then run in TF32, and these passes wait for the decoding of pictures.
    """

    device: torch.device
    dtype: torch.dtype | None  # of matrix products and convolutions; None: fp32

    @classmethod
    def choose(cls, wanted: str, device: torch.device) -> "Precision":
        """Take what was asked for, or with `auto` what the device is fast with.

        Raises:
            UserError: the device cannot.
        """
        if wanted == "fp32" or (wanted == "auto" and device.type == "cpu"):
            return cls(device, None)
        has_bf16 = _has_bf16(device)
        if wanted == "bf16" and not has_bf16:
            where = "This CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
            raise UserError(f"{where} does not compute in bf16; use precision=auto instead of precision=bf16.")
        if wanted == "fp16" and device.type == "cpu":
            raise UserError("precision=fp16 is for GPUs, and there is none here; use precision=auto.")
        half = wanted == "fp16" or not has_bf16
        return cls(device, torch.float16 if half else torch.bfloat16)

    def cast(self) -> AbstractContextManager[None]:
        """Around the forward pass."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def scaler(self) -> GradScaler:
        """Keeps small gradients of fp16 from vanishing; passes everything on where there is no such danger."""
        return GradScaler(self.device.type, enabled=self.dtype is torch.float16)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())
