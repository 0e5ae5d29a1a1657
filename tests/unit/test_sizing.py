"""The arithmetic of workers, threads and bytes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_classifier import machine
from image_classifier.compiled import Kind
from image_classifier.contract import Settings
from image_classifier.machine import Temporary
from image_classifier.serving import sizing
from image_classifier.serving.sizing import (
    BUFFER,
    COMPILED_BASE,
    COPIES,
    DOOR,
    FORMS,
    HELD,
    JAVA,
    LARGE_COPIES,
    MIB,
    WORKER_BASE,
    Sizing,
)

Compute = Callable[..., Sizing]
DISK = Temporary(20_000 * MIB, in_memory=False)


@pytest.fixture
def compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compute:
    def run(cores: int, memory: int, model: int = 0, **environ: str) -> Sizing:
        monkeypatch.setattr(machine, "cores", lambda: cores)
        monkeypatch.setattr(machine, "memory_limit", lambda: memory)
        monkeypatch.setattr(machine, "temporary", lambda: DISK)
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
        (8, 2560, 50, 2, 4),
        (8, 2048, 50, 1, 8),
        (8, 1024, 50, 1, 8),
        (16, 5120, 500, 2, 8),
        (4, 100, 500, 1, 4),
    ],
)
def test_workers_follow_cores_and_memory(
    compute: Compute, cores: int, memory: int, model: int, workers: int, threads: int
) -> None:
    sizes = compute(cores, memory * MIB, model * MIB)
    assert (sizes.workers, sizes.threads) == (workers, threads)
    assert sizes.workers * sizes.threads <= cores


def test_a_number_of_workers_that_was_asked_for_wins(compute: Compute) -> None:
    sizes = compute(4, 1024 * MIB, SAGEMAKER_MODEL_SERVER_WORKERS="7")
    assert (sizes.workers, sizes.threads) == (7, 1)


@given(
    cores=st.integers(1, 192),
    memory=st.integers(256, 1 << 20),
    model=st.integers(0, 4096),
    payload=st.integers(1, 1024),
    kind=st.sampled_from([None, *Kind]),
    temporary=st.builds(Temporary, st.integers(0, 1 << 50), st.booleans()),
)
def test_what_is_planned_fits(
    cores: int, memory: int, model: int, payload: int, kind: Kind | None, temporary: Temporary
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "cores", lambda: cores)
        patch.setattr(machine, "memory_limit", lambda: memory * MIB)
        patch.setattr(machine, "temporary", lambda: temporary)
        patch.setattr(sizing, "_size", lambda _folder, _kind: model * MIB)
        sizes = sizing.compute(Settings.from_environment({"SAGEMAKER_MAX_PAYLOAD_IN_MB": str(payload)}), Path(), kind)
    copies = COPIES[kind] * (FORMS if sizes.alone > sizes.threads else 1)
    workers = sizes.workers * ((COMPILED_BASE if kind else WORKER_BASE) + round(copies * model * MIB))
    door = DOOR + HELD * (sizes.queue + sizes.dispatched)
    large = sizes.uploads * LARGE_COPIES * payload * MIB + (sizes.files if temporary.in_memory else 0)
    assert sizes.planned == workers + sizes.heap + sizes.direct + door + large
    assert sizes.heap == sizes.direct == JAVA  # whatever a body may be
    assert sizes.files >= payload * MIB  # one body of the largest size always has room
    assert sizes.workers == 1 or sizes.planned <= memory * MIB
    assert ("too little" in sizes.explain()[-1]) is (sizes.planned > memory * MIB)
    assert sizes.workers * sizes.threads <= max(cores, sizes.workers)
    assert sizes.uploads == 1 or sizes.uploads * LARGE_COPIES * payload * MIB <= memory * MIB // 8
    assert sizes.queue * BUFFER <= max(8 * BUFFER, memory * MIB // 16)


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("OMP_NUM_THREADS", "3", "threads", 3),
        ("MMS_JOB_QUEUE_SIZE", "7", "queue", 7),
        ("SAGEMAKER_MAX_HEAP_SIZE", "512", "heap", 512 * MIB),
        ("SAGEMAKER_MAX_DIRECT_MEMORY_SIZE", "256", "direct", 256 * MIB),
        ("MMS_NUMBER_OF_NETTY_THREADS", "5", "netty_threads", 5),
        ("MMS_NETTY_CLIENT_THREADS", "6", "client_threads", 6),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "0", "payload", 1024 * MIB),
        ("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "400", "queue", 400),
    ],
)
def test_every_number_can_be_said(compute: Compute, variable: str, value: str, field: str, expected: int) -> None:
    assert getattr(compute(4, 16_384 * MIB, **{variable: value}), field) == expected


def test_many_models_have_one_worker_each(compute: Compute) -> None:
    sizes = compute(8, 65536 * MIB, SAGEMAKER_MULTI_MODEL="true")
    assert (sizes.workers, sizes.threads) == (1, 8)


def test_the_sums_are_explained(compute: Compute) -> None:
    workers, limits, java, memory = compute(2, 8192 * MIB, 10 * MIB).explain()
    assert workers == (
        "Workers: 2 with 1 thread(s) each (2 cores; 8192 MiB memory / 852 MiB a worker = 832 + 2 x model of 10 MiB)."
    )
    assert memory == "Memory: 2190 of 8192 MiB = workers 1704 + Java 256 + front door 64 + bodies 130 + large ones 36."
    assert limits == (
        "Limits: body 6 MiB either way; 4 requests at work, 2 of them larger than 1 MiB, 100 waiting; "
        "larger ones lie in files of at most 10000 MiB in all, on disk."
    )
    assert java == "Java: heap 128 MiB, direct memory 128 MiB; 16 + 2 threads."


def test_where_tmp_is_memory_its_files_are_part_of_the_plan(
    compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = compute(2, 4096 * MIB)
    monkeypatch.setattr(machine, "temporary", lambda: Temporary(1 << 40, in_memory=True))
    in_memory = sizing.compute(Settings.from_environment({}), tmp_path)
    assert in_memory.files == 256 * MIB
    assert in_memory.planned - on_disk.planned == 256 * MIB
    assert "256 MiB in all, in memory" in in_memory.explain()[1]


def test_on_the_smallest_machine_one_worker_is_planned_and_what_is_short_is_said(compute: Compute) -> None:
    sizes = compute(2, 1024 * MIB, 43 * MIB)
    assert sizes.workers == 1
    assert sizes.explain()[-1].endswith("; that is too little if all is used at a time, give it more.")


# Resident memory of a worker on 2 cores, in MiB, after some pictures one by one: 100 classes, random weights, made as
# tests/benchmarks/serving.py makes them. Mapped libraries, which the kernel holds once for all workers, are in it; on
# the machine of tests/benchmarks/serving.md up to 140 MiB less of them were.
MEASURED = [
    # what runs it, MiB of its files, with one form of the network, and with a second one
    ("resnet18", Kind.INT8, 10.7, 176, 211),
    ("resnet50", Kind.INT8, 22.7, 208, 274),
    ("vit_b_16", Kind.INT8, 82.7, 376, 609),
    ("convnext_base", Kind.INT8, 83.9, 382, 620),
    ("resnet18", Kind.FP32, 42.8, 242, 341),
    ("resnet50", Kind.FP32, 90.3, 342, 541),
    ("vit_b_16", Kind.FP32, 327.3, 827, 1512),
    ("convnext_base", Kind.FP32, 333.8, 850, 1556),
    ("resnet18", None, 42.9, 863, 863),
    ("resnet50", None, 90.7, 927, 927),
    ("vit_b_16", None, 327.6, 1163, 1163),
    ("convnext_base", None, 334.5, 1175, 1175),
]


@pytest.mark.parametrize(("network", "kind", "size", "one", "two"), MEASURED)
def test_the_plan_of_a_worker_covers_what_was_measured_and_not_much_more(
    network: str, kind: Kind | None, size: float, one: int, two: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(machine, "memory_limit", lambda: 16_384 * MIB)
    monkeypatch.setattr(sizing, "_size", lambda _folder, _kind: round(size * MIB))
    for measured, environ in ((one, {"OMP_NUM_THREADS": "1"}), (two, {})):
        planned = sizing.compute(Settings.from_environment(environ), Path(network), kind).each / MIB
        assert measured <= planned <= 1.35 * measured


@pytest.mark.parametrize("kind", [None, *Kind])
def test_a_model_that_is_missing_counts_as_empty(kind: Kind | None, tmp_path: Path) -> None:
    assert sizing.compute(Settings.from_environment({}), tmp_path / "none", kind).model == 0


@pytest.mark.parametrize(
    ("kind", "memory", "environ", "alone"),
    [
        (Kind.INT8, 8192, {}, 2),
        (Kind.INT8, 900, {}, 1),  # no room for a second form of the network
        (Kind.INT8, 8192, {"OMP_NUM_THREADS": "1"}, 1),
        (None, 8192, {}, 1),  # torch keeps the threads that it was given
    ],
)
def test_a_request_alone_has_all_cores_where_a_second_network_fits(
    monkeypatch: pytest.MonkeyPatch, kind: Kind | None, memory: int, environ: dict[str, str], alone: int
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(machine, "memory_limit", lambda: memory * MIB)
    monkeypatch.setattr(sizing, "_size", lambda _folder, _kind: 15 * MIB)
    sizes = sizing.compute(Settings.from_environment(environ), Path("nowhere"), kind)
    assert (sizes.workers, sizes.threads, sizes.alone) == (2, 1, alone)
    assert ("for a request alone" in sizes.explain()[0]) is (alone > 1)
