"""GPUs and their driver: whether this PyTorch build runs on them, and the exact setting that mends it.

The one home of driver facts. Sources: NVIDIA, "CUDA Compatibility" (minor version compatibility); SageMaker API,
`InferenceAmiVersion` of ProductionVariant and `TransformAmiVersion` of TransformResources; PyTorch's release matrix.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

from image_classifier.errors import PlatformError

_KERNEL_MODULE = Path("/proc/driver/nvidia/version")
_VOLTA, _AMPERE, _BLACKWELL = (7, 0), (8, 0), (10, 0)
Capability = tuple[int, int]


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name, compute capability, and memory in bytes."""

    name: str
    capability: Capability
    memory: int


@dataclass(frozen=True)
class Devices:
    """The host's driver, and the GPUs that this process may use: perhaps none."""

    driver: str
    gpus: tuple[Gpu, ...]
    hidden: int = 0  # that this container was given, but that CUDA_VISIBLE_DEVICES does not show

    def describe(self) -> str:
        """GPUs and driver, as a phrase."""
        names = [f"{gpu.name} ({gpu.memory / 2**30:.0f} GiB)" for gpu in self.gpus]
        counted = [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
        return f"{', '.join(counted) or 'no GPU'}, driver {self.driver}"


@dataclass(frozen=True)
class Fault:
    """Why the GPUs cannot be used, and what to do about it."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}."


@dataclass(frozen=True)
class _Need:
    """The oldest driver that will do, and the SageMaker hosts that have a newer one."""

    driver: str
    endpoint: str
    transform: str | None

    def remedy(self) -> str:
        transform = (
            f"TransformAmiVersion={self.transform} for batch transform"
            if self.transform
            else "a CPU instance for batch transform, whose GPU hosts have nothing newer than 535"
        )
        return (
            f"set InferenceAmiVersion={self.endpoint} for an endpoint (`inference_ami_version` in the SDK) and "
            f"{transform}; on a machine of your own, install driver {self.driver} or newer"
        )


# Any driver from 525.60 on runs every CUDA 12, and from 580.65 on every CUDA 13. Hosts of g4dn, g5 and p4d have 470
# unless another AMI is asked for; batch transform offers nothing newer than 535.
_CUDA = {
    12: _Need("525.60.13", "al2-ami-sagemaker-inference-gpu-3-1", "al2-ami-sagemaker-batch-gpu-535"),
    13: _Need("580.65.06", "al2023-ami-sagemaker-inference-gpu-4-1", None),
}
# p3 (V100) is documented for no newer AMI than this.
_CUDA_12_VOLTA = _Need("525.60.13", "al2-ami-sagemaker-inference-gpu-2", "al2-ami-sagemaker-batch-gpu-535")
# g7e and p6: older drivers do not know these GPUs at all.
_CUDA_12_BLACKWELL = _Need("570.26", "al2023-ami-sagemaker-inference-gpu-4-1", None)


def find(kernel_module: Path = _KERNEL_MODULE) -> Devices | None:
    """Ask the driver for its GPUs; None on a machine without one.

    Args:
        kernel_module: what the host's driver says in /proc, which a container sees even where it is given no GPU.

    Raises:
        PlatformError: the driver is there but a GPU does not answer.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        driver = _driver_of_host(kernel_module)
        return Devices(driver, ()) if driver else None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        gpus = tuple(_gpu(handle) for handle in _visible(handles, os.environ.get("CUDA_VISIBLE_DEVICES")))
        return Devices(str(pynvml.nvmlSystemGetDriverVersion()), gpus, len(handles) - len(gpus))
    except pynvml.NVMLError as error:
        raise PlatformError(f"A GPU does not answer its driver ({error}); restart or replace the instance.") from None
    finally:
        pynvml.nvmlShutdown()


def have_bf16(devices: Devices | None) -> bool:
    """Whether all of them compute in bf16; older ones have no convolutions in it."""
    return devices is not None and all(gpu.capability >= _AMPERE for gpu in devices.gpus)


def _gpu(handle: Any) -> Gpu:
    return Gpu(
        name=str(pynvml.nvmlDeviceGetName(handle)),
        capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
        memory=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
    )


def _visible(handles: Sequence[Any], shown: str | None) -> Sequence[Any]:
    """Those that CUDA, which NVIDIA's library knows nothing of, will use: all up to a name of none."""
    if shown is None:
        return handles
    found = []
    for name in map(str.strip, shown.split(",")):
        handle = _named(handles, name)
        if handle is None:
            break
        found.append(handle)
        if name.startswith("MIG-"):  # a process can use one part of a GPU, and nothing else
            break
    return found


def _named(handles: Sequence[Any], name: str) -> Any:
    """The GPU with an index or the beginning of an id, the one that a part belongs to; None where there is none."""
    if name.isdecimal():
        return handles[int(name)] if int(name) < len(handles) else None
    if name.startswith("MIG-"):
        try:
            return pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(pynvml.nvmlDeviceGetHandleByUUID(name))
        except (pynvml.NVMLError_NotFound, pynvml.NVMLError_InvalidArgument):
            return None
    return next((handle for handle in handles if name and pynvml.nvmlDeviceGetUUID(handle).startswith(name)), None)


def _driver_of_host(kernel_module: Path) -> str | None:
    try:
        said = re.search(r"Kernel Module\D*?(?:x86_64|aarch64)?\s+(\d+(?:\.\d+)+)", kernel_module.read_text())
    except OSError:
        return None
    return said.group(1) if said else None


def fault(devices: Devices, cuda: str | None, built_for: Sequence[str] = ()) -> Fault | None:
    """What keeps a PyTorch build from using these GPUs; None when nothing does.

    Args:
        devices: what `find` found.
        cuda: CUDA version of the build (`torch.version.cuda`), such as `12.8`; None for a CPU build.
        built_for: its architectures (`torch.cuda.get_arch_list()`), such as `sm_80`; empty when unknown.
    """
    if not devices.gpus and devices.hidden:
        return Fault(
            f"CUDA_VISIBLE_DEVICES shows none of the {devices.hidden} GPU(s) here", "name some of them, or unset it"
        )
    if not devices.gpus:
        return Fault(
            f"the host has NVIDIA driver {devices.driver}, but this container was given no GPU",
            "start it with `docker run --gpus all`, and let NVIDIA_VISIBLE_DEVICES name them (`all` in this image)",
        )
    if cuda is None:
        return Fault(f"{devices.describe()}, but this is a CPU build of PyTorch", "use the image with CUDA")
    return _driver_fault(devices, cuda) or _capability_fault(devices, built_for)


def _driver_fault(devices: Devices, cuda: str) -> Fault | None:
    need = _need(int(cuda.split(".")[0]), [gpu.capability for gpu in devices.gpus])
    if need is None or _numbers(devices.driver) >= _numbers(need.driver):
        return None
    return Fault(f"driver {devices.driver} is too old for CUDA {cuda} on {devices.gpus[0].name}", need.remedy())


def _need(cuda: int, capabilities: Sequence[Capability]) -> _Need | None:
    if cuda == 12 and max(capabilities) >= _BLACKWELL:
        return _CUDA_12_BLACKWELL
    if cuda == 12 and min(capabilities) == _VOLTA:
        return _CUDA_12_VOLTA
    return _CUDA.get(cuda)


def _capability_fault(devices: Devices, built_for: Sequence[str]) -> Fault | None:
    """Code of a build runs on GPUs of the same major capability and the same or a higher minor one."""
    built = [(int(number[:-1]), int(number[-1])) for number in re.findall(r"sm_(\d{2,3})", " ".join(built_for))]
    for gpu in devices.gpus:
        major, minor = gpu.capability
        if built and not any(each == major and least <= minor for each, least in built):
            return Fault(
                f"{gpu.name} has compute capability {major}.{minor}, and this build of PyTorch has code for "
                f"{', '.join(f'{each}.{least}' for each, least in built)}",
                "choose another instance type, such as ml.g5 or ml.g6",
            )
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
