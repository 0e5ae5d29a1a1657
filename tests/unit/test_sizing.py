"""The arithmetic of workers, threads and bytes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from image_classifier import machine
from image_classifier.contract import Settings
from image_classifier.serving import sizing
from image_classifier.serving.sizing import MIB, MODEL_COPIES, WORKER_BASE, Sizing

Compute = Callable[..., Sizing]


@pytest.fixture
def compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compute:
    def run(cores: int, memory: int, model: int = 0, **environ: str) -> Sizing:
        monkeypatch.setattr(machine, "cores", lambda: cores)
        monkeypatch.setattr(machine, "memory_limit", lambda: memory)
        with (tmp_path / "model.safetensors").open("wb") as file:
            file.truncate(model)
        return sizing.compute(Settings.from_environment(environ), tmp_path)

    return run


@pytest.mark.parametrize(
    ("cores", "memory", "model", "workers", "threads"),
    [
        (1, 8192, 50, 1, 1),
        (2, 8192, 50, 2, 1),
        (8, 65536, 50, 8, 1),
        (8, 2048, 50, 3, 2),
        (8, 1024, 50, 1, 8),
        (16, 4096, 500, 2, 8),
        (4, 100, 500, 1, 4),
    ],
)
def test_workers_follow_cores_and_memory(
    compute: Compute, cores: int, memory: int, model: int, workers: int, threads: int
) -> None:
    sizes = compute(cores, memory * MIB, model * MIB)
    assert (sizes.workers, sizes.threads) == (workers, threads)
    assert sizes.workers == 1 or sizes.workers * (WORKER_BASE + MODEL_COPIES * model * MIB) <= memory * MIB
    assert sizes.workers * sizes.threads <= cores


def test_a_number_of_workers_that_was_asked_for_wins(compute: Compute) -> None:
    sizes = compute(4, 1024 * MIB, SAGEMAKER_MODEL_SERVER_WORKERS="7")
    assert (sizes.workers, sizes.threads) == (7, 1)


@pytest.mark.parametrize("memory", [256, 1024, 8192, 65536])
@pytest.mark.parametrize("payload", ["1", "6", "1024"])
def test_the_heap_stays_within_a_quarter_of_memory_but_never_below_128_mib(
    compute: Compute, memory: int, payload: str
) -> None:
    heap = compute(4, memory * MIB, SAGEMAKER_MAX_PAYLOAD_IN_MB=payload).heap
    assert 128 * MIB <= heap <= max(128 * MIB, memory * MIB // 4)


def test_the_sum_is_explained(compute: Compute) -> None:
    text = compute(2, 8192 * MIB, 10 * MIB).explain()
    assert text.startswith(
        "Workers: 2 with 1 thread(s) each (2 cores; 8192 MiB memory / 480 MiB a worker, model 10 MiB)"
    )


def test_a_missing_model_directory_counts_as_empty(tmp_path: Path) -> None:
    assert sizing.compute(Settings.from_environment({}), tmp_path / "none").model == 0
