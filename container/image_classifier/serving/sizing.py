"""How many workers, threads and bytes: computed from what this container may use, and printed with the sum."""

from dataclasses import dataclass
from pathlib import Path

from image_classifier import machine
from image_classifier.contract import Settings

MIB = 1 << 20
WORKER_BASE = 450 * MIB  # Python with torch loaded, and room for one picture at the pixel limit
MODEL_COPIES = 3  # the weights, a second copy while they load, activations
QUEUE = 100  # requests that may wait inside MMS


@dataclass(frozen=True)
class Sizing:
    """What the server is started with."""

    cores: int
    memory: int  # bytes this container may use
    model: int  # bytes of the model's files
    workers: int
    threads: int  # a worker
    heap: int  # bytes for the JVM

    def explain(self) -> str:
        """The arithmetic, for the log."""
        each = WORKER_BASE + MODEL_COPIES * self.model
        return (
            f"Workers: {self.workers} with {self.threads} thread(s) each "
            f"({self.cores} cores; {self.memory // MIB} MiB memory / {each // MIB} MiB a worker, "
            f"model {self.model // MIB} MiB); JVM heap {self.heap // MIB} MiB."
        )


def compute(settings: Settings, model_dir: Path) -> Sizing:
    """Size the server: one worker a core, as many as fit into memory; the cores divided among them."""
    cores, memory = machine.cores(), machine.memory_limit()
    model = sum(path.stat().st_size for path in model_dir.rglob("*") if path.is_file()) if model_dir.is_dir() else 0
    fitting = memory // (WORKER_BASE + MODEL_COPIES * model)
    most = 1 if settings.multi_model else cores  # with many models, memory is for models
    workers = settings.workers or max(1, min(most, fitting))
    payload = settings.max_payload_mb * MIB
    # a body is held about twice while it passes through; the queue is full of bodies only when clients are many
    heap = min(128 * MIB + 2 * payload * (workers + 16), max(128 * MIB, memory // 4))
    return Sizing(cores, memory, model, workers, max(1, cores // workers), heap)
