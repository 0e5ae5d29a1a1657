"""What the processes of a job do together. A job of one process is a world of one, in which all of it costs nothing.

Every process takes its share of each batch; sums over all of them make the result that of one process with the
whole batch, to rounding.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from image_classifier.training.stopping import Stop, Stopped

PATIENCE = timedelta(hours=2)  # for the slowest process; a dead one is noticed by the hosts' heartbeat
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a job, seen from one of them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this host: the number of its GPU
    local_size: int = 1  # processes on this host

    @property
    def is_main(self) -> bool:
        """Whether this process prints metrics, and writes checkpoints, results and the artifact."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The stretch of it that this process takes; all stretches, by rank, are the whole."""
        start, end = (-(-len(items) * rank // self.size) for rank in (self.rank, self.rank + 1))
        return items[start:end]

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def agree(self, stop: Stop, *values: float) -> tuple[float, ...]:
        """Sum numbers over all processes.

        Raises:
            Stopped: one of the processes was asked to stop; then it is raised in all.
        """
        if self.size == 1:
            stop.check()
            return values
        sums = self.sum(torch.tensor([float(stop.requested), *values], dtype=torch.float64, device=self.device))
        stops, *rest = sums.tolist()
        if stops:
            raise Stopped
        return tuple(rest)

    def sum_gradients(self, parameters: Iterable[nn.Parameter], *values: torch.Tensor) -> torch.Tensor:
        """Sum gradients, and scalars beside them, over all processes in one message; gives the scalars, float32 [k].

        All of it stays on the device: nobody waits for it here.
        """
        beside = torch.stack([value.detach().float() for value in values]) if values else torch.empty(0)
        if self.size == 1:
            return beside
        learning = [p for p in parameters if p.grad is not None]
        gradients = [p.grad for p in learning if p.grad is not None]
        flat = self.sum(torch.cat([*(gradient.flatten() for gradient in gradients), beside.to(self.device)]))
        *parts, sums = torch.split(flat, [*(p.numel() for p in learning), len(values)])
        for parameter, part in zip(learning, parts, strict=True):
            parameter.grad = part.view_as(parameter).contiguous()
        return sums

    def gather(self, item: T) -> list[T]:
        """Everyone's item, in the order of ranks."""
        if self.size == 1:
            return [item]
        items: list[T | None] = [None] * self.size
        dist.all_gather_object(items, item)
        return items  # type: ignore[return-value]

    def all_of(self, items: Iterable[T]) -> list[T]:
        """Go through the items of this process, and give those of all, in the order of ranks.

        Raises:
            Stopped: the items of one process raised it; then it is raised in all.
        """
        mine: list[T] | None = None
        with suppress(Stopped):  # the others wait for this process's word
            mine = list(items)
        whole: list[T] = []
        for part in self.gather(mine):
            if part is None:
                raise Stopped
            whole += part
        return whole

    def from_main(self, item: T) -> T:
        """The main process's item."""
        if self.size == 1:
            return item
        items = [item]
        dist.broadcast_object_list(items, src=0)
        return items[0]


ALONE = World()


def join() -> World:
    """Meet the other processes that torchrun started."""
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    local_rank = int(os.environ["LOCAL_RANK"])
    if backend == "nccl":
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend, timeout=PATIENCE)
    return World(dist.get_rank(), dist.get_world_size(), local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def leave() -> None:
    """Part from the others."""
    dist.destroy_process_group()


def is_lost_connection(error: Exception) -> bool:
    """Whether an error only says that another process is gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/" in str(error))
