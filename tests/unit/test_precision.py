"""Which numbers a device learns with, and what it says when it cannot."""

import pytest
import torch

from image_classifier.errors import UserError
from image_classifier.training.precision import Precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("wanted", ["auto", "fp32"])
def test_a_cpu_computes_in_fp32_unless_told_otherwise(wanted: str) -> None:
    precision = Precision.choose(wanted, CPU)
    with precision.cast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32
    assert not precision.scaler().is_enabled()


def test_bf16_is_taken_where_the_cpu_has_it_and_refused_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    with Precision.choose("bf16", CPU).cast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with pytest.raises(UserError, match=r"^This CPU does not compute in bf16; use precision=auto "):
        Precision.choose("bf16", CPU)


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(UserError, match=r"^precision=fp16 is for GPUs"):
        Precision.choose("fp16", CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_with_half_the_bits() -> None:
    gpu = torch.device("cuda")
    with Precision.choose("auto", gpu).cast():
        assert (torch.ones(2, 2, device=gpu) @ torch.ones(2, 2, device=gpu)).dtype in (torch.bfloat16, torch.float16)
    assert Precision.choose("fp16", gpu).scaler().is_enabled()
