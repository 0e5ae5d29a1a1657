"""What this container may use: cores and memory by its cgroup, not by the host."""

import ctypes
import gc
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
SHARED = Path("/dev/shm")
ENOUGH_SHARED = 1 << 30  # bytes of /dev/shm for several processes; Docker gives 64 MiB unless told otherwise
PLENTY = 12 << 30  # bytes of memory; to fine-tune with batches of 32 pictures takes 5 to 6 GiB


def cores() -> int:
    """Cores this process may keep busy: the smallest of host, affinity and cgroup quota; at least 1."""
    quota = _cgroup_cores()
    available = len(os.sched_getaffinity(0))
    return max(1, min(available, int(quota)) if quota else available)


def are_rationed() -> bool:
    """Whether a quota allows less CPU time than the cores have: what one process takes, another lacks."""
    return cores() < len(os.sched_getaffinity(0))


def memory_limit() -> int:
    """Bytes of memory this container may use."""
    total = int(psutil.virtual_memory().total)
    limits = [_read_int(_CGROUP / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    return min([total, *(limit for limit in limits if limit)])


def shared_memory() -> int:
    """Bytes of /dev/shm, where the processes of one job hand data to each other."""
    try:
        return shutil.disk_usage(SHARED).total
    except OSError:  # there is none
        return 0


@dataclass(frozen=True)
class Temporary:
    """Where temporary files go.

    Args:
        bytes: that are free.
        in_memory: there is no disk behind it: its files count as this container's memory.
    """

    bytes: int
    in_memory: bool


def temporary() -> Temporary:
    """Look at /tmp, or at what TMPDIR names instead."""
    folder = Path(tempfile.gettempdir()).resolve()
    mounted = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    kind = next((mounted[path] for path in (folder, *folder.parents) if path in mounted), "")
    return Temporary(shutil.disk_usage(folder).free, kind in ("tmpfs", "ramfs"))


def free_memory() -> int:
    """Bytes that this container may still take; files that the kernel only caches do not count as taken."""
    available = int(psutil.virtual_memory().available)
    used = _read_int(_CGROUP / "memory.current") or _read_int(_CGROUP / "memory/memory.usage_in_bytes")
    return available if used is None else min(available, memory_limit() - used + _cached_files())


def _cached_files() -> int:
    for name in ("memory.stat", "memory/memory.stat"):
        try:
            lines = (_CGROUP / name).read_text().splitlines()
        except OSError:
            continue
        return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return 0


def _cgroup_cores() -> float | None:
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()  # cgroup v2
    except (OSError, ValueError):
        pass
    else:
        return None if quota == "max" else int(quota) / int(period)
    v1_quota, v1_period = (_read_int(_CGROUP / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return v1_quota / v1_period if v1_quota and v1_period else None


def _read_int(path: Path) -> int | None:
    """The positive number in a file; None for an absent file, `max` or -1."""
    try:
        value = int(path.read_text())
    except (OSError, ValueError):
        return None
    return value if value > 0 else None


def keep_freed_memory() -> None:
    """Let glibc reuse freed memory instead of giving it back to the kernel after every batch.

    The kernel's zeroing of the same pages again and again took half of the CPU time of a feature pass, where it is
    enough to keep blocks up to 32 MiB, glibc's limit. To keep larger ones too takes a quarter off an epoch that
    fine-tunes a MobileNetV2 (57 s for 77), and a fifth more memory at the peak: so only where there is plenty.
    """
    trim, threshold, mappings = -1, -3, -4  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX of malloc.h
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # another libc: nothing to set
        return
    if memory_limit() >= PLENTY:
        libc.mallopt(mappings, 0)
    else:
        libc.mallopt(threshold, 32 << 20)
    libc.mallopt(trim, 2**31 - 1)


def keep_what_is_loaded() -> None:
    """Let Python's search for cyclic garbage pass over all that there is now: a server keeps it as long as it lives.

    To look through modules and models again and again took 2 % of the CPU time of a small picture.
    """
    gc.collect()
    gc.freeze()
