"""Where a job's time goes, and how near its computing comes to what the machine can do."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from image_classifier.errors import UserError

T = TypeVar("T")
_USES = {  # what a phase's time is spent on, waiting apart
    "features": ("features",),
    "forward_backward": ("epoch", "probe"),
    "evaluation": ("validation", "calibration", "test"),
}
_BESIDE = ("reading", "saving", "compiling", "report")  # phases that do not learn or measure
BACKWARD = 2.0  # forward passes that a backward pass costs: gradients of the inputs, and of the weights
_SIDE = {"cpu": 768, "cuda": 8192}  # of the matrices: a few milliseconds each


@dataclass
class Account:
    """All phases of one name."""

    seconds: float = 0.0
    waiting: float = 0.0  # seconds of these, for pictures
    decode: float = 0.0  # seconds, of all threads together
    pictures: int = 0  # that went through the network
    passes: float = 0.0  # forward passes that they cost


@dataclass
class Costs:
    """What a process has spent; decoding threads share it."""

    hear: Callable[[float], object] = lambda _started: None  # when a thread began a picture it has finished
    accounts: dict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    started: float = field(default_factory=time.monotonic)
    _phase: str = "other"
    _passes: float = 1.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def during(self, phase: str, passes: float = 1.0) -> Iterator[None]:
        """Around one stretch of the job, in which a picture costs so many forward passes."""
        self._phase, self._passes, started = phase, passes, time.monotonic()
        try:
            yield
        finally:
            self.accounts[phase].seconds += time.monotonic() - started
            self._phase, self._passes = "other", 1.0

    def decoded(self, started: float) -> None:
        """A thread has finished a picture that it began at this Unix time."""
        self.hear(started)
        with self._lock:
            self.accounts[self._phase].decode += time.time() - started

    def shown(self, pictures: int) -> None:
        """So many pictures are handed to the network."""
        self.accounts[self._phase].pictures += pictures
        self.accounts[self._phase].passes += pictures * self._passes

    def waited(self, items: Iterable[T]) -> Iterator[T]:
        """Pass items on, and count how long they are waited for."""
        iterator = iter(items)
        while True:
            started = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self.accounts[self._phase].waiting += time.monotonic() - started
            yield item

    def seconds(self) -> dict[str, float]:
        """Seconds of each use, which add up to those of the job; `decode` is the threads' and runs beside them."""
        whole, everything = time.monotonic() - self.started, list(self.accounts.values())
        uses = {use: sum(map(self._computing, phases)) for use, phases in _USES.items()}
        uses["waiting"] = sum(account.waiting for account in everything)
        uses |= {phase: self._computing(phase) for phase in _BESIDE}
        uses["other"] = max(0.0, whole - sum(uses.values()))
        return {**uses, "job": whole, "decode": sum(account.decode for account in everything)}

    def _computing(self, phase: str) -> float:
        account = self.accounts.get(phase, Account())
        return max(0.0, account.seconds - account.waiting)

    def summary(self, flops: int, peak: float, processes: int = 1) -> dict[str, float]:
        """The cost lines, by their names in metrics.NAMES.

        Args:
            flops: operations of one picture's forward pass.
            peak: operations a second that the machine was measured to do at most.
            processes: of the job, each with such a share of the pictures.
        """
        seconds = self.seconds()
        computing = sum(seconds[use] for use in _USES)
        ours = [self.accounts[name] for phases in _USES.values() for name in phases if name in self.accounts]
        done, pictures, waiting = (sum(getattr(a, name) for a in ours) for name in ("passes", "pictures", "waiting"))
        return {f"{use}_seconds": spent for use, spent in seconds.items()} | {
            "job_images_per_second": processes * pictures / max(computing + waiting, 1e-9),
            "matrix_peak_share": flops * done / (peak * max(computing, 1e-9)),
        }


def forward_flops(network: nn.Module, architecture: str, image_size: int) -> int:
    """Operations of one picture's forward pass, an addition and a multiplication counted as two; on the CPU.

    Raises:
        UserError: the network takes one size only (ViT), or none below a limit (Inception).
    """
    network.eval()
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["refused"])[0].rstrip(".")
        raise UserError(
            f"architecture={architecture} does not take pictures of image_size={image_size} ({reason}); "
            "try image_size=224."
        ) from None
    return int(counter.get_total_flops())


def matrix_peak(device: torch.device, dtype: torch.dtype = torch.float32, tries: int = 5) -> float:
    """Operations a second of a large matrix product, the best of a few: about a tenth of a second on a CPU."""
    side = _SIDE[device.type]
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    return 2 * side**3 / min(_seconds_of_product(matrix) for _ in range(tries + 1))  # the first only warms up


def _seconds_of_product(matrix: torch.Tensor) -> float:
    _finish(matrix.device)
    started = time.perf_counter()
    matrix @ matrix
    _finish(matrix.device)
    return time.perf_counter() - started


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
