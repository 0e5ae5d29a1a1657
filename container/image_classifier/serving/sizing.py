"""How many workers, threads and bytes: computed from what this container may use, and printed with the sums."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from image_classifier import compiled, machine
from image_classifier.compiled import Kind
from image_classifier.contract import Settings

if TYPE_CHECKING:
    from image_classifier.serving.pace import Pace

MIB = 1 << 20
# A worker's resident memory without a model, with torch or with OpenVINO, and how often it has the model's bytes: they
# cover what workers with four networks took, whose figures are in tests/unit/test_sizing.py.
WORKER_BASE = 832 * MIB
COMPILED_BASE = 160 * MIB
COPIES: Mapping[Kind | None, float] = {None: 2, Kind.FP32: 2.5, Kind.INT8: 3}  # of int8, a part is used as fp32
# Requests that a worker with a compiled network is given at once where they wait anyway: to wake up for each, with cold
# caches, weighs beside so short a pass. Not more, since none is answered before the last of them is.
TOGETHER = 2
FORMS = 2  # of a compiled network where a request alone has one of its own
DOOR = 64 * MIB  # the front door without bodies
BUFFER = MIB  # a larger body or answer goes by a file
HELD = BUFFER * 5 // 4  # so much of one is in the front door at most: the last piece may go beyond
JAVA = 128 * MIB  # its heap, and as much beside it: no body passes through it
LARGE_COPIES = 3  # of a large body in its worker: as read, as text, and taken apart
QUEUE = 100


@dataclass(frozen=True)
class Sizing:
    """What the server is started with. Sizes in bytes."""

    cores: int
    gpus: int  # that the workers use
    memory: int  # this container may use
    base: int  # a worker takes without a model
    copies: float  # of the model's bytes in a worker, with one form of the network
    model: int  # of the model's files
    workers: int
    threads: int  # a worker
    alone: int  # threads for a request that is the only one at work
    payload: int  # the largest body, of a request and of an answer
    queue: int  # requests that may wait
    batch: int  # requests that a worker answers together, at most
    delay: int  # milliseconds that a request waits for others to be answered with, at most
    dispatched: int  # requests that are at work or come next: a batch is ready when a worker becomes free
    uploads: int  # bodies beyond BUFFER that workers have at a time
    files: int  # bytes of such bodies that lie in files at a time
    files_in_memory: bool  # /tmp is no disk: they take of this container's memory
    heap: int
    direct: int  # Java's memory beside its heap
    netty_threads: int
    client_threads: int

    def explain(self) -> list[str]:
        """The arithmetic, for the log."""
        share = "1 a GPU; " if self.gpus else ""
        alone = f", {self.alone} for a request alone" if self.alone > self.threads else ""
        return [
            f"Workers: {self.workers} with {self.threads} thread(s) each{alone} "
            f"({share}{self.cores} cores; {self.memory // MIB} MiB memory / {self.each // MIB} MiB a worker = "
            f"{self.base // MIB} + {self._copies:g} x model of {self.model // MIB} MiB).",
            *self._batches,
            f"Limits: body {self.payload // MIB} MiB either way; {self.dispatched} requests at work, "
            f"{self.uploads} of them larger than {BUFFER // MIB} MiB, {self.queue} waiting; "
            f"larger ones lie in files of at most {self.files // MIB} MiB in all, "
            f"{'in memory' if self.files_in_memory else 'on disk'}.",
            f"Java: heap {self.heap // MIB} MiB, direct memory {self.direct // MIB} MiB; "
            f"{self.netty_threads} + {self.client_threads} threads.",
            f"Memory: {self.planned // MIB} of {self.memory // MIB} MiB = workers {self.workers * self.each // MIB} + "
            f"Java {(self.heap + self.direct) // MIB} + front door {DOOR // MIB} + bodies {self.bodies // MIB} + "
            f"large ones {self.large // MIB}{self._short}.",
        ]

    @property
    def each(self) -> int:
        """Bytes of memory that a worker takes."""
        return self.base + round(self._copies * self.model)

    @property
    def _copies(self) -> float:
        return self.copies * (FORMS if self.alone > self.threads else 1)

    @property
    def bodies(self) -> int:
        """Bytes of bodies that the front door holds, at most."""
        return (self.dispatched + self.queue) * HELD

    @property
    def large(self) -> int:
        """Bytes of memory that bodies beyond BUFFER take: in workers, and in files that are no disk's."""
        return self.uploads * LARGE_COPIES * self.payload + (self.files if self.files_in_memory else 0)

    @property
    def planned(self) -> int:
        """Bytes of memory that all of this takes at most; beyond the limit only where one worker alone is."""
        return self.workers * self.each + self.heap + self.direct + DOOR + self.bodies + self.large

    @property
    def _batches(self) -> list[str]:
        if self.batch == 1:
            return []
        patience = f"which wait at most {self.delay} ms for each other" if self.delay else "of those that wait anyway"
        return [
            f"Batches: up to {self.batch} requests together, {patience}; "
            f"{self.dispatched} are at work or come next = 2 x {self.workers} worker(s) x {self.batch}."
        ]

    @property
    def _short(self) -> str:
        return "" if self.planned <= self.memory else "; that is too little if all is used at a time, give it more"


