"""A job on several hosts or GPUs: who takes part, from resourceconfig.json, and the start of torchrun on this host.

The rank of a host is its place among the sorted names; the first one is the meeting point.
"""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from image_classifier import machine
from image_classifier.errors import ExitCode, PlatformError, UserError
from image_classifier.training import endings
from image_classifier.training.heartbeat import PORT, Failure, Heartbeat
from image_classifier.training.stopping import Stop, Stopped

logger = logging.getLogger(__name__)

WORKER = "image_classifier.training.worker"
_MEETING_SECONDS = 120  # all hosts were heard before
_ERRORS = {ExitCode.USER: UserError, ExitCode.PLATFORM: PlatformError}


@dataclass(frozen=True)
class Cluster:
    """The hosts of a job and the processes on this one."""

    hosts: tuple[str, ...]  # sorted
    current: str
    interface: str
    processes: int  # on this host: one a GPU, or one
    gpus: int = 0

    @property
    def is_alone(self) -> bool:
        """Whether one process is the whole job."""
        return len(self.hosts) == self.processes == 1

    @property
    def rank(self) -> int:
        """Place of this host."""
        return self.hosts.index(self.current)

    def describe(self) -> str:
        """One line for the log."""
        return (
            f"Distributed: host {self.rank + 1} of {len(self.hosts)} ({self.current}), {self.processes} process(es) "
            f"here, over {self.interface or 'any interface'}, by {self.transport()}."
        )

    def transport(self) -> str:
        """What carries gradients; the image holds no plugin for EFA, so NCCL never waits for a device of it."""
        return "NCCL, between hosts through sockets" if self.gpus else "gloo through sockets"

    def where(self, reason: str) -> str:
        """Say on which host something happened, when there are several."""
        return f"Host {self.current}: {reason}" if len(self.hosts) > 1 else reason


def read(resource_config: Mapping[str, Any], gpus: int) -> Cluster:
    """Read `resourceconfig.json`; a job without one runs here alone."""
    current = str(resource_config.get("current_host") or "localhost")
    hosts = tuple(sorted({*map(str, resource_config.get("hosts") or ()), current}))
    interface = str(resource_config.get("network_interface_name") or "")
    return Cluster(hosts, current, interface, max(1, gpus), gpus)


def run(cluster: Cluster, stop: Stop) -> None:
    """Run the job's processes on this host through torchrun's own launcher, to their end.

    Raises:
        UserError, PlatformError, RuntimeError: what a process of the job failed of, here or on another host.
        Stopped: asked to stop before there was anything to keep.
    """
    logger.info(cluster.describe())
    os.environ.update(_environment(cluster))
    with (
        tempfile.TemporaryDirectory(prefix="job-") as folder,
        Heartbeat(cluster.hosts, cluster.current, stop, Workers().send, cluster.gpus) as heartbeat,
    ):
        heartbeat.wait_for_all()
        failure = _launch(cluster, Path(folder))
        if failure and stop.requested and failure.code == ExitCode.ALGORITHM and failure.lost:
            raise Stopped  # the signal came before a process could listen to it
        if failure is None:
            return
        if heartbeat.failure or failure.lost:
            failure = heartbeat.wait_for_failure() or failure
        heartbeat.fail(failure)
        raise _ERRORS.get(failure.code, RuntimeError)(failure.reason)


def _launch(cluster: Cluster, folder: Path) -> Failure | None:
    """Start the processes and wait for their end; gives the reason when they failed."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # slow, and most jobs run alone

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # it prints tables and tracebacks
    config = LaunchConfig(
        min_nodes=len(cluster.hosts),
        max_nodes=len(cluster.hosts),
        nproc_per_node=cluster.processes,
        run_id="job",
        rdzv_backend="static",
        rdzv_endpoint=f"{cluster.hosts[0]}:{PORT}",
        rdzv_configs={"rank": cluster.rank, "timeout": _MEETING_SECONDS},
        max_restarts=0,  # SageMaker restarts jobs; the checkpoint is where they go on
        signals_to_handle="SIGHUP",  # not SIGTERM: it would kill the workers after 30 s, and SageMaker gives us 120
    )
    try:
        elastic_launch(config, sys.executable)("-m", WORKER, str(folder))
    except ChildFailedError as error:
        return _why(cluster, folder, [failure.exitcode for failure in error.failures.values()])
    return None


def _why(cluster: Cluster, folder: Path, codes: list[int]) -> Failure:
    """The first process that says what it failed of; else how the kernel ended one; else a broken connection."""
    reports = [path.read_text(encoding="utf-8") for path in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime)]
    said = [Failure.model_validate_json(report) for report in reports]
    own = [failure for failure in said if not failure.lost]
    if own:
        return own[0].model_copy(update={"reason": cluster.where(own[0].reason)[:1024]})
    killed = [-code for code in codes if code < 0 and code != -signal.SIGTERM]
    if killed:
        return Failure(reason=cluster.where(f"A process was ended by {endings.words(signal.Signals(killed[0]))}."))
    return said[0] if said else Failure(reason="A process of the job ended.", code=ExitCode.ALGORITHM, lost=True)


@dataclass(frozen=True)
class Workers:
    """The processes that train on this host."""

    _told: set[tuple[int, signal.Signals]] = field(default_factory=set)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, once, to each of them that runs now, and to no other child."""
        for child in psutil.Process().children(recursive=True):
            try:
                if (child.pid, number) not in self._told and WORKER in child.cmdline():
                    self._told.add((child.pid, number))
                    child.send_signal(number)
            except psutil.Error:  # it has just ended
                continue


def _environment(cluster: Cluster) -> dict[str, str]:
    """What the network libraries ask for: without the interface's name they may choose one that leads nowhere."""
    found: dict[str, str] = {}
    if len(cluster.hosts) > 1 and cluster.interface in psutil.net_if_addrs():
        found = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME"), cluster.interface)
    return found | without_shared_memory(cluster.processes)


def without_shared_memory(processes: int) -> dict[str, str]:
    """What NCCL is told where /dev/shm is too small for so many processes of one host, which is said."""
    shared = machine.shared_memory()
    if processes == 1 or shared >= machine.ENOUGH_SHARED:
        return {}
    logger.info(
        "/dev/shm is %d MiB, too little for %d GPUs: they exchange data through sockets, which is slower; "
        "`docker run --shm-size=2g` gives more.",
        shared >> 20,
        processes,
    )
    return {"NCCL_SHM_DISABLE": "1"}
