"""CPUs and memory of instance types, as limits of containers.

Source: the tables of https://aws.amazon.com/ec2/instance-types/; SageMaker puts `ml.` before the names of EC2.
"""

import re
from dataclasses import dataclass
from functools import cache

from desk import ask

_GIB = 2**30
# GiB a vCPU; the size gives the number of vCPUs, in these families without an exception.
_MEMORY = {
    **dict.fromkeys(("c5", "c5d", "c6i", "c6id", "c7i"), 2.0),
    **dict.fromkeys(("m4", "m5", "m5d", "m5n", "m6i", "m6id", "m7i", "g4dn", "g5", "g6"), 4.0),
    **dict.fromkeys(("r5", "r5d", "r6i", "r7i", "g6e", "p3dn"), 8.0),
    **{"p3": 7.625, "p4d": 12.0, "p4de": 12.0},
}
_SMALL = {"large": 2, "xlarge": 4}
_TYPE = re.compile(r"ml\.(?P<family>\w+)\.(?P<count>\d*)(?P<size>\w+)")


@dataclass(frozen=True)
class Shape:
    """What a container may use: CPUs, and memory in bytes."""

    cpus: int
    memory: int

    def within(self, host: "Shape") -> "Shape":
        """As much of it as a host has."""
        return Shape(min(self.cpus, host.cpus), min(self.memory, host.memory))

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of the engine; what does not fit into memory ends the container, and does not go to swap."""
        memory = str(self.memory)
        return ("--cpus", str(self.cpus), "--memory", memory, "--memory-swap", memory)


@cache
def of_engine(engine: str) -> Shape:
    """What the engine's own host has; OSError when it does not say."""
    said = ask(engine, "info", "--format", "{{.NCPU}} {{.MemTotal}}").split()
    if len(said) != 2:
        raise OSError(f"{engine} does not say how many CPUs and how much memory it has")
    return Shape(int(said[0]), int(said[1]))


def shape(kind: str) -> Shape | None:
    """Of an instance type such as ml.m5.large; None for one that is not in the table."""
    found = _TYPE.fullmatch(kind)
    if not found or found["family"] not in _MEMORY or found["size"] not in _SMALL:
        return None
    cpus = _SMALL[found["size"]] * int(found["count"] or 1)
    return Shape(cpus, int(cpus * _MEMORY[found["family"]] * _GIB))