@dataclass(frozen=True)
class Room:
    """What there is to divide; see Sizing."""

    cores: int
    gpus: int
    memory: int
    base: int
    copies: float
    model: int
    files: int
    files_in_memory: bool
    batch: int
    delay: int


def compute(
    settings: Settings, model_dir: Path, kind: Kind | None = None, gpus: int = 0, pace: "Pace | None" = None
) -> Sizing:
    """Size the server: one worker a GPU, else a core, as many as fit into memory; the cores divided among them.

    Args:
        settings: numbers that were asked for win.
        model_dir: the artifact.
        kind: the compiled variant that runs it, if one does.
        gpus: that it runs on.
        pace: what was measured for batches, if it was.
    """
    model = _size(model_dir, kind) if not settings.multi_model else 0
    memory, free = machine.memory_limit(), machine.temporary()
    files = max(settings.max_payload_mb * MIB, memory // 16 if free.in_memory else free.bytes // 2)
    together = _batch(settings, pace, kind)
    room = Room(machine.cores(), gpus, memory, _base(kind), COPIES[kind], model, files, free.in_memory, *together)
    most = 1 if settings.multi_model else gpus or room.cores  # with many models, memory is for models
    asked = [settings.workers] if settings.workers else range(most, 0, -1)
    plans = (_planned(settings, room, workers, kind is not None) for workers in asked)
    least = _planned(settings, room, asked[-1], kind is not None)
    return next((plan for plan in plans if plan.planned <= plan.memory), least)


def _batch(settings: Settings, pace: "Pace | None", kind: Kind | None) -> tuple[int, int]:
    """Requests of a batch, and milliseconds to wait for them."""
    batch, delay = (pace.batch, pace.delay) if pace else (TOGETHER if kind else 1, 0)
    return settings.batch_size or batch, delay if settings.batch_delay is None else settings.batch_delay


def _planned(settings: Settings, room: Room, workers: int, compiled: bool) -> Sizing:
    """The plan for so many workers."""
    threads = settings.threads or max(1, room.cores // workers)
    payload = settings.max_payload_mb * MIB
    dispatched = 2 * workers * room.batch
    queue = min(QUEUE, max(8, room.memory // 16 // BUFFER))
    sizing = Sizing(
        **vars(room),
        workers=workers,
        threads=threads,
        alone=threads,
        payload=payload,
        queue=settings.queue or max(settings.concurrent_transforms or 0, queue),
        dispatched=dispatched,
        uploads=max(1, min(workers, room.memory // 8 // (LARGE_COPIES * payload))),
        heap=settings.heap_mb * MIB if settings.heap_mb else JAVA,
        direct=settings.direct_mb * MIB if settings.direct_mb else JAVA,
        netty_threads=settings.netty_threads or 16,  # one is held while the process of a further model starts
        client_threads=settings.client_threads or max(2, workers),
    )
    wide = replace(sizing, alone=room.cores)
    return wide if compiled and not settings.threads and wide.planned <= room.memory else sizing


def needed(model_dir: Path, kind: Kind | None) -> int:
    """Bytes of memory that a worker with this model takes."""
    return _base(kind) + round(COPIES[kind] * _size(model_dir, kind))


def _base(kind: Kind | None) -> int:
    return COMPILED_BASE if kind else WORKER_BASE


def _size(model_dir: Path, kind: Kind | None) -> int:
    """Bytes of what a worker loads: one variant, or all that is not a compiled one."""
    if kind:
        weights = compiled.path(model_dir, kind).with_suffix(".bin")
        return weights.stat().st_size if weights.exists() else 0  # the worker says what is missing
    files = (path for path in model_dir.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if path.parent != model_dir / compiled.FOLDER)
