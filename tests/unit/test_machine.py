"""What the container may use, read from a cgroup made up for the test."""

import gc
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from image_classifier import machine

# how often the kernel gives pages to a block that is made anew, again and again
FAULTS = """
import resource, sys
from image_classifier import machine
machine.PLENTY = int(sys.argv[2])
machine.keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * int(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 8),
        ("rubbish", 8),
        ("", 8),
    ],
)
def test_cores_follow_the_quota_of_cgroup_2(cgroup: Path, quota: str, cores: int) -> None:
    write(cgroup / "cpu.max", quota)
    assert machine.cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("300000", 3), ("10000", 1)])
def test_cores_follow_the_quota_of_cgroup_1(cgroup: Path, quota: str, cores: int) -> None:
    write(cgroup / "cpu" / "cpu.cfs_quota_us", quota)
    write(cgroup / "cpu" / "cpu.cfs_period_us", "100000")
    assert machine.cores() == cores


@pytest.mark.parametrize(
    ("quota", "rationed"), [("max 100000", False), ("800000 100000", False), ("250000 100000", True)]
)
def test_cores_are_rationed_where_a_quota_allows_less_than_they_have(cgroup: Path, quota: str, rationed: bool) -> None:
    write(cgroup / "cpu.max", quota)
    assert machine.are_rationed() is rationed


def test_without_a_cgroup_the_affinity_counts(cgroup: Path) -> None:
    assert machine.cores() == 8


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_memory_follows_the_cgroup(cgroup: Path, name: str) -> None:
    write(cgroup / name, "536870912\n")
    assert machine.memory_limit() == 512 << 20


@pytest.mark.parametrize(
    "version", ["memory.current memory.max", "memory/memory.usage_in_bytes memory/memory.limit_in_bytes"]
)
def test_free_memory_is_what_the_cgroup_leaves_without_cached_files(cgroup: Path, version: str) -> None:
    used, limit = version.split()
    write(cgroup / used, str(300 << 20))
    write(cgroup / limit, str(400 << 20))
    write((cgroup / used).with_name("memory.stat"), f"anon 5\ninactive_file {50 << 20}\nactive_file 7\n")
    assert machine.free_memory() == 150 << 20


def test_free_memory_without_a_cgroup_is_the_hosts(cgroup: Path) -> None:
    assert 0 < machine.free_memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize("text", ["max", "9223372036854771712", "-1", ""])
def test_memory_without_a_limit_is_the_hosts(cgroup: Path, text: str) -> None:
    write(cgroup / "memory.max", text)
    assert machine.memory_limit() == psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("size", "plenty", "kept"), [(16, True, True), (16, False, True), (64, True, True), (64, False, False)]
)
def test_freed_memory_is_kept_and_a_large_block_only_where_there_is_plenty(
    python: Callable[..., "subprocess.CompletedProcess[str]"], size: int, plenty: bool, kept: bool
) -> None:
    done = python("-c", FAULTS, str(size << 20), "0" if plenty else str(1 << 60))
    assert done.returncode == 0, done.stderr
    pages = (size << 20) // resource.getpagesize()
    assert (int(done.stdout) < pages / 10) is kept


def test_what_is_loaded_is_no_longer_searched_for_garbage() -> None:
    kept = [object() for _ in range(3)]
    machine.keep_what_is_loaded()
    try:
        assert not any(found is kept for found in gc.get_objects())
    finally:
        gc.unfreeze()


def test_shared_memory_is_what_its_folder_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SHARED", tmp_path)
    assert machine.shared_memory() == psutil.disk_usage(str(tmp_path)).total
    monkeypatch.setattr(machine, "SHARED", tmp_path / "absent")
    assert machine.shared_memory() == 0
