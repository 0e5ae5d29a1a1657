"""What is known of instance types: price, disks of their own, the host that fits the image."""

import re
from collections.abc import Mapping
from typing import Any

from desk import DeskError
from workflow.settings import Settings

# USD an hour and instance, us-east-1, on demand; training and hosting cost the same. From the price tables of
# https://aws.amazon.com/sagemaker/pricing/ as public copies of them gave them on 2026-11-21. The table [prices] of
# sagemaker.toml wins: give there what your region and your contract say.
PRICES_OF = "us-east-1, 2026-11-21"
_PRICES = {
    **{"ml.m5.large": 0.115, "ml.m5.xlarge": 0.23, "ml.m5.2xlarge": 0.461, "ml.m5.4xlarge": 0.922},
    **{"ml.c5.large": 0.102, "ml.c5.xlarge": 0.204, "ml.c5.2xlarge": 0.408, "ml.c5.4xlarge": 0.816},
    **{"ml.g4dn.xlarge": 0.7364, "ml.g4dn.2xlarge": 0.94, "ml.g4dn.4xlarge": 1.505, "ml.g4dn.8xlarge": 2.72},
    **{"ml.g4dn.12xlarge": 4.89, "ml.g4dn.16xlarge": 5.44},
    **{"ml.g5.xlarge": 1.408, "ml.g5.2xlarge": 1.515, "ml.g5.4xlarge": 2.03, "ml.g5.8xlarge": 3.06},
    **{"ml.g5.12xlarge": 7.09, "ml.g5.24xlarge": 10.18, "ml.g5.48xlarge": 20.36},
    **{"ml.g6.xlarge": 1.127, "ml.g6.2xlarge": 1.222, "ml.g6.4xlarge": 1.654, "ml.g6.12xlarge": 5.752},
    **{"ml.p3.2xlarge": 3.825, "ml.p3.8xlarge": 14.688, "ml.p3.16xlarge": 28.152},
}
# The drivers of SageMaker's default hosts are too old for CUDA 12.8; Blackwell needs 570 and more, CUDA 13 needs 580,
# and only gpu-2 was ever documented for p3, which CUDA 13 has left behind.
_DRIVER_580 = "al2023-ami-sagemaker-inference-gpu-4-1"
_HOSTS = {
    "cuda": {
        r"ml\.(g7e?|p6)": _DRIVER_580,
        r"ml\.p3": "al2-ami-sagemaker-inference-gpu-2",
        r"ml\.[gp]\d": "al2-ami-sagemaker-inference-gpu-3-1",
    },
    "cuda13": {r"ml\.(g|p[4-9])": _DRIVER_580},
    "cpu": {},
}
TRANSFORM_HOST = "al2-ami-sagemaker-batch-gpu-535"
# AWS refuses a key for the volume of these: their own disks are encrypted by hardware.
_OWN_DISK = re.compile(r"ml\.(g4ad|g5|g6e?|gr6|g7e?|p4de?|p5\w*|p6[\w-]*|trn\d\w*|[a-z]+\d+[a-z]*d[a-z]*)\.")


def is_gpu(kind: str) -> bool:
    """Whether a type has GPUs; g5g is an ARM host, which the image does not run on."""
    return re.match(r"ml\.[gp]\d", kind) is not None


def host(settings: Settings) -> str | None:
    """InferenceAmiVersion for the serving instances; None where there is no GPU, and so no driver.

    Raises:
        DeskError: the image has no use for the GPU.
    """
    kind = settings.serving_instance_type
    if settings.serving_host or not is_gpu(kind):
        return settings.serving_host or None
    for pattern, ami in _HOSTS[settings.accelerator].items():
        if re.match(pattern, kind):
            return ami
    raise DeskError(
        f"an image built with ACCELERATOR={settings.accelerator} cannot use the GPU of {kind}; take another "
        "serving_instance_type, or say with accelerator= what the image was built with"
    )


def volume_key(settings: Settings, kind: str) -> str | None:
    """The key for a volume; None where there is none, or where AWS takes none."""
    return None if _OWN_DISK.match(kind) else settings.kms_key or None


def price(settings: Settings, kind: str) -> float | None:
    """USD an hour of one instance; None when nobody has said."""
    return settings.prices.get(kind, _PRICES.get(kind))


def hourly(settings: Settings, kind: str, count: int) -> str:
    """What instances cost an hour, in words."""
    each = price(settings, kind)
    return f"{each * count:.4g} USD an hour" if each is not None else f"price unknown: [prices] has no {kind}"


def bill(settings: Settings, job: Mapping[str, Any]) -> str:
    """What a training job has cost for its instances, in words; storage and requests are not in it.

    Args:
        settings: of the desk.
        job: DescribeTrainingJob's answer.
    """
    kind, count = job["ResourceConfig"]["InstanceType"], job["ResourceConfig"]["InstanceCount"]
    billed, trained = job.get("BillableTimeInSeconds", 0), job.get("TrainingTimeInSeconds", 0)
    time = f"{billed} s billed on {count} x {kind}"
    each = price(settings, kind)
    if each is None:
        return f"{time}, {hourly(settings, kind, count)}"
    cost = billed / 3600 * each * count
    saved = f"; spot saved {1 - billed / trained:.0%}" if job.get("EnableManagedSpotTraining") and trained else ""
    source = "of [prices]" if kind in settings.prices else f"of {PRICES_OF}"
    return f"{time}: {cost:.4f} USD at {each:g} an hour {source}{saved}"
