"""A job on several hosts: containers on one network, or without an engine processes with addresses of their own."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock

import doors
from doors import ENGINE, Opened


@contextmanager
def network() -> Iterator[str]:
    """A network for the containers of one job."""
    name = f"job-{os.getpid()}-{time.monotonic_ns()}"
    if ENGINE:
        doors.engine("network", "create", name)
    try:
        yield name
    finally:
        if ENGINE:
            doors.engine("network", "rm", name)


@contextmanager
def training(folder: Path, chosen: Mapping[str, str], pictures: Sequence[Path], lock: Path) -> Iterator[list[Opened]]:
    """`train` on as many hosts as there are folders of pictures, each in a base directory of its own."""
    names = [f"algo-{number + 1}" if ENGINE else f"127.0.0.{number + 1}" for number in range(len(pictures))]
    interface = "eth0" if ENGINE else "lo"
    with ExitStack() as stack:
        stack.enter_context(FileLock(lock))  # the hosts share this machine's ports, and its cores
        net = stack.enter_context(network())
        jobs = []
        for name, channel in zip(names, pictures, strict=True):
            config = {"current_host": name, "hosts": names, "network_interface_name": interface}
            flags = ("--network", net, "--network-alias", name, "--hostname", name) if ENGINE else ()
            job = doors.training(
                folder / name,
                chosen,
                {"training": channel},
                flags=flags,
                configs={"resourceconfig": json.dumps(config)},
            )
            jobs.append(stack.enter_context(job))
        yield jobs


def failure(job: Opened) -> str:
    """The content of a host's failure file."""
    path = job.base / "output" / "failure"
    return path.read_text() if path.exists() else ""
