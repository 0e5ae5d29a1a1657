"""The machine: what this container may use of it, and whether its GPUs fit."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from image_classifier import gpu, machine
from image_classifier.contract import Layout, Settings
from image_classifier.doctor.report import Check, Finding, ok, problem, warning

GIB = 1 << 30
MEMORY = 2 * GIB  # a small training job was seen to take 0.8 GiB, a server with two workers 1.0 GiB
SCRATCH = GIB  # the server's files, and what torch compiles
DISK = 2 * GIB  # a model, its checkpoints and its archive


def checks(environ: Mapping[str, str], layout: Layout) -> list[Check]:
    """What is checked of the host, in order."""
    return [
        partial(environment, environ),
        cores_and_memory,
        partial(shared_memory, Path("/dev/shm")),
        partial(scratch, Path("/tmp")),
        partial(job_directory, layout),
        graphics,
    ]


def environment(environ: Mapping[str, str]) -> Finding:
    """Every variable that the image reads can be used."""
    Settings.from_environment(environ)
    known = sorted(str(field.alias) for field in Settings.model_fields.values())
    given = [f"{name}={environ[name]}" for name in known if environ.get(name)]
    return ok(f"environment: {', '.join(given) or 'nothing set, so the defaults hold'}")


def cores_and_memory() -> Finding:
    """What the cgroup allows, as `train` and `serve` count it."""
    memory = machine.memory_limit()
    what = f"{machine.cores()} core(s) and {_size(memory)} memory may be used here"
    if memory < MEMORY:
        return warning(what, f"give at least {_size(MEMORY)} (`docker run -m 2g`, or a larger instance)")
    return ok(what)


def shared_memory(folder: Path) -> Finding:
    """Processes of one job hand data to each other here; our own `train` uses threads instead."""
    size = shutil.disk_usage(folder).total
    if size >= machine.ENOUGH_SHARED:
        return ok(f"{folder}: {_size(size)}")
    return warning(
        f"{folder}: {_size(size)}; enough for this image's own `train`, too little for a script with DataLoader "
        "workers or for several GPUs",
        "`docker run --shm-size=2g`; on SageMaker it cannot be set: where it is too small, num_workers=0 needs none",
    )


def scratch(folder: Path) -> Finding:
    """The one place that must be writable, also on a read-only host."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"doctor")
    except OSError as error:
        return problem(f"{folder} cannot be written ({error.strerror})", "mount one: `docker run --tmpfs /tmp`")
    return _room(folder, SCRATCH, "give the host or the tmpfs more room")


def job_directory(layout: Layout) -> Finding | None:
    """Where a training job is laid out, `train` must be able to write its results."""
    if not layout.config.is_dir():
        return None
    shut = [path for path in (layout.model, layout.output) if not os.access(_existing(path), os.W_OK)]
    if shut:
        return problem(
            f"user {os.getuid()} may not write {' and '.join(map(str, shut))}, where `train` puts its results",
            "run as the owner: `docker run --user $(id -u):$(id -g)`, and mount it without `:ro`",
        )
    return _room(layout.base, DISK, "give the job a larger volume (`volume_size` in the SDK)")


def graphics() -> Finding:
    """GPUs, their driver against this build's CUDA, and a sum on each."""
    devices = gpu.find()
    if devices is None:
        return ok("no NVIDIA driver here: everything runs on the CPU")
    import torch  # takes seconds, and only a GPU needs it

    found = gpu.fault(devices, torch.version.cuda) or gpu.fault(devices, torch.version.cuda, torch.cuda.get_arch_list())
    if found:
        return (problem if devices.gpus else warning)(found.what, found.remedy)
    try:
        for index in range(max(1, torch.cuda.device_count())):
            torch.ones(8, device=f"cuda:{index}").sum().item()
    except RuntimeError as error:
        return problem(f"{devices.describe()}: PyTorch cannot use it ({error})", "restart or replace the instance")
    return ok(f"{devices.describe()}; CUDA {torch.version.cuda} runs on it")


def _room(folder: Path, wanted: int, remedy: str) -> Finding:
    free = shutil.disk_usage(folder).free
    what = f"{folder}: writable, {_size(free)} free"
    return ok(what) if free >= wanted else warning(what, remedy)


def _existing(path: Path) -> Path:
    """The path, or the nearest parent that is there."""
    return path if path.exists() else _existing(path.parent)


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size // 2**20} MiB"
